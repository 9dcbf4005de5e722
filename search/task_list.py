"""A client for tasks that are known beforehand, each to its end: what retraining and sweeps have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from slimfront.evaluators.job import Failure
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.display import Totals
from slimfront.search.engine import R, Task

Listed = TypeVar("Listed", bound=Task)


class TaskList(Generic[Listed, R]):
    """Hands out tasks one after the other; see `slimfront.search.engine.Client`.

    The work is counted in epochs, of which each task's row says how many it takes. The time left follows from how long
    epochs took; those replayed from a checkpoint carry the time that they once took, so it holds after a restart.

    Attributes:
        tasks: All of them.
        results: By task, of those that have ended well.
        failures: By task, of those that came to nothing.
    """

    def __init__(self, tasks: Iterable[Listed], slots: int) -> None:
        self.tasks = list(tasks)
        self.results: dict[Listed, R] = {}
        self.failures: dict[Listed, Failure] = {}
        self._waiting = deque(self.tasks)
        self._slots = slots
        self._epochs: dict[Listed, int] = {}  # done, of those that run
        self._seconds, self._timed = 0.0, 0

    def next(self) -> Listed | str | None:
        """See Client."""
        return self._waiting.popleft() if self._waiting else None

    def waits(self) -> bool:
        """See Client."""
        return False

    def over(self) -> bool:
        """See Client."""
        return False

    def started(self, task: Listed) -> None:
        """See Client."""
        self._epochs[task] = 0

    def epoch(self, task: Listed, epoch: Epoch) -> str | None:
        """See Client: each goes on to its end."""
        if epoch.stage != TEACHER:
            self._epochs[task] += 1
            self._seconds += epoch.seconds
            self._timed += 1
        return None

    def result(self, task: Listed, result: R) -> str:
        """See Client."""
        self.results[task] = result
        return "done"

    def failure(self, task: Listed, failure: Failure) -> str:
        """See Client."""
        self.failures[task] = failure
        return f"failed, {failure.text}"

    def left(self, task: Listed) -> None:
        """See Client."""

    def tick(self) -> None:
        """See Client."""

    def totals(self) -> Totals:
        """See Client."""
        done, of = 0, 0
        for task in self.tasks:
            epochs = task.row.epochs or 0
            ended = task in self.results or task in self.failures
            done += epochs if ended else min(epochs, self._epochs.get(task, 0))
            of += epochs
        left = None
        if self._timed and done < of:
            left = self._seconds / self._timed * (of - done) / self._slots
        return Totals(done, of, "epochs", done / of if of else 1.0, left)

    def close(self) -> None:
        """See Client."""
