"""Candidate -> Result: the stages of a job, one after the other, as one generator of epochs.

    dense training -> filters removed -> weights masked -> bits lowered, each with its fine-tuning

Every training inside keeps its state in a file of the job's folder (the dense one in the store, where other jobs with
the same dense network find it). A job that is run again replays what was done and goes on where it broke off.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from slimfront.evaluators.data.splits import SearchData
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.pruning import PruningError, SlimmingPenalty, account, copy_network, finalise, prune_stage
from slimfront.evaluators.quantization import quantize
from slimfront.evaluators.scoring.score import Score, score
from slimfront.evaluators.training import store
from slimfront.evaluators.training.loop import TEACHER, Epoch, Teacher, TrainingError, accuracy, train
from slimfront.evaluators.training.views import VIEWS
from slimfront.models import build
from slimfront.models.network import Network
from slimfront.models.quantization.conversion import deploy
from slimfront.spaces.candidate import DENSE_TEACHER, Sparsity

# Raised whenever a change makes a dense training come to other numbers: networks stored before no longer count.
TRAINING_VERSION = 3


def dense_key(job: Job, data_digest: str) -> str:
    """What the dense network of a job depends on, as 16 hexadecimal digits."""
    parts = [job.candidate.dense_digest, str(job.seed), data_digest, str(TRAINING_VERSION), job.device.split(":")[0]]
    if job.candidate.recipe.dense.distillation > 0:
        parts.append(f"{VIEWS} views")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def stage_key(job: Job, data_digest: str) -> str:
    """What the checkpoints of the later stages depend on: everything.

    A folder may hold those of another study whose trial had the same number; its masks and scales must not be taken up.
    """
    parts = (dense_key(job, data_digest), job.candidate.digest)
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
    return Result(
        accuracy=accuracy(pipeline.network, data.validation, job.device),
        score=score(pipeline.network, data.input_shape).to_dict(),
        curve=tuple(curve),
        accuracies=pipeline.accuracies,
        seconds=time.perf_counter() - start,
        notes=tuple(pipeline.notes),
        facts=pipeline.facts,
    )


class Pipeline:
    """A network on its way through the stages.

    Attributes:
        network: As it stands; after `run` in its final form.
        accuracies: On the validation images after each stage that trained, by the stage's name.
        notes: Remarks for people, such as a ratio that could not be met.
        facts: Remarks for programs: the account of pruning.
    """

    def __init__(self, job: Job, data: SearchData, *, validate: bool = True) -> None:
        """With `validate` False nothing is measured along the way, and all of `data.train` is trained on."""
        self._job, self._data = job, data
        self._validation = data.validation if validate else None
        self.network: Network = build(
            job.candidate.architecture, data.classes, channels=data.input_shape[0], seed=job.seed
        )
        self.accuracies: dict[str, float] = {}
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}

    def run(self) -> Iterator[Epoch]:
        """All stages of the candidate; yields after every epoch. Raises TrainingError."""
        candidate = self._job.candidate
        teacher: Teacher | None = None
        if candidate.recipe.dense.distillation > 0:
            from slimfront.evaluators.training.teacher import teacher_for

            teacher = yield from teacher_for(self._job, self._data)
        yield from self._watch("dense", self._dense(teacher))
        if candidate.recipe.teacher == DENSE_TEACHER and candidate.is_compressed:
            teacher = copy_network(self.network).requires_grad_(False).eval()
        dense = score(self.network, self._data.input_shape)
        try:
            for step in (candidate.pruning.filters, candidate.pruning.weights):
                if step is not None:
                    yield from self._watch(step.granularity, self._prune(step, teacher))
        except PruningError as error:
            raise TrainingError("pruning", str(error)) from None
        self._settle_books(dense)
        if candidate.bits.is_float:
            deploy(self.network)
        else:
            yield from self._watch("bits", self._quantize(teacher))
        finalise(self.network)

    def _quantize(self, teacher: Teacher | None) -> Iterator[Epoch]:
        return quantize(
            self.network,
            self._data.train,
            self._validation,
            bits=self._job.candidate.bits,
            **self._common(teacher),
            checkpoint=self._file("bits"),
            preview=True,
        )

    def _watch(self, name: str, epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        """Pass epochs on and remember the last one's accuracy."""
        for epoch in epochs:
            if epoch.accuracy is not None:
                self.accuracies[name] = epoch.accuracy
            yield epoch

    def _common(self, teacher: Teacher | None) -> dict[str, Any]:
        job = self._job
        return {
            "recipe": job.candidate.recipe,
            "augmentation": job.candidate.augmentation,
            "classes": self._data.classes,
            "seed": job.seed,
            "device": job.device,
            "teacher": teacher,
        }

    def _dense(self, teacher: Teacher | None) -> Iterator[Epoch]:
        filters = self._job.candidate.pruning.filters
        hooks = [SlimmingPenalty(filters.penalty)] if filters is not None and filters.penalty > 0 else []
        path = self._dense_file()
        if path is not None:
            store.touch(path)  # so that it is not the one to go
            store.make_room(path.parent)
        common = self._common(teacher) | {"recipe": self._job.candidate.recipe.dense}
        yield from train(self.network, self._data.train, self._validation, **common, hooks=hooks, checkpoint=path)

    def _prune(self, step: Sparsity, teacher: Teacher | None) -> Iterator[Epoch]:
        report = yield from prune_stage(
            self.network,
            step,
            self._data.train,
            self._validation,
            **self._common(teacher),
            checkpoint=self._file(step.granularity),
            preview=True,
        )
        if not report.met:
            self.notes.append(report.message)

    def _settle_books(self, dense: Score) -> None:
        pruning = self._job.candidate.pruning
        if pruning.filters is not None or pruning.weights is not None:
            pruned = score(self.network, self._data.input_shape)
            self.facts["account"] = account(dense, pruned, pruning).to_dict()

    def _file(self, stage: str) -> Path | None:
        folder = self._job.folder
        if folder is None:
            return None
        return folder / f"{stage}-{stage_key(self._job, self._data.digest)}.safetensors"

    def _dense_file(self) -> Path | None:
        place = self._job.store or self._job.folder
        return place / f"dense-{dense_key(self._job, self._data.digest)}.safetensors" if place is not None else None
