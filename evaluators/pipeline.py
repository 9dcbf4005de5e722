"""Candidate -> Result: the phases of a job, one after the other, as one generator of epochs.

    uncompressed training -> filters removed -> weights masked -> bits lowered, each with its fine-tuning

A job may have its weights from a supernet instead of an uncompressed training of its own.

Every training inside keeps its state in a file of the job's folder (the uncompressed one in the store, where other jobs
with the same uncompressed network find it). A job that is run again replays what was done and goes on where it broke
off. A phase is an object with one method, `run(network, context)`; here are the order, the files and the results.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from slimfront.evaluators.compression import Compression
from slimfront.evaluators.data.splits import SearchData
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.pruning.masks import copy_network
from slimfront.evaluators.pruning.slimming import SlimmingPenalty
from slimfront.evaluators.scoring.cost import CostError, Subject, measure
from slimfront.evaluators.scoring.score import Score, score
from slimfront.evaluators.starting import first_network
from slimfront.evaluators.supernet.inheriting import InheritedPhase
from slimfront.evaluators.training import store
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import TEACHER, Epoch, TrainingError, accuracy, train
from slimfront.evaluators.training.views import VIEWS
from slimfront.spaces import references
from slimfront.spaces.candidate import UNCOMPRESSED_TEACHER
from torch import nn

# Raised whenever a change makes an uncompressed training come to other numbers: networks stored before no longer count.
TRAINING_VERSION = 3


def uncompressed_key(job: Job, data_digest: str) -> str:
    """What the network that a job's compression starts from depends on, as 16 hexadecimal digits."""
    device = job.device.split(":")[0]
    parts = [job.candidate.uncompressed_digest, str(job.seed), data_digest, str(TRAINING_VERSION), device]
    if job.candidate.recipe.uncompressed.distillation > 0:
        parts.append(f"{VIEWS} views")
    if job.supernet is not None:
        parts.append(job.supernet.stem)
    parts += _code(job)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _code(job: Job) -> list[str]:
    """Of a user's own code the source's hash: what an older one has trained is not taken up."""
    return [f"{name} {source}" for name, source in references.sources(job.candidate.to_dict()).items()]


def phase_key(job: Job, data_digest: str) -> str:
    """What the checkpoints of the later phases depend on: everything.

    A folder may hold those of another study whose trial had the same number; its masks and scales must not be taken up.
    """
    parts = (uncompressed_key(job, data_digest), job.candidate.digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def evaluate(job: Job, data: SearchData) -> Generator[Epoch, None, Result]:
    """Train and compress `job.candidate` on `data`; yield after every epoch, return the Result.

    Raises TrainingError where training or compression cannot go on. Closing the generator stops the job; with a folder
    it can be taken up again.
    """
    start = time.perf_counter()
    pipeline = Pipeline(job, data)
    curve: list[Epoch] = []
    for epoch in pipeline.run():
        if epoch.stage != TEACHER:
            curve.append(epoch)
        yield epoch
    found = accuracy(pipeline.network, data.validation, job.device)
    counted = score(pipeline.network, data.input_shape)
    return Result(
        accuracy=found,
        score=counted.to_dict(),
        curve=tuple(curve),
        accuracies={epoch.stage: epoch.accuracy for epoch in curve if epoch.accuracy is not None},
        seconds=time.perf_counter() - start,
        notes=tuple(pipeline.notes),
        facts=pipeline.facts,
        costs=measured_costs(job, pipeline.network, data.input_shape, counted),
    )


def measured_costs(job: Job, network: nn.Module, input_shape: tuple[int, int, int], counted: Score) -> dict[str, float]:
    """The costs that a job asks for, by name, on a copy of its finished network. Raises TrainingError."""
    if not job.costs:
        return {}
    subject = Subject(copy_network(network).to("cpu").eval(), input_shape, counted)
    try:
        return measure(job.costs, subject)
    except CostError as error:
        raise TrainingError("cost", str(error)) from None


@dataclass(frozen=True)
class UncompressedPhase:
    """The training that everything else starts from.

    Attributes:
        penalty: L1 on the scales of batch norm, which network slimming prunes by later; 0: none.
    """

    penalty: float = 0.0

    def run(self, network: nn.Module, context: TrainContext) -> Generator[Epoch, None, None]:
        """Train from fresh weights."""
        hooks = (*context.hooks, SlimmingPenalty(self.penalty)) if self.penalty else context.hooks
        yield from train(network, replace(context, recipe=context.recipe.uncompressed, hooks=hooks))


class Pipeline:
    """A network on its way through the phases.

    Attributes:
        network: As it stands; after `run` in its final form.
        notes: Remarks for people, such as a ratio that could not be met.
        facts: Remarks for programs: the account of pruning, and the supernet that the weights come from.
    """

    def __init__(self, job: Job, data: SearchData, *, validate: bool = True) -> None:
        """With `validate` False nothing is measured along the way, and all of `data.train` is trained on."""
        self._job, self._data = job, data
        self._context = TrainContext(
            images=data.train,
            validation=data.validation if validate else None,
            recipe=job.candidate.recipe,
            augmentation=job.candidate.augmentation,
            classes=data.classes,
            seed=job.seed,
            device=torch.device(job.device),
            preview=True,
        )
        self.network = first_network(
            job.candidate.architecture,
            data.input_shape,
            data.classes,
            seed=job.seed,
            recipe=job.candidate.recipe,
            files=job.weights,
        )
        self._compression = Compression(job.candidate.pruning, job.candidate.bits)
        self.notes, self.facts = self._compression.notes, self._compression.facts

    def run(self) -> Iterator[Epoch]:
        """All phases of the candidate; yields after every epoch. Raises TrainingError."""
        candidate, context = self._job.candidate, self._context
        if candidate.recipe.uncompressed.distillation > 0:
            from slimfront.evaluators.training.teacher import teacher_for

            context = replace(context, teacher=(yield from teacher_for(self._job, self._data)))
        filters = candidate.pruning.filters
        if self._job.supernet is not None:
            inherited = InheritedPhase(self._job.supernet, self._data.digest)
            self.facts["inherited"] = yield from inherited.run(self.network, context)
            self._compression.notes.append(
                f"It has its weights from the supernet {self.facts['inherited']['supernet']}."
            )
        else:
            uncompressed = UncompressedPhase(filters.penalty if filters is not None else 0.0)
            train_first = replace(context, checkpoint=self._uncompressed_file())
            yield from self._compression.part(uncompressed, self.network, train_first)
        if candidate.recipe.teacher == UNCOMPRESSED_TEACHER and candidate.is_compressed:
            context = replace(context, teacher=copy_network(self.network).requires_grad_(False).eval())
        yield from self._compression.run(self.network, context, self._file)

    def _file(self, phase: str) -> Path | None:
        folder = self._job.folder
        return folder / f"{phase}-{phase_key(self._job, self._data.digest)}.safetensors" if folder is not None else None

    def _uncompressed_file(self) -> Path | None:
        place = self._job.store or self._job.folder
        if place is None:
            return None
        path = place / f"dense-{uncompressed_key(self._job, self._data.digest)}.safetensors"
        store.touch(path)  # so that it is not the one to go
        store.make_room(place)
        return path
