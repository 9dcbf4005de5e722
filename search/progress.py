"""What a search shows while it works: a live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from evaluators.train import Epoch
from studies.page import percent_number


def plainly(console: Console) -> Callable[[str], None]:
    """Prints lines as they are: a path may hold brackets, which a console would take for markup."""
    return partial(console.print, markup=False, highlight=False, soft_wrap=True)


@dataclass
class Row:
    """A running trial."""

    trial: int
    what: str
    score: float
    started: float = field(default_factory=time.monotonic)
    last: Epoch | None = None


@dataclass(frozen=True)
class Totals:
    """Where the whole search stands.

    Attributes:
        finished: Trials that have ended.
        trials: How many it will be; None: no limit.
        seconds: Time worked on the study in all.
        seconds_limit: How long it may be; None: no limit.
        front: Size of the front.
        best: (trial, accuracy, score) of the cheapest network on the front; None: there is none.
    """

    finished: int
    trials: int | None
    seconds: float
    seconds_limit: float | None
    front: int
    best: tuple[int, float, float] | None

    @property
    def share(self) -> float:
        """How much of the search is done, in [0, 1], by trials or hours, whichever is further."""
        by_trials = self.finished / self.trials if self.trials else 0.0
        by_time = self.seconds / self.seconds_limit if self.seconds_limit else 0.0
        return min(1.0, max(by_trials, by_time))

    @property
    def seconds_left(self) -> float | None:
        """A guess from the speed so far; None before anything has finished."""
        guesses = []
        if self.trials and self.finished:
            guesses.append(self.seconds / self.finished * (self.trials - self.finished))
        if self.seconds_limit:
            guesses.append(self.seconds_limit - self.seconds)
        return max(0.0, min(guesses)) if guesses else None


class Show(Protocol):
    """What the coordinator tells."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *exception: object) -> None:
        """End it."""

    def started(self, slot: int, row: Row) -> None:
        """A trial has begun in `slot`."""

    def epoch(self, slot: int, epoch: Epoch) -> None:
        """An epoch of the slot's trial has ended."""

    def ended(self, slot: int | None, trial: int, text: str) -> None:
        """A trial has ended as `text` says; `slot` is None where it never ran."""

    def totals(self, totals: Totals) -> None:
        """The search stands as `totals` says."""

    def say(self, text: str) -> None:
        """A remark."""


def duration(seconds: float) -> str:
    """ "3 h 05 min", "4 min 10 s" or "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _left(totals: Totals) -> str:
    """ "  (12 of 60 trials, about 3 h 05 min left)", as far as it is known."""
    of = f" of {totals.trials}" if totals.trials else ""
    left = f", about {duration(totals.seconds_left)} left" if totals.seconds_left is not None else ""
    return f"  ({totals.finished}{of} trials{left})"


def _best(totals: Totals) -> str:
    if totals.best is None:
        return "nothing at the bar yet"
    trial, accuracy, score = totals.best
    return f"best so far: trial {trial}, {percent_number(accuracy)}%, score {score:.4g} ({totals.front} on the front)"


class Lines:
    """Plain lines: one a trial, and a sign of life at most twice a minute; the first trials say that they begin."""

    _QUIET_SECONDS = 30.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[int, Row] = {}
        self._totals: Totals | None = None
        self._begun: set[int] = set()  # slots
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def say(self, text: str) -> None:
        """See Show."""
        self._spoke = time.monotonic()
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def started(self, slot: int, row: Row) -> None:
        """See Show."""
        self._rows[slot] = row
        if slot not in self._begun:  # the first epoch may take minutes
            self._begun.add(slot)
            self.say(f"trial {row.trial} begins, score {row.score:.4g}  [{row.what}]")

    def epoch(self, slot: int, epoch: Epoch) -> None:
        """See Show."""
        row = self._rows[slot]
        row.last = epoch
        if time.monotonic() - self._spoke > self._QUIET_SECONDS:
            accuracy = "" if epoch.accuracy is None else f", {percent_number(epoch.accuracy)}%"
            left = "" if self._totals is None else _left(self._totals)
            self.say(f"trial {row.trial}: {epoch.stage} epoch {epoch.epoch}/{epoch.epochs}{accuracy}{left}")

    def ended(self, slot: int | None, trial: int, text: str) -> None:
        """See Show."""
        row = self._rows.pop(slot) if slot is not None else None
        took = f" in {duration(time.monotonic() - row.started)}" if row else ""
        self.say(f"trial {trial}: {text}{took}" + (f"  [{row.what}]" if row else ""))

    def totals(self, totals: Totals) -> None:
        """See Show."""
        if (self._totals is None or totals.best != self._totals.best) and totals.best is not None:
            self.say(_best(totals))
        self._totals = totals


class Screen:
    """A live table in a terminal: a row for each running trial, a bar for the whole search."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[int, Row] = {}
        self._totals: Totals | None = None
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """See Show."""
        self._console.print(text, highlight=False, markup=False)

    def started(self, slot: int, row: Row) -> None:
        """See Show."""
        self._rows[slot] = row

    def epoch(self, slot: int, epoch: Epoch) -> None:
        """See Show."""
        self._rows[slot].last = epoch
        self._live.refresh()

    def ended(self, slot: int | None, trial: int, text: str) -> None:
        """See Show."""
        if slot is not None:
            self._rows.pop(slot)
        self.say(f"trial {trial}: {text}")

    def totals(self, totals: Totals) -> None:
        """See Show."""
        self._totals = totals
        self._live.refresh()

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "network", "score", "stage", "epoch", "accuracy", "time"):
            table.add_column(name, justify="left" if name in ("network", "stage") else "right")
        for slot in sorted(self._rows):
            row = self._rows[slot]
            last = row.last
            table.add_row(
                str(row.trial),
                row.what,
                f"{row.score:.4g}",
                last.stage if last else "starts",
                f"{last.epoch}/{last.epochs}" if last else "",
                f"{percent_number(last.accuracy)}%" if last and last.accuracy is not None else "",
                duration(time.monotonic() - row.started),
            )
        if self._totals is None:
            return table
        totals = self._totals
        bar = Progress(TextColumn("{task.description}"), BarColumn(40), TextColumn("{task.fields[left]}"))
        of = f" of {totals.trials}" if totals.trials else ""
        left = f"about {duration(totals.seconds_left)} left" if totals.seconds_left is not None else ""
        bar.add_task(f"{totals.finished}{of} trials", total=1.0, completed=totals.share, left=left)  # type: ignore[arg-type]
        return Group(table, bar, _best(totals))


def make_show(console: Console) -> Show:
    """The live table in a terminal, lines elsewhere."""
    return Screen(console) if console.is_terminal else Lines(console)
