"""The journal of a comparison's rows: what was trained, by which state of the code, and what came of it."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from slimfront.evaluators.training.loop import Epoch
from slimfront.search.json_lines import append_line, read_lines
from slimfront.spaces import Candidate
from slimfront.studies.environment import environment

Line = dict[str, Any]
JOURNAL = "journal.jsonl"


class RowsError(ValueError):
    """A comparison that cannot go on: the text says what, where, and what to do."""


@dataclass(frozen=True)
class Row:
    """A training of the comparison: its name, which is the key of the journal, and what is trained with which seed."""

    name: str
    candidate: Candidate
    seed: int


class Journal:
    """A line of JSON for everything that has ended: epochs, rows, the teacher. It is on the disk when `add` returns.

    A line that was broken off while it was written does not count.

    Args:
        folder: Holds, or will hold, `journal.jsonl`.
        dataset: That the rows are trained on.

    Raises:
        RowsError: The folder's rows are of another data set.
    """

    def __init__(self, folder: Path, dataset: str) -> None:
        self._path = folder / JOURNAL
        self._lines: list[Line] = []
        self._epochs: set[tuple[str, str, int]] = set()
        for line in read_lines(self._path):
            self._note(line)
        if not self._lines:
            self.add({"dataset": dataset})
        elif self._lines[0].get("dataset") != dataset:
            found = self._lines[0].get("dataset")
            raise RowsError(f"{folder} holds rows of {found}, not of {dataset}: give another --out.")

    def _note(self, line: Line) -> None:
        self._lines.append(line)
        if "epoch" in line:
            self._epochs.add((line["row"], line["stage"], line["epoch"]))

    def add(self, line: Line) -> None:
        """Keep a line."""
        append_line(self._path, line)
        self._note(line)

    def check(self, row: Row) -> None:
        """Raises RowsError where the row was begun as another candidate."""
        for line in self._of(row.name, "candidate"):
            if any(line[key] != value for key, value in _start(row).items()):
                where = f"{self._path}: {row.name}"
                raise RowsError(f"{where} was begun with other settings: go on with those, or give another --out.")

    def begin(self, row: Row) -> None:
        """Note that a row is begun or taken up, and by which state of the code."""
        self.add(_start(row) | {key: environment()[key] for key in ("commit", "machine")})

    def epoch(self, row: str, epoch: Epoch) -> None:
        """Note an epoch; one that is replayed and known stays as it was."""
        if (row, epoch.stage, epoch.epoch) not in self._epochs:
            self.add({"row": row, **dataclasses.asdict(epoch)})

    def result(self, row: str) -> Line | None:
        """What a finished row came to; None while it is not finished."""
        found = self._of(row, "result")
        result: Line | None = found[-1]["result"] if found else None
        return result

    @property
    def rows(self) -> list[str]:
        """The names of all rows that were begun, the teacher's among them, in order."""
        return list(dict.fromkeys(line["row"] for line in self._lines if "row" in line))

    def start(self, row: str) -> Line | None:
        """The candidate and seed that a row was begun with; None where it was not."""
        return next(iter(self._of(row, "candidate")), None)

    def commits(self, row: str) -> list[str]:
        """The states of the code that trained a row, in order, each once."""
        return list(dict.fromkeys(line["commit"] for line in self._of(row, "candidate")))

    def curve(self, row: str, stage: str) -> list[Line]:
        """The epochs of one stage of a row, in order."""
        return sorted(
            (line for line in self._of(row, "epoch") if line["stage"] == stage),
            key=lambda line: cast(int, line["epoch"]),
        )

    def core_seconds(self, row: str, stage: str) -> float:
        """Cost of a stage so far.

        An epoch that was interrupted or killed between its checkpoint and its line counts as the mean of the others.
        """
        costs = [line["core_seconds"] for line in self.curve(row, stage)]
        known = [cost for cost in costs if cost is not None]
        return statistics.mean(known) * len(costs) if known else 0.0

    def _of(self, row: str, key: str) -> list[Line]:
        return [line for line in self._lines if line.get("row") == row and key in line]


def _start(row: Row) -> Line:
    return {"row": row.name, "seed": row.seed, "candidate": row.candidate.to_dict()}
