"""What an evaluator is given and what it gives back: plain data that travels between processes and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from slimfront.evaluators.training.loop import Epoch
from slimfront.spaces.candidate import Candidate


@dataclass(frozen=True)
class Job:
    """A candidate together with what is not its choice.

    Attributes:
        candidate: What is trained.
        dataset: Name of the data set (`slimfront.evaluators.data.splits`).
        data_dir: Where its files are looked for first; None: the cache.
        image_size: Side that an image folder's pictures are resized to; None: the data set's own.
        seed: Of initialisation, order and augmentation.
        device: "cpu", "cuda" or "cuda:1".
        threads: Of this training.
        folder: Where the checkpoints of this job lie; None: it cannot be resumed.
        store: Where uncompressed networks are kept for other jobs; None: nowhere.
        data_digest: Of the data that the study was begun with; "": not checked.
        supernet: File of the supernet whose weights the network starts from, instead of an uncompressed training of its
            own; None: it has that training.
        costs: That are measured on the finished network, by name, besides the score.
        weights: Files of starting weights, by what a recipe calls them.
    """

    candidate: Candidate
    dataset: str
    seed: int
    data_dir: Path | None = None
    image_size: int | None = None
    device: str = "cpu"
    threads: int = 1
    folder: Path | None = None
    store: Path | None = None
    data_digest: str = ""
    supernet: Path | None = None
    costs: tuple[str, ...] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)

    def on(self, device: str) -> Self:
        """The same job on another device."""
        return replace(self, device=device)


@dataclass(frozen=True)
class Result:
    """What a job came to.

    Attributes:
        accuracy: Share of the validation images that the finished network classifies right.
        score: `Score.to_dict()` of the finished network.
        curve: Every epoch of every phase, in order.
        accuracies: Accuracy after each phase, by the phase's name.
        seconds: Wall time in all, replayed epochs left out.
        notes: Remarks that a reader of the record should see, such as a ratio that could not be met.
        facts: Remarks for programs.
        costs: That the job asked for, by name.
    """

    accuracy: float
    score: dict[str, Any]
    curve: tuple[Epoch, ...]
    accuracies: dict[str, float]
    seconds: float
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why a job gave no result. `reason` is one of a fixed set of words (slimfront.studies.record.REASONS)."""

    reason: str
    text: str
