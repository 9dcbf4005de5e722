"""What retraining shows: while it works a bar for each running seed and the time left; at its end the final numbers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.progress import duration
from slimfront.studies.report.page import counted, percent_number

_QUIET_SECONDS = 30.0


class RetrainShow:
    """Counts epochs, guesses the time left from how long they took, and says what happens, one line each.

    Epochs that are replayed from a checkpoint carry the time that they once took, so the guess holds after a restart.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._names: dict[int, str] = {}
        self._expected: dict[int, int] = {}
        self._done: dict[int, int] = {}  # epochs of the running seeds
        self._seeds, self._ended, self._slots = 0, 0, 1
        self._left = 0  # epochs of seeds that have not ended
        self._seconds: list[float] = []
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def plan(self, seeds: int, finished: int, epochs: int, slots: int) -> None:
        """So many trainings, of which so many are finished; so many epochs are left, for so many side by side."""
        self._seeds, self._ended, self._left, self._slots = seeds, finished, epochs, slots
        if finished:
            self.say(f"{finished} of {seeds} trainings were finished before")

    def started(self, slot: int, name: str, epochs: int) -> None:
        """A seed's training has begun."""
        self._names[slot], self._expected[slot], self._done[slot] = name, epochs, 0

    def epoch(self, slot: int, epoch: Epoch) -> None:
        """An epoch has ended, or was replayed."""
        if epoch.stage != TEACHER:
            self._done[slot] += 1
            self._seconds.append(epoch.seconds)
        if time.monotonic() - self._spoke > _QUIET_SECONDS:
            self.say(f"{self._names[slot]}: {epoch.stage} epoch {epoch.epoch}/{epoch.epochs}{self.left()}")

    def ended(self, slot: int, text: str, *, for_good: bool = True) -> None:
        """A seed's training has ended as `text` says; not for good where it starts again or goes on another time."""
        expected = self._expected.pop(slot)
        self._done.pop(slot)
        if for_good:
            self._left -= expected
            self._ended += 1
        self.say(f"{self._names.pop(slot)}: {text}  ({self._ended} of {self._seeds}{self.left()})")

    def say(self, text: str) -> None:
        """A line."""
        self._spoke = time.monotonic()
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def seconds_left(self) -> float | None:
        """A guess; None before the first epoch and after the last."""
        left = self._left - sum(self._done.values())
        if not self._seconds or left <= 0:
            return None
        return sum(self._seconds) / len(self._seconds) * left / self._slots

    def left(self) -> str:
        """ ", about 4 min 10 s left", or nothing."""
        seconds = self.seconds_left()
        return f", about {duration(seconds)} left" if seconds is not None else ""


class RetrainScreen(RetrainShow):
    """The same with a bar for each running seed."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(40),
            TextColumn("{task.completed}/{task.total} epochs{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.__exit__(None, None, None)

    def started(self, slot: int, name: str, epochs: int) -> None:
        """See RetrainShow."""
        super().started(slot, name, epochs)
        self._tasks[slot] = self._bars.add_task(name, total=epochs, note="")

    def epoch(self, slot: int, epoch: Epoch) -> None:
        """See RetrainShow."""
        self._spoke = time.monotonic()  # the bars speak
        super().epoch(slot, epoch)
        note = f", {epoch.stage}" if epoch.stage != "dense" else ""
        self._bars.update(self._tasks[slot], completed=self._done[slot], note=note)
        first = min(self._tasks)
        if slot == first:
            self._bars.update(self._tasks[first], note=note + self.left())

    def ended(self, slot: int, text: str, *, for_good: bool = True) -> None:
        """See RetrainShow."""
        self._bars.remove_task(self._tasks.pop(slot))
        super().ended(slot, text, for_good=for_good)


def make_retrain_show(console: Console) -> RetrainShow:
    """Bars in a terminal, lines elsewhere."""
    return RetrainScreen(console) if console.is_terminal else RetrainShow(console)


def print_retrained(summary: dict[str, Any]) -> None:
    """The final numbers as a table, each network's verdict in words, and how often the test set was read."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("network", "seeds", "accuracy", "lower limit", "score", "strict score", "gap"):
        table.add_column(column, justify="left" if column == "network" else "right", no_wrap=True)
    for row in summary["networks"]:
        deviation = "" if row["std"] is None else f" ± {100 * row['std']:.2f}"
        table.add_row(
            _name(row),
            str(len(row["seeds"])),
            "–" if row["mean"] is None else percent_number(row["mean"]) + deviation,
            "–" if row["lower"] is None else percent_number(row["lower"]),
            *("–" if row[key] is None else f"{row[key]:.4g}" for key in ("score", "strict_score")),
            "–" if row["gap"] is None else f"{100 * row['gap']:+.2f}",
        )
    console.print()
    console.print(f"Retrained on all training images, judged on the test images; the bar is {_percent(summary['bar'])}")
    console.print(table)
    console.print("accuracy, its deviation and lower 95 % limit of the mean in percent;", style="dim")
    console.print("gap: validation accuracy in the search minus mean test accuracy, in points", style="dim")
    if any(row["lower"] is None or row["gap"] is None for row in summary["networks"]):
        console.print(
            "–: not known; a lower limit takes two seeds, a gap a trial that the search trained to its end", style="dim"
        )
    for row in summary["networks"]:
        console.print(f"{_name(row)}: {row['verdict']}", markup=False)
    if summary["rank_correlation"] is not None:
        console.print(f"rank correlation of the two (Spearman): {summary['rank_correlation']:.2f}")
    for row in summary["networks"]:
        for failed in row["failed"]:
            console.print(f"{row['digest'][:8]}, seed {failed['seed']} failed: {failed['text']}", markup=False)
        for note in row["notes"]:
            console.print(f"{_name(row)}: {note}", markup=False)
        if row["verified"]:
            console.print(f"{_name(row)}: every artifact holds the network that was measured", markup=False)
        for path in row["artifacts"]:
            console.print(f"artifact: {path}", markup=False, soft_wrap=True, highlight=False)
    console.print(
        f"test set read {counted(summary['test_evaluations'], 'time')}, by the receipts in the seeds' folders"
    )
    console.print(f"summary: {Path(summary['out']) / 'summary.json'}", markup=False, soft_wrap=True, highlight=False)


def _name(row: dict[str, Any]) -> str:
    return f"trial {row['trial']}" if row["trial"] is not None else str(row["digest"])[:8]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
