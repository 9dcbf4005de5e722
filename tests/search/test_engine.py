"""The engine by itself: a client with a list of names, and workers that play what the test wrote down."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest
from slimfront.evaluators.job import Failure
from slimfront.evaluators.training.loop import Epoch
from slimfront.search import engine as engines
from slimfront.search.display import Display, Lines, LiveTable, Row, Totals
from slimfront.search.engine import FAILURES_IN_A_ROW, STARTS, Engine, Outcome
from slimfront.search.task_list import ListedTask, TaskList
from slimfront.search.terminal import Console
from slimfront.search.workers.local import LocalProcesses

DEATH = Failure("worker_died", "worker process 7 ended with code -9")
BUG = Failure("error", "IndexError: list index out of range (blocks.py:12)")


@dataclass(frozen=True)
class Play:
    """What a worker does with it, start by start: numbers are epochs, the last thing is how it ends."""

    starts: tuple[tuple[Any, ...], ...]
    device: str = "cpu"

    def on(self, device: str) -> Self:
        return replace(self, device=device)


class Actors:
    """Workers that play; each slot in turn says one thing."""

    def __init__(self, slots: int, unready: int = 0) -> None:
        self.slots = slots
        self.unready = unready  # how often no slot is ready
        self.begun: list[Play] = []
        self._left: dict[int, deque[Any]] = {}

    def listen(self, hear: Any) -> None:
        pass

    def ready(self, slot: int) -> bool:
        self.unready -= 1
        return self.unready < 0

    def submit(self, slot: int, task: Play) -> None:
        self._left[slot] = deque(task.starts[min(self.begun.count(task), len(task.starts) - 1)])
        self.begun.append(task)

    def next(self, timeout: float) -> tuple[int, Any] | None:
        if not timeout:
            return None  # every epoch takes a while
        slot = min(self._left)
        said = self._left[slot].popleft()
        if isinstance(said, int):
            return slot, Epoch("dense", said, 9, 1.0, 0.5, 2.0)
        del self._left[slot]
        return slot, said

    def go_on(self, slot: int) -> None:
        self._left[slot] = self._left.pop(slot)

    def stop(self, slot: int) -> None:
        del self._left[slot]

    def close(self) -> None:
        pass


class Names(TaskList[ListedTask, str]):
    """A list of plays, named a, b, c; keeps what it is told."""

    def __init__(self, *plays: tuple[tuple[Any, ...], ...], slots: int = 1) -> None:
        tasks = [ListedTask(Play(play), Row("abcdefghij"[at], epochs=2)) for at, play in enumerate(plays)]
        super().__init__(tasks, slots)
        self.left_tasks: list[str] = []
        self.closed = False

    def left(self, task: ListedTask) -> None:
        self.left_tasks.append(task.row.name)

    def close(self) -> None:
        self.closed = True

    def names(self) -> tuple[str, str]:
        """(what ended well, what failed)"""
        good = "".join(task.row.name for task in self.tasks if task.result is not None)
        return good, "".join(task.row.name for task in self.tasks if task.failure is not None)


def _run(client: Any, workers: Actors) -> tuple[Outcome, str]:
    said = io.StringIO()
    outcome = Engine(client, workers, Lines(Console(file=said, width=200))).run()
    return outcome, said.getvalue()


DONE = ((1, 2, "fine"),)


def test_every_task_comes_to_its_end() -> None:
    client = Names(DONE, DONE, DONE, slots=2)
    outcome, said = _run(client, Actors(2))
    assert outcome == Outcome("done")
    assert client.names() == ("abc", "")
    assert client.closed
    assert client.totals() == Totals(6, 6, "epochs", 1.0)
    assert "c: done" in said
    assert "6 of 6 epochs" in said


def test_a_task_whose_worker_dies_starts_again_and_is_given_up_in_the_end() -> None:
    client = Names(((1, DEATH), (1, 2, "fine")), ((DEATH,),))
    workers = Actors(1)
    outcome, said = _run(client, workers)
    assert client.names() == ("a", "b")
    assert workers.begun.count(client.tasks[0].job) == 2
    assert workers.begun.count(client.tasks[1].job) == STARTS
    assert outcome == Outcome("done", DEATH.text)
    assert said.count("it starts again") == 1 + STARTS - 1


def test_starts_of_earlier_runs_count() -> None:
    client = Names(((DEATH,),))
    client.tasks[0].starts = STARTS - 1
    workers = Actors(1)
    _run(client, workers)
    assert len(workers.begun) == 1
    assert client.names() == ("", "a")


def test_failures_in_a_row_end_it_and_others_in_between_do_not() -> None:
    bug = ((BUG,),)
    client = Names(*[bug] * (FAILURES_IN_A_ROW - 1), DONE, *[bug] * 4)
    assert _run(client, Actors(1))[0].how == "done"
    client = Names(*[bug] * FAILURES_IN_A_ROW, DONE)
    outcome, _ = _run(client, Actors(1))
    assert outcome == Outcome("failures", BUG.text)
    assert client.names() == ("", "abcde")


def test_when_time_is_up_what_runs_is_left_and_nothing_begins() -> None:
    client = Names(DONE, DONE, DONE, slots=2)
    times = iter([False] * 4)
    client.over = lambda: next(times, True)  # type: ignore[method-assign]
    outcome, said = _run(client, Actors(2))
    assert outcome == Outcome("done")
    assert sorted(client.left_tasks) == ["a", "b"]
    assert [task.starts for task in client.tasks] == [0, 0, 0]
    assert said.count("left for the next start") == 2


def test_a_client_stops_a_task_early_and_settles_others_without_a_worker() -> None:
    class Picky(Names):
        settled = 2

        def next(self) -> ListedTask | str | None:
            self.settled -= 1
            return f"copy {self.settled}" if self.settled >= 0 else super().next()

        def epoch(self, task: ListedTask, epoch: Epoch) -> str | None:
            super().epoch(task, epoch)
            return "stopped early" if task.row.name == "a" else None

    client = Picky(DONE, DONE)
    _, said = _run(client, Actors(1))
    assert client.names() == ("b", "")
    assert said.index("copy 1") < said.index("copy 0") < said.index("a begins")
    assert "a: stopped early" in said


def test_the_next_task_is_asked_for_while_others_train() -> None:
    asked: list[tuple[str | None, int]] = []

    class Slow(Names):
        def next(self) -> ListedTask | str | None:
            task = super().next()
            asked.append((task.row.name if isinstance(task, ListedTask) else None, len(self.names()[0])))
            return task

    _run(client := Slow(DONE, DONE, DONE, DONE, slots=2), Actors(2))
    assert client.names() == ("abcd", "")
    assert asked[:4] == [("a", 0), ("b", 0), ("c", 0), ("d", 1)]  # with so many that had ended by then


def test_it_waits_for_slots_and_for_a_client_that_hopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_PULSE", 0.001)
    assert _run(client := Names(DONE), Actors(1, unready=3))[0].how == "done"
    assert client.names() == ("a", "")

    class Hopes(Names):
        looks = 0

        def waits(self) -> bool:
            self.looks += 1
            if self.looks == 3:  # somebody else has left it
                self._waiting.append(ListedTask(Play(DONE), Row("late")))
                self.tasks.append(self._waiting[-1])
            return self.looks < 4

    hopes = Hopes()
    _run(hopes, Actors(1))
    assert hopes.names() == ("late", "")


@pytest.mark.parametrize("make", [Lines, LiveTable])
def test_the_display_says_what_runs_how_far_it_is_and_what_is_best(make: Callable[[Console], Display]) -> None:
    said = io.StringIO()
    row = Row("trial 7", {"network": "residual 8-16", "score": "0.0123"}, epochs=10)
    totals = Totals(3, 12, "trials", 0.25, 130.0, "best so far: trial 2")
    with make(Console(file=said, width=160, force_terminal=make is LiveTable, color_system=None)) as display:
        display.started(0, row)
        display.epoch(0, Epoch("bits", 2, 5, 1.0, 0.89996, 3.0), totals)
        if isinstance(display, LiveTable):
            assert all(word in said.getvalue() for word in ("bits", "2/5", "89.99%"))  # never rounded up to the bar
        display.settled("trial 8: a copy", totals)
        display.ended(0, "91.00%, score 0.01", totals)
    for words in (
        "trial 7",
        "residual 8-16",
        "0.0123",
        "trial 8: a copy",
        "91.00%",
        "3 of 12 trials",
        "2 min 10 s left",
    ):
        assert words in said.getvalue()
    assert "best so far: trial 2" in said.getvalue()


PRELOADED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
import test_engine
from slimfront.search.workers.local import LocalProcesses
if __name__ == "__main__":
    workers = LocalProcesses(2, test_engine.look)
    for slot in range(2):
        workers.submit(slot, test_engine.Play(()))
    told = dict(workers.next(60) for _ in range(2))
    workers.close()
    print(told[0]["own"] != told[0]["importer"] == told[1]["importer"] != told[1]["own"], told[0]["models"])
"""


def look(task: Play) -> Any:
    """What a worker finds in its process before it has done anything."""
    preload: Any = sys.modules.get("slimfront.search.workers.preload")
    models = importlib.util.find_spec("models")  # the script's own
    return {"own": os.getpid(), "importer": preload and preload.IMPORTED_BY, "models": models and models.origin}
    yield


def test_workers_are_forked_with_everything_imported() -> None:
    """Nobody else says so: an import that fails in the helper is passed over in silence, and every worker is slow."""
    workers = LocalProcesses(1, look)
    workers.submit(0, Play(()))
    told: Any = workers.next(60)
    workers.close()
    assert told[1]["importer"] not in (None, told[1]["own"])


@pytest.mark.slow
def test_workers_are_forked_so_wherever_a_script_lies_and_find_its_files(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    script = tmp_path / "script.py"
    script.write_text(PRELOADED.format(path=[str(tmp_path), str(root), str(Path(__file__).parent)]))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd="/", env=environment, capture_output=True, text=True, check=True, timeout=150
    )
    assert done.stdout.split() == ["True", str(tmp_path / "models" / "__init__.py")]
