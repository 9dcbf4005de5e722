"""Candidate -> Result: the stages of a job, one after the other, as one generator of epochs.

Every training inside keeps its state in a file of the job's folder (the dense one in the store, where other jobs with
the same dense network find it). A job that is run again replays what was done and goes on where it broke off.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from torch import nn

from evaluators.data import SearchData
from evaluators.job import Job, Result
from evaluators.score import score
from evaluators.train import Epoch, accuracy, train
from models import build
from models.network import weight_layers
from models.precision import assign_bits

# Raised whenever a change makes a dense training come to other numbers: networks stored before no longer count.
TRAINING_VERSION = 1


def dense_key(job: Job, data_digest: str) -> str:
    """What the dense network of a job depends on, as 16 hexadecimal digits."""
    parts = (job.candidate.dense_digest, str(job.seed), data_digest, str(TRAINING_VERSION), job.device.split(":")[0])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def evaluate(job: Job, data: SearchData) -> Generator[Epoch, None, Result]:
    """Train and compress `job.candidate` on `data`; yield after every epoch, return the Result.

    Raises TrainingError where training cannot go on. Closing the generator stops the job; with a folder it can be
    taken up again.
    """
    start = time.perf_counter()
    stages = _Stages(job, data)
    curve: list[Epoch] = []
    replayed = 0.0
    for epoch in stages.run():
        curve.append(epoch)
        yield epoch
    spent = time.perf_counter() - start - replayed
    network = stages.network
    counted = score(network, data.input_shape)
    return Result(
        accuracy=accuracy(network, data.validation, job.device),
        score=counted.to_dict(),
        curve=tuple(curve),
        accuracies=stages.accuracies,
        seconds=spent,
        notes=tuple(stages.notes),
    )


class _Stages:
    """The network on its way through the stages."""

    def __init__(self, job: Job, data: SearchData) -> None:
        self._job, self._data = job, data
        self.network: nn.Module = build(
            job.candidate.architecture, data.classes, channels=data.input_shape[0], seed=job.seed
        )
        self.accuracies: dict[str, float] = {}
        self.notes: list[str] = []

    def run(self) -> Iterator[Epoch]:
        candidate = self._job.candidate
        yield from self._dense()
        assign_bits(self.network, candidate.bits)
        self._round_to_half()

    def _round_to_half(self) -> None:
        for layer in weight_layers(self.network).values():
            if getattr(layer, "weight_bits", 32) == 16:
                with torch.no_grad():
                    layer.weight.copy_(layer.weight.half())
            if getattr(layer, "activation_bits", 32) == 16:
                layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].half().to(inputs[0].dtype),))

    def _dense(self) -> Iterator[Epoch]:
        job, data = self._job, self._data
        last = None
        for last in train(
            self.network,
            data.train,
            data.validation,
            recipe=job.candidate.recipe,
            augmentation=job.candidate.augmentation,
            classes=data.classes,
            seed=job.seed,
            device=job.device,
            checkpoint=self._dense_file(),
        ):
            yield last
        if last is not None and last.accuracy is not None:
            self.accuracies["dense"] = last.accuracy

    def _dense_file(self) -> Path | None:
        place = self._job.store or self._job.folder
        return place / f"dense-{dense_key(self._job, self._data.digest)}.safetensors" if place is not None else None
