"""The recorded table, and what it costs to look things up in it.

Cost is counted in epochs: every epoch of training, dense or after a compression, is one. Rounding, pruning and
measuring without training (epoch 0) cost none.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.scoring.cost import Rating
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.evaluators.training.loop import Epoch
from slimfront.spaces import Candidate, Space
from slimfront.studies.front import Point, area

PATH = Path(__file__).with_name("table.json.gz")
CLEAR = 0.25  # share of the candidates that clear the bar


@dataclass(frozen=True)
class Row:
    """A candidate's recorded training.

    Attributes:
        candidate: What was trained.
        dense: Digest of its dense network.
        accuracy: Final, on the validation images.
        score: Measured on the finished network.
        expected: The score before training.
        curve: (stage, epoch, epochs of the stage, accuracy), in order.
    """

    candidate: Candidate
    dense: str
    accuracy: float
    score: float
    expected: float
    curve: tuple[tuple[str, int, int, float], ...]

    @property
    def epochs(self) -> int:
        """Of training, in all."""
        return sum(epoch > 0 for _, epoch, _, _ in self.curve)


class Table:
    """All rows, by the candidate's digest.

    Attributes:
        rows: By digest.
        space: That the rows are all candidates of.
        bar: The accuracy that a quarter of the rows clears.
        best: Hypervolume of all rows.
    """

    def __init__(self, path: Path = PATH) -> None:
        with gzip.open(path) as file:
            self.written: dict[str, Any] = json.load(file)
        self.space = Space(self.written["space"])
        self.rows: dict[str, Row] = {}
        for row in self.written["rows"]:
            candidate = Candidate.from_dict(row["candidate"])
            curve = tuple((str(s), int(e), int(n), float(a)) for s, e, n, a in row["curve"])
            self.rows[candidate.digest] = Row(
                candidate, row["dense"], row["accuracy"], row["score"], row["expected_score"], curve
            )
        accuracies = sorted(row.accuracy for row in self.rows.values())
        self.bar = accuracies[-round(CLEAR * len(accuracies))]
        self.best = area([(row.accuracy, row.score) for row in self.rows.values()], self.bar)

    def rate(self, candidate: Candidate) -> Rating:
        """What is known before training."""
        expected = self.rows[candidate.digest].expected
        return Rating({"score": expected}, {SCORE.name: expected})


@dataclass
class Spending:
    """What a strategy has paid, and what it had for it.

    Attributes:
        table: That it plays on.
        epochs: Paid so far.
        known: Hypervolume after each completed training: (epochs paid, hypervolume).
        share: Whether dense trainings are paid for once only.
    """

    table: Table
    share: bool = False
    epochs: int = 0
    points: list[Point] = field(default_factory=list)
    history: list[tuple[int, float]] = field(default_factory=list)
    _dense: dict[str, int] = field(default_factory=dict)

    def pay(self, row: Row, stage: str, epoch: int) -> None:
        """For one epoch of a training."""
        if epoch == 0:
            return
        if self.share and stage == "dense":
            if epoch <= self._dense.get(row.dense, 0):
                return
            self._dense[row.dense] = epoch
        self.epochs += 1

    def finish(self, row: Row) -> None:
        """A training came to its end: its result counts from here on."""
        self.points.append((row.accuracy, row.score))
        self.history.append((self.epochs, area(self.points, self.table.bar)))

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to gain."""
        return bool(self.history) and self.history[-1][1] >= (1 - 1e-9) * self.table.best

    def at(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Share of the table's best hypervolume that was reached after so many epochs."""
        paid = np.array([0, *(epochs for epochs, _ in self.history)])
        reached = np.array([0.0, *(value for _, value in self.history)])
        best = np.maximum.accumulate(reached)
        result: np.ndarray[Any, Any] = best[np.searchsorted(paid, places, side="right") - 1] / self.table.best
        return result

    def to_reach(self, share: float) -> float:
        """Epochs until that share of the table's best hypervolume; infinite where it never was."""
        return next((float(e) for e, value in self.history if value >= share * self.table.best - 1e-9), float("inf"))

    def evaluate(self, job: Job) -> Generator[Epoch, None, Result]:
        """In place of the evaluator that trains (`slimfront.search.job.evaluate_job`)."""
        row = self.table.rows[job.candidate.digest]
        curve = []
        for stage, epoch, epochs, accuracy in row.curve:
            self.pay(row, stage, epoch)
            curve.append(Epoch(stage, epoch, epochs, None, accuracy, 0.0))
            yield curve[-1]
        self.finish(row)
        ends = {epoch.stage: epoch.accuracy or 0.0 for epoch in curve}
        return Result(row.accuracy, {"score": row.score}, tuple(curve), ends, 0.0)
