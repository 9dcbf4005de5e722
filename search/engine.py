"""The engine: one loop that hands tasks to workers and their news to a client, until nothing is left to do.

Three rooms with three small interfaces: the loop is here, decisions are a `Client`'s, and where tasks run is the
`Workers`' affair (`slimfront.search.workers`). The engine knows neither studies nor seeds nor ratios. It keeps the
slots busy, asks for the next task while all of them train, starts a task again whose worker died, gives up after many
failures in a row, listens to interrupts, and feeds the display.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from slimfront.evaluators.job import Failure
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.display import Display, Row, Totals
from slimfront.search.interrupt import Interrupt
from slimfront.search.workers.base import Message, Workers

STARTS = 3  # a task whose worker dies is started again twice
FAILURES_IN_A_ROW = 5  # then the engine stops instead of burning the night
LEFT = "left for the next start"
_PULSE = 1.0  # seconds between looks at the clock while nothing happens


@dataclass(eq=False)
class Task:
    """What is to be done.

    Attributes:
        job: What a worker is handed; it travels between processes and machines.
        row: What people see of it.
        starts: How often it was begun and not left on purpose, in earlier runs too where that is known.
    """

    job: Any
    row: Row
    starts: int = 0


T = TypeVar("T", bound=Task)
R = TypeVar("R")
R_in = TypeVar("R_in", contravariant=True)


class Client(Protocol[T, R_in]):
    """Who decides what is done, and keeps what comes of it. Texts are for the display."""

    def next(self) -> T | str | None:
        """A task for a free slot; None: none now; a text: something was settled without a worker, ask again."""

    def waits(self) -> bool:
        """Whether a task may still come although none is there and none is running."""
        return False

    def over(self) -> bool:
        """Whether time is up: running tasks are left after their epoch, and none begins."""
        return False

    def started(self, task: T) -> None:
        """A worker is about to begin it; the start is counted."""

    def epoch(self, task: T, epoch: Epoch) -> str | None:
        """None: it goes on. Otherwise it ends here, is recorded, and the text says how."""

    def result(self, task: T, result: R_in) -> str:
        """It has come to its end; says how."""

    def failure(self, task: T, failure: Failure) -> str:
        """It came to nothing, for good; says how."""

    def left(self, task: T) -> None:
        """It was stopped on purpose, to be taken up by the next run; the start is no longer counted."""

    def tick(self) -> None:
        """Something has happened, or a second has passed."""

    def totals(self) -> Totals:
        """Where the whole stands."""

    def close(self) -> None:
        """Nothing is running any more, and nothing will be."""


class Listener(Protocol):
    """Who is told how tasks go on, and decides nothing."""

    def started(self, task: Any) -> None:
        """It begins, or begins again."""

    def epoch(self, task: Any, epoch: Epoch) -> None:
        """An epoch has ended, whatever is decided after it."""

    def ended(self, task: Any, result: Any) -> None:
        """It has left its slot, with its result; None: it has none, now or ever."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done", "interrupted" or "failures", with the last failure's text."""

    how: str
    failure: str | None = None


class Engine(Generic[T, R]):
    """Runs a client's tasks until none is left, time is up, somebody interrupts, or too many fail in a row.

    Attributes:
        interrupt: What the user has asked for while it runs.
    """

    def __init__(
        self, client: Client[T, R], workers: Workers[Any, R], display: Display, listeners: Sequence[Listener] = ()
    ) -> None:
        self._client, self._workers, self._display, self._listeners = client, workers, display, listeners
        self.interrupt = Interrupt(display.notify)
        workers.listen(display.progress)
        self._running: dict[int, T] = {}  # by slot
        self._at_hand: deque[T] = deque()  # asked for ahead, or to be started again
        self._asked_ahead = False  # since a task last ended
        self._failures = 0  # in a row
        self._given_up = False
        self._last_failure: str | None = None

    def run(self) -> Outcome:
        """Work until there is nothing more to do; what is running is left resumable when it ends early."""
        with self.interrupt as interrupt:
            try:
                while self._step(interrupt):
                    self._client.tick()
            except BaseException:  # a second Ctrl-C, a database that is gone: no fault of what is running
                self._leave_all()
                raise
            self._client.close()
        if self._given_up:
            return Outcome("failures", self._last_failure)
        return Outcome("interrupted" if interrupt.asked else "done", self._last_failure)

    def _step(self, interrupt: Interrupt) -> bool:
        """Hand out tasks and hear what happened; False: there is nothing more to do."""
        ending = interrupt.asked or self._client.over()
        waiting = not (ending or self._given_up) and self._fill(interrupt)
        if self._running:
            ahead = not (ending or self._given_up) and self._may_ask_ahead()
            event = self._workers.next(0.0 if ahead else _PULSE)
            if event is not None:
                self._handle(*event, ending=interrupt.asked or self._client.over())
            elif ahead:  # choosing takes a while; now nobody waits for it
                self._asked_ahead = True
                self._at_hand.extend(task for task in [self._next(interrupt)] if task is not None)
        elif waiting:
            time.sleep(_PULSE)  # until a slot is ready, say
        else:
            return False
        return True

    def _leave_all(self) -> None:
        """Leave what is running to the next run, as far as that can still be noted."""
        with contextlib.suppress(Exception):
            for task in self._running.values():
                self._leave(task)
            self._client.close()

    def _leave(self, task: T) -> None:
        task.starts -= 1
        self._client.left(task)

    def _fill(self, interrupt: Interrupt) -> bool:
        """Give every free slot a task, as long as there are any; True: there may be some later although none runs."""
        unready = False
        for slot in range(self._workers.slots):
            if slot in self._running:
                continue
            if not self._workers.ready(slot):
                unready = True
                continue
            task = self._at_hand.popleft() if self._at_hand else self._next(interrupt)
            if task is None:
                return not self._running and self._client.waits()
            self._start(slot, task)
        return unready

    def _may_ask_ahead(self) -> bool:
        return len(self._running) == self._workers.slots and not (self._asked_ahead or self._at_hand)

    def _next(self, interrupt: Interrupt) -> T | None:
        while not (interrupt.asked or self._client.over()):
            found = self._client.next()
            if not isinstance(found, str):
                return found
            self._display.settled(found, self._client.totals())
        return None

    def _start(self, slot: int, task: T) -> None:
        task.starts += 1
        self._running[slot] = task  # before it is noted: whatever ends the run from here on takes the start back
        self._client.started(task)
        self._display.started(slot, task.row)
        for listener in self._listeners:
            listener.started(task)
        self._workers.submit(slot, task.job)

    def _handle(self, slot: int, message: Message[R], *, ending: bool) -> None:
        task, result = self._running[slot], None
        if isinstance(message, Epoch):
            for listener in self._listeners:
                listener.epoch(task, message)
            text = self._after(slot, task, message, ending=ending)
            if text is None:
                self._display.epoch(slot, message, self._client.totals())
                return
        elif isinstance(message, Failure):
            text = self._failed(task, message, ending=ending)
        else:
            self._failures = 0
            result = message
            text = self._client.result(task, result)
        del self._running[slot]
        for listener in self._listeners:
            listener.ended(task, result)
        self._asked_ahead = False
        self._display.ended(slot, text, self._client.totals())

    def _after(self, slot: int, task: T, epoch: Epoch, *, ending: bool) -> str | None:
        """Let a task go on after an epoch, or say how it ends."""
        if ending:  # its state is saved
            self._workers.stop(slot)
            self._leave(task)
            return LEFT
        text = self._client.epoch(task, epoch)
        if text is None:
            self._workers.go_on(slot)
        else:
            self._workers.stop(slot)
            self._failures = 0  # it trained well enough to be judged
        return text

    def _failed(self, task: T, failure: Failure, *, ending: bool) -> str:
        if failure.reason == "worker_died" and ending:  # whatever ends the search may have ended the worker, too
            self._leave(task)
            return LEFT
        if failure.reason == "worker_died" and task.starts < STARTS:
            self._at_hand.append(task)
            return f"{failure.text}; it starts again"
        self._failures += 1
        self._given_up = self._given_up or self._failures >= FAILURES_IN_A_ROW
        self._last_failure = failure.text
        return self._client.failure(task, failure)
