"""What people see while tasks run: a live table in a terminal, plain lines anywhere else; both on standard error.

It knows nothing of what the tasks are: whoever hands them out says in words what each is, and where the whole stands.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.evaluators.training.progress import Progress
from slimfront.search.interrupt import write
from slimfront.search.status import STATUS
from slimfront.search.terminal import Console
from slimfront.studies.foreign.text import visible
from slimfront.studies.report.numbers import percent_number


@dataclass(frozen=True)
class Row:
    """A running task.

    Attributes:
        name: For people, "trial 12".
        facts: What else is known of it, by the title of its column.
        epochs: How many it takes in all, where that is known; None: it is not, or it may stop early.
    """

    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    epochs: int | None = None


@dataclass(frozen=True)
class Totals:
    """Where the whole stands.

    Attributes:
        done: So many of `of` are done.
        of: How many there will be; None: no limit.
        unit: What is counted, "trials".
        share: How much is done, in [0, 1].
        seconds_left: A guess; None: nothing is known yet.
        best: The best so far, in a sentence; None: there is no such thing.
    """

    done: int
    of: int | None
    unit: str
    share: float
    seconds_left: float | None = None
    best: str | None = None

    def __str__(self) -> str:
        """ "12 of 60 trials", as far as it is known."""
        return f"{self.done} of {self.of} {self.unit}" if self.of else f"{self.done} {self.unit}"


class Display(Protocol):
    """What the engine tells. A context."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *exception: object) -> None:
        """End it."""

    def started(self, slot: int, row: Row) -> None:
        """A task has begun in `slot`."""

    def progress(self, slot: int, progress: Progress) -> None:
        """The slot's task is within an epoch."""

    def epoch(self, slot: int, epoch: Epoch, totals: Totals) -> None:
        """An epoch of the slot's task has ended."""

    def ended(self, slot: int, text: str, totals: Totals) -> None:
        """The slot's task has ended as `text` says."""

    def settled(self, text: str, totals: Totals) -> None:
        """Something came to its end, as `text` says, that needed no slot."""

    def say(self, text: str) -> None:
        """A remark."""

    def notify(self, text: str) -> None:
        """A remark from within a signal handler, where nothing may be printed that takes a lock."""


def make_display(console: Console) -> Display:
    """The live table in a terminal, lines elsewhere."""
    return LiveTable(console) if console.is_terminal else Lines(console)


def duration(seconds: float) -> str:
    """ "3 h 05 min", "4 min 10 s" or "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


@dataclass
class _Running:
    row: Row
    began: float = field(default_factory=time.monotonic)
    last: Epoch | None = None
    within: Progress | None = None
    epochs: int = 0

    def see(self, epoch: Epoch) -> None:
        self.last, self.within = epoch, None
        self.epochs += epoch.stage != TEACHER  # which is trained once, for whoever comes first

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Lines:
    """Plain lines: one a task, and a sign of life at most twice a minute; the first tasks say that they begin."""

    _QUIET_SECONDS = 30.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[int, _Running] = {}
        self._best: str | None = None
        self._begun: set[int] = set()  # slots
        self._moves = False  # whether it was said that something moves within the first epoch
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def say(self, text: str) -> None:
        """See Display."""
        self._spoke = time.monotonic()
        self._console.say(text)

    def notify(self, text: str) -> None:
        """See Display."""
        write(text)

    def started(self, slot: int, row: Row) -> None:
        """See Display."""
        self._running[slot] = _Running(row)
        if slot not in self._begun:  # the first epoch may take minutes
            self._begun.add(slot)
            self.say(f"{row.name} begins{_facts(row)}")

    def progress(self, slot: int, progress: Progress) -> None:
        """See Display: the first one is told, and then those that come after a long silence."""
        if not self._moves or time.monotonic() - self._spoke > self._QUIET_SECONDS:
            self._moves = True
            share = (
                f"{progress.stage} epoch {progress.epoch}/{progress.epochs}, {progress.images:,}/{progress.of:,} images"
            )
            self.say(f"{self._running[slot].row.name}: {share}, {_pace(progress)}")

    def epoch(self, slot: int, epoch: Epoch, totals: Totals) -> None:
        """See Display."""
        running = self._running[slot]
        running.see(epoch)
        self._moves = True
        if time.monotonic() - self._spoke > self._QUIET_SECONDS:
            accuracy = "" if epoch.accuracy is None else f", {percent_number(epoch.accuracy)}%"
            where = f"{epoch.stage} epoch {epoch.epoch}/{epoch.epochs}{accuracy}"
            self.say(f"{running.row.name}: {where}  ({totals}{_left(totals)})")

    def ended(self, slot: int, text: str, totals: Totals) -> None:
        """See Display."""
        running = self._running.pop(slot)
        took = f" in {duration(running.seconds)}"
        self.say(f"{running.row.name}: {text}{took}{_facts(running.row)}  ({totals}{_left(totals)})")
        self._say_best(totals)

    def settled(self, text: str, totals: Totals) -> None:
        """See Display."""
        self.say(text)
        self._say_best(totals)

    def _say_best(self, totals: Totals) -> None:
        if totals.best is not None and totals.best != self._best:
            self._best = totals.best
            self.say(totals.best)


class LiveTable:
    """A live table in a terminal: two lines for each running task, a bar for the whole."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[int, _Running] = {}
        self._totals: Totals | None = None
        self._notices: list[str] = []
        self._known = time.monotonic()  # since when the totals are
        self._still = ExitStack()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._still.enter_context(STATUS.still())
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)
        self._still.close()

    def say(self, text: str) -> None:
        """See Display."""
        self._console.print(text, highlight=False)

    def notify(self, text: str) -> None:
        """See Display: what is written over the table would be drawn over, so the table shows it."""
        self._notices.append(text)

    def started(self, slot: int, row: Row) -> None:
        """See Display."""
        self._running[slot] = _Running(row)

    def progress(self, slot: int, progress: Progress) -> None:
        """See Display: drawn with the next picture, which comes by itself."""
        self._running[slot].within = progress

    def epoch(self, slot: int, epoch: Epoch, totals: Totals) -> None:
        """See Display."""
        self._running[slot].see(epoch)
        self._show(totals)

    def ended(self, slot: int, text: str, totals: Totals) -> None:
        """See Display."""
        self.say(f"{self._running.pop(slot).row.name}: {text}")
        self._show(totals)

    def settled(self, text: str, totals: Totals) -> None:
        """See Display."""
        self.say(text)
        self._show(totals)

    def _show(self, totals: Totals) -> None:
        self._totals, self._known = totals, time.monotonic()
        self._live.refresh()

    def _render(self) -> RenderableType:
        rows = [self._running[slot] for slot in sorted(self._running)]
        parts: list[RenderableType] = [part for running in rows for part in _task(running)]
        if self._totals is not None:
            parts.append(_whole(self._totals, time.monotonic() - self._known))
            if self._totals.best is not None:
                parts.append(self._totals.best)
        return Group(*parts, *self._notices)


def _facts(row: Row) -> str:
    facts = ", ".join(f"{title} {value}" for title, value in row.facts.items())
    return f"  [{facts}]" if facts else ""


def _left(totals: Totals) -> str:
    return f", about {duration(totals.seconds_left)} left" if totals.seconds_left else ""


def _pace(progress: Progress) -> str:
    """ "340 images a second, 12 s left of the epoch"."""
    return f"{progress.images_a_second:,.0f} images/s, {duration(progress.seconds_left)} left of the epoch"


def _task(running: _Running) -> tuple[RenderableType, RenderableType]:
    """What the task is, and below it how far it is."""
    row, last, within = running.row, running.last, running.within
    facts = ", ".join(value if title == "network" else f"{title} {value}" for title, value in row.facts.items())
    name = Text.assemble((visible(row.name), "bold"), "  ", visible(facts))
    words = [duration(running.seconds)]
    if last is not None and last.accuracy is not None:
        words.append(f"{percent_number(last.accuracy)}%")
    if within is not None:
        where = f"{within.stage} epoch {within.epoch}/{within.epochs}"
        bar: RenderableType = ProgressBar(total=within.of, completed=within.images, width=10)
        words.append(_pace(within))
    else:
        where = f"{last.stage} epoch {last.epoch}/{last.epochs}" if last else "starts"
        bar = ProgressBar(total=row.epochs, completed=running.epochs, width=10) if row.epochs else ""
    line = Table.grid(padding=(0, 1))
    line.add_row(" ", where, bar, ", ".join(words))
    return name, line


def _whole(totals: Totals, age: float) -> Table:
    line = Table.grid(padding=(0, 1))
    left = f"about {duration(max(0.0, totals.seconds_left - age))} left" if totals.seconds_left is not None else ""
    line.add_row(str(totals), ProgressBar(total=1.0, completed=totals.share, width=30), left)
    return line
