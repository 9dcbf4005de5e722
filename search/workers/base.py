"""What every kind of worker has in common: slots that take tasks, and the messages that come back.

`submit` gives a slot a task, `next` hands back what happened, and after every epoch the worker waits for `go_on` or
`stop`. So every decision sees everything, wherever the training is.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Generator
from typing import Protocol, Self, TypeAlias, TypeVar

from slimfront.evaluators.job import Failure
from slimfront.evaluators.training.loop import Epoch
from slimfront.evaluators.training.progress import Progress


class Placeable(Protocol):
    """A task that can be given its device."""

    @property
    def device(self) -> str:
        """ "cpu", "cuda" (any), or "cuda:1"."""

    def on(self, device: str) -> Self:
        """The same task on that device."""


Task = TypeVar("Task", bound=Placeable)
TaskIn = TypeVar("TaskIn", bound=Placeable, contravariant=True)
Result = TypeVar("Result")
ResultOut = TypeVar("ResultOut", covariant=True)

Message: TypeAlias = Epoch | Failure | Result
"""An epoch has ended, or the task, in one of two ways. A result is of any other type."""


class Evaluate(Protocol[TaskIn, ResultOut]):
    """What a worker does with a task; importable by name, so that a new process finds it."""

    def __call__(self, task: TaskIn, /) -> Generator[Epoch, None, ResultOut]:
        """Yield after every epoch, return the result."""


Hear: TypeAlias = Callable[[int, Progress], object]
"""Told of a slot how far its epoch is."""


class Workers(Protocol[TaskIn, ResultOut]):
    """Some slots, each of which works on one task at a time."""

    @property
    def slots(self) -> int:
        """How many; they are numbered from 0 on."""

    def ready(self, slot: int) -> bool:
        """Whether a free slot can begin a task now; on a cluster it may have to wait for a node."""

    def listen(self, hear: Hear) -> None:
        """From now on tell `hear`, while `next` waits, how far epochs are, as far as that is known."""

    def submit(self, slot: int, task: TaskIn) -> None:
        """Begin `task` in a free slot."""

    def next(self, timeout: float) -> tuple[int, Epoch | Failure | ResultOut] | None:
        """What happened next, and in which slot; None where nothing did for `timeout` seconds.

        A result or a Failure frees the slot. After an Epoch the slot waits for `go_on` or `stop`.
        """

    def go_on(self, slot: int) -> None:
        """Let the slot train on."""

    def stop(self, slot: int) -> None:
        """End the slot's task; the slot is free at once."""

    def close(self) -> None:
        """End everything."""


def advance(generator: Generator[Epoch, None, Result]) -> Message[Result]:
    """The next thing that a task does; whatever it raises becomes a Failure."""
    try:
        return next(generator)
    except StopIteration as finished:
        result: Result = finished.value
        return result
    except (Exception, SystemExit) as error:  # a bug in one candidate, or in a user's own code, must not end the night
        return failure_of(error)


def failure_of(error: BaseException) -> Failure:
    """An exception as a Failure, with a reason from the fixed set."""
    from slimfront.evaluators.training.loop import TrainingError

    if isinstance(error, TrainingError):
        return Failure(error.reason, str(error))
    text = f"{type(error).__name__}: {error}".split("\n")[0]
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return Failure("out_of_memory", text)
    if isinstance(error, OSError):
        return Failure("files", text)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Failure("error", f"{text} ({os.path.basename(where.filename)}:{where.lineno})")  # noqa: PTH119
