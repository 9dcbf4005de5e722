"""Teachers: a preset trained once, kept in the cache, and distilled into students (Hinton 2015, arXiv:1503.02531).

A teacher is trained by its own recipe and with the student's flip and crop, on exactly the images that the student
trains on: in a search on the training part, in the final training on all training images. So nothing of the
validation or test images reaches a student through its teacher. Its file is named by everything that it depends on.

Where a student's images are only moved, the teacher answers a few views of each in advance
(`evaluators.training.views`), in a file beside its own; otherwise it is asked at every step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import torch
from slimfront.evaluators.data.cache import cache_folder
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.job import Job
from slimfront.evaluators.training import checkpoint as files
from slimfront.evaluators.training import store, views
from slimfront.evaluators.training.context import Teacher, TrainContext
from slimfront.evaluators.training.loop import TEACHER, Epoch, TrainingError, half_precision, train
from slimfront.evaluators.training.views import Views
from slimfront.models import build
from slimfront.spaces import Augmentation, Candidate, presets
from slimfront.spaces.candidate import UNCOMPRESSED_TEACHER
from torch import nn

TEACHER_SEED = 0
TEACHER_VERSION = 2  # raised whenever a change makes a teacher's training come to other numbers


class TrainingData(Protocol):
    """What a teacher needs of a data set."""

    @property
    def train(self) -> Images:
        """Training images."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def digest(self) -> str:
        """Of the data set and its split."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""


def teacher_candidate(job: Job) -> Candidate:
    """The preset that the job's recipe names, with the student's flip and crop. Raises TrainingError for no preset."""
    name = job.candidate.recipe.teacher
    if name is None or name not in presets:
        raise TrainingError(
            "teacher", f"The teacher {name!r} is neither {UNCOMPRESSED_TEACHER} nor a preset ({', '.join(presets)})."
        )
    own = job.candidate.augmentation
    augmentation = Augmentation(flip=own.flip, crop=own.crop)  # whether a mirrored image is one is up to the data
    return dataclasses.replace(presets[name], augmentation=augmentation)


def teacher_file(job: Job, data: TrainingData) -> Path:
    """Where the teacher lies, or will lie: `~/.cache/slimfront/teachers` (or `$XDG_CACHE_HOME/slimfront/teachers`)."""
    parts = (
        teacher_candidate(job).uncompressed_digest,
        data.digest,
        str(len(data.train.labels)),
        str(TEACHER_SEED),
        str(TEACHER_VERSION),
        job.device.split(":")[0],
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / "teachers" / f"{job.candidate.recipe.teacher}-{key}.safetensors"


def teacher_for(job: Job, data: TrainingData) -> Generator[Epoch, None, Teacher]:
    """Yields the epochs of the teacher's training and the views that it answers; returns its answers, or itself.

    The first one who asks trains it, with a checkpoint after every epoch; others on the same machine wait. Whoever
    stops in between, as a search that is interrupted does, goes on there the next time.

    Raises:
        TrainingError: There is no such preset, or its training fails.
    """
    candidate = teacher_candidate(job)
    path = teacher_file(job, data)
    network = build(candidate.architecture, data.classes, channels=data.input_shape[0], seed=TEACHER_SEED)
    in_advance = views.can_be_asked_before(job.candidate.augmentation, len(data.train), data.classes)
    rounds = candidate.recipe.epochs + (views.VIEWS if in_advance else 0)
    with store.alone(path):
        context = TrainContext(
            images=data.train,
            validation=None,
            recipe=candidate.recipe,
            augmentation=candidate.augmentation,
            classes=data.classes,
            seed=TEACHER_SEED,
            device=torch.device(job.device),
            phase=TEACHER,
            checkpoint=path,
        )
        for epoch in train(network, context):  # finished before: replayed from its file in no time
            yield dataclasses.replace(epoch, epochs=rounds)
        network.requires_grad_(False).eval()
        if in_advance:
            return (yield from _answers(network, candidate, data, job.device, path, rounds))
    return network


def views_file(teacher: Path) -> Path:
    """Where the answers of the teacher in that file lie, or will lie."""
    return teacher.with_name(f"{teacher.stem}-views{views.VIEWS}{teacher.suffix}")


def _answers(
    network: nn.Module, candidate: Candidate, data: TrainingData, device: str, teacher: Path, rounds: int
) -> Generator[Epoch, None, Views]:
    """The trained teacher's views, from the file beside its own, or asked now: a round of the same count each.

    What was answered when somebody stopped lies in a file of its own, so that no reader takes it for the whole.
    """
    path = views_file(teacher)
    found = files.load(path)
    if found is not None:
        return Views(found[0]["moves"], found[0]["logits"])
    so_far = path.with_stem(f"{path.stem}-so-far")
    found = files.load(so_far)
    moves, logits = ([*found[0][key]] if found is not None else [] for key in ("moves", "logits"))
    precision = half_precision(torch.device(device))
    asked = views.ask(network, data.train.to(device), candidate.augmentation, data.classes, precision, len(moves))
    start = time.perf_counter()
    for moved, answered in asked:
        moves.append(moved.cpu())
        logits.append(answered.cpu())
        last = len(moves) == views.VIEWS
        files.save(path if last else so_far, {"moves": torch.stack(moves), "logits": torch.stack(logits)}, {})
        yield Epoch(TEACHER, candidate.recipe.epochs + len(moves), rounds, None, None, time.perf_counter() - start)
        start = time.perf_counter()
    so_far.unlink(missing_ok=True)
    return Views(torch.stack(moves), torch.stack(logits))
