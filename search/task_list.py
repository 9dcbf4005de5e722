"""A client for tasks that are known beforehand, each to its end: what retraining and sweeps have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from slimfront.evaluators.job import Failure
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.display import Totals
from slimfront.search.engine import Client, R, Task


@dataclass(eq=False)
class ListedTask(Task):
    """A task that is known beforehand, and what became of it."""

    result: Any = None
    failure: Failure | None = None
    epochs: int = 0  # done in its last start


Listed = TypeVar("Listed", bound=ListedTask)


class TaskList(Client[Listed, R]):
    """Hands out tasks one after the other; see `slimfront.search.engine.Client`.

    The work is counted in epochs, of which each task's row says how many it takes. The time left follows from how long
    epochs took; those replayed from a checkpoint carry the time that they once took, so it holds after a restart.
    """

    def __init__(self, tasks: Iterable[Listed], slots: int) -> None:
        self.tasks = list(tasks)
        self._waiting = deque(self.tasks)
        self._slots = slots
        self._seconds, self._timed = 0.0, 0

    def next(self) -> Listed | str | None:
        """See Client."""
        return self._waiting.popleft() if self._waiting else None

    def started(self, task: Listed) -> None:
        """See Client."""
        task.epochs = 0

    def epoch(self, task: Listed, epoch: Epoch) -> str | None:
        """See Client: each goes on to its end."""
        if epoch.stage != TEACHER:
            task.epochs += 1
            self._seconds += epoch.seconds
            self._timed += 1
        return None

    def result(self, task: Listed, result: R) -> str:
        """See Client."""
        task.result = result
        return "done"

    def failure(self, task: Listed, failure: Failure) -> str:
        """See Client."""
        task.failure = failure
        return f"failed, {failure.text}"

    def left(self, task: Listed) -> None:
        """See Client."""

    def tick(self) -> None:
        """See Client."""

    def close(self) -> None:
        """See Client."""

    def totals(self) -> Totals:
        """See Client."""
        done, of = 0, 0
        for task in self.tasks:
            epochs = task.row.epochs or 0
            ended = task.result is not None or task.failure is not None
            done += epochs if ended else min(epochs, task.epochs)
            of += epochs
        left = None
        if self._timed and done < of:
            left = self._seconds / self._timed * (of - done) / self._slots
        return Totals(done, of, "epochs", done / of if of else 1.0, left)
