"""Teachers: a preset trained once, kept in the cache, and distilled into students (Hinton 2015, arXiv:1503.02531).

A teacher is trained by its own recipe and with the student's flip and crop, on exactly the images that the student
trains on: in a search on the training part, in the final training on all training images. So nothing of the
validation or test images reaches a student through its teacher. Its file is named by everything that it depends on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

from torch import nn

from evaluators.datasets.cache import cache_folder
from evaluators.datasets.images import Images
from evaluators.job import Job
from evaluators.train import TEACHER, Epoch, TrainingError, train
from models import build
from spaces import Augmentation, Candidate, presets
from spaces.candidate import DENSE_TEACHER

TEACHER_SEED = 0
TEACHER_VERSION = 1  # raised whenever a change makes a teacher's training come to other numbers


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
            "teacher", f"The teacher {name!r} is neither {DENSE_TEACHER} nor a preset ({', '.join(presets)})."
        )
    own = job.candidate.augmentation
    augmentation = Augmentation(flip=own.flip, crop=own.crop)  # whether a mirrored image is one is up to the data
    return dataclasses.replace(presets[name], augmentation=augmentation)


def teacher_file(job: Job, data: TrainingData) -> Path:
    """Where the teacher lies, or will lie: `~/.cache/slimfront/teachers` (or `$XDG_CACHE_HOME/slimfront/teachers`)."""
    parts = (
        teacher_candidate(job).dense_digest,
        data.digest,
        str(len(data.train.labels)),
        str(TEACHER_SEED),
        str(TEACHER_VERSION),
        job.device.split(":")[0],
    )
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache_folder() / "teachers" / f"{job.candidate.recipe.teacher}-{key}.safetensors"


def teacher_for(job: Job, data: TrainingData) -> Generator[Epoch, None, nn.Module]:
    """Yields the epochs of the teacher's training; returns it in evaluation mode, its weights fixed.

    The first one who asks trains it, with a checkpoint after every epoch; others on the same machine wait. Whoever
    stops in between, as a search that is interrupted does, goes on there the next time.

    Raises:
        TrainingError: There is no such preset, or its training fails.
    """
    candidate = teacher_candidate(job)
    path = teacher_file(job, data)
    network = build(candidate.architecture, data.classes, channels=data.input_shape[0], seed=TEACHER_SEED)
    with _alone(path):
        yield from train(  # finished before: replayed from its file in no time
            network,
            data.train,
            None,
            recipe=candidate.recipe,
            augmentation=candidate.augmentation,
            classes=data.classes,
            seed=TEACHER_SEED,
            device=job.device,
            stage=TEACHER,
            checkpoint=path,
        )
    return network.requires_grad_(False).eval()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process at a time trains this teacher; the lock goes with its process, however that ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there two may train the same teacher, and write the same file
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
