"""Chaos: a search with stubbed training, whose workers and coordinator are killed at random moments.

    python -m benchmarks.chaos --kills 100
    python -m benchmarks.chaos --kills 30 --storage postgresql://USER@HOST/NAME

Afterwards every trial must be accounted for, none twice, and the front must equal that of an undisturbed search over
the same candidates: the sampler is random and seeded by each trial's number, and a stub's accuracy follows from its
candidate.

A process is halted (SIGSTOP) before it is killed, so that the killer knows which trials it takes along. One that has
been taken along twice is spared: a third death is meant to fail it, which `tests/search/test_faults.py` shows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.scoring.expected import expected_score
from slimfront.evaluators.training.loop import Epoch
from slimfront.search import launch as launching
from slimfront.search import refresh as refreshing
from slimfront.search.engine import STARTS
from slimfront.search.workers.local import start_forkserver
from slimfront.studies.environment import commit, machine
from slimfront.studies.front import front
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.requirements import write_requirements
from slimfront.studies.settings import Settings
from slimfront.studies.store.records import read_trials

EPOCHS = 3
SPACE = {
    "architecture": {
        "residual": {"stem_width": [4, 8], "stages": 2, "width": {"low": 4, "high": 40, "step": 4}, "depth": 1}
    },
    "augmentation": {"flip": False, "crop": 0},
}


def stub(log: Path, pause: float, job: Job) -> Generator[Epoch, None, Result]:
    """Trains nothing: the accuracy follows from the candidate. Notes in `log` when it begins and ends a job."""
    assert job.folder is not None
    number = int(job.folder.name.removeprefix("trial-"))
    _note(log, "begins", number)
    drawn = random.Random(number)
    accuracy = round(0.96 - 2.0 / (sum(job.candidate.architecture.widths) + 10), 4)
    curve = []
    for epoch in range(1, EPOCHS + 1):
        time.sleep(pause * drawn.random())
        curve.append(Epoch("dense", epoch, EPOCHS, 1.0 / epoch, accuracy * epoch / EPOCHS, 0.0))
        yield curve[-1]
    score = expected_score(job.candidate, (1, 12, 12), 10).to_dict()
    _note(log, "ends", number)
    return Result(accuracy, score, tuple(curve), {"dense": accuracy}, 0.01)


def _note(log: Path, what: str, number: int) -> None:
    # One short write to a file opened for appending is not torn, even by kill -9.
    with log.open("ab", buffering=0) as file:
        file.write(f"{os.getpid()} {what} {number}\n".encode())


def search(folder: Path, trials: int, workers: int, pause: float, name: str = "s", storage: str = "") -> None:
    """Run or resume the search in this process; without a storage, in a file of its own in the folder."""
    never = {"spared": 1.0}  # what stops early depends on who has finished, and so on the kills
    settings = Settings(name=name, dataset="digits", space=SPACE, trials=trials, sampler="random", early_stopping=never)
    options = launching.Options(storage=storage or _file(folder, name), workers=workers, out=folder / "out" / name)
    launching.launch(settings, options, partial(stub, folder / f"{name}.log", pause))


def _file(folder: Path, name: str) -> str:
    return f"sqlite:///{folder}/{name}.db"


def _search_quietly(folder: Path, trials: int, workers: int, pause: float, name: str, storage: str) -> None:
    """In a forked process: with its parent's helper that makes workers, and nothing drawn or said."""
    helper: Any = forkserver._forkserver  # type: ignore[attr-defined]
    forkserver.ensure_running = helper.ensure_running = lambda: None  # it runs, as our parent's child
    refreshing.Refresh._panels = lambda self: None  # type: ignore[method-assign]
    refreshing.Refresh.now = lambda self: {}  # type: ignore[method-assign]
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    search(folder, trials, workers, pause, name, storage)


@dataclass
class Killer:
    """Kills the search's processes.

    Attributes:
        folder: Of the search.
        storage: URL of the database with its study.
        kills: How many processes it killed, by kind.
    """

    folder: Path
    name: str
    storage: str
    seed: int = 0

    def __post_init__(self) -> None:
        self.kills = {"worker": 0, "coordinator": 0}
        self._drawn = random.Random(self.seed)
        self._deaths: dict[int, int] = {}

    def worker(self) -> bool:
        """Kill a worker that is at work; False where there is none, or none that may die."""
        working = self._working()
        if not working:
            return False
        process = self._drawn.choice(sorted(working))
        if not _halt(process):
            return False
        number = self._working().get(process)  # it may have gone on until it was halted
        if number is None or self._deaths.get(number, 0) >= STARTS - 1:
            os.kill(process, signal.SIGCONT)
            return False
        self._deaths[number] = self._deaths.get(number, 0) + 1
        os.kill(process, signal.SIGKILL)
        self.kills["worker"] += 1
        return True

    def coordinator(self, process: BaseProcess) -> bool:
        """Kill the coordinator, unless a trial that it would take along has died twice; its workers end themselves."""
        if process.pid is None or not _halt(process.pid):
            return False
        try:
            running = [
                t
                for t in trials_of(self.storage or _file(self.folder, self.name), self.name)
                if t.state is State.RUNNING
            ]
            starts = {trial.number: trial.starts for trial in running}
        except Exception:  # there is no database yet, or none that can be read at the moment
            starts = {0: STARTS}
        if any(count >= STARTS for count in starts.values()):
            os.kill(process.pid, signal.SIGCONT)
            return False
        for number, count in starts.items():
            self._deaths[number] = max(count, self._deaths.get(number, 0))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self.kills["coordinator"] += 1
        return True

    def _working(self) -> dict[int, int]:
        """Worker processes with the trial that they are at, as their notes say."""
        found: dict[int, int] = {}
        log = self.folder / f"{self.name}.log"
        for line in log.read_text().splitlines() if log.exists() else ():
            process, what, number = line.split()
            found.pop(int(process), None)
            if what == "begins":
                found[int(process)] = int(number)
        return {process: number for process, number in found.items() if _lives(process)}


def _halt(process: int) -> bool:
    """Stop a process and wait until it has stopped."""
    try:
        os.kill(process, signal.SIGSTOP)
        for _ in range(1000):
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "T":
                return True
            if state in "ZX":
                return False
            time.sleep(0.001)
    except (ProcessLookupError, FileNotFoundError):
        pass
    return False


def _lives(process: int) -> bool:
    """Whether a process is there."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def trials_of(storage: str, name: str) -> list[TrialRecord]:
    """The search's trials."""
    return read_trials(optuna.load_study(study_name=name, storage=storage))


def chaos(
    folder: Path,
    kills: int,
    workers: int = 2,
    pause: float = 0.2,
    seed: int = 0,
    coordinator_share: float = 0.1,
    storage: str = "",
) -> dict[str, Any]:
    """Search until so many processes were killed and all trials have ended; compare with an undisturbed search."""
    context = multiprocessing.get_context("fork")
    start_forkserver()  # one for all coordinators, as importing torch takes seconds
    count = max(6, kills * 3 // 2)  # trials; each dies at most twice
    killer, drawn = Killer(folder, "disturbed", storage or _file(folder, "disturbed"), seed), random.Random(seed + 1)

    def start(name: str, side: int, rest: float) -> BaseProcess:
        process = context.Process(target=_search_quietly, args=(folder, count, side, rest, name, storage))
        process.start()
        return process

    coordinator = start("disturbed", workers, pause)
    next_is_coordinator = False
    while True:
        time.sleep(pause * drawn.random())
        if not coordinator.is_alive():
            if coordinator.exitcode != -signal.SIGKILL:
                break
            coordinator = start("disturbed", workers, pause)
        if sum(killer.kills.values()) >= kills:
            coordinator.join(1)
        elif killer.coordinator(coordinator) if next_is_coordinator else killer.worker():
            next_is_coordinator = drawn.random() < coordinator_share
    calm = start("calm", 1, 0.0)
    calm.join()
    if coordinator.exitcode or calm.exitcode:
        raise SystemExit(f"a search failed: exit codes {coordinator.exitcode} and {calm.exitcode}")
    disturbed, undisturbed = (trials_of(storage or _file(folder, name), name) for name in ("disturbed", "calm"))
    return compare(disturbed, undisturbed, count) | {
        "storage": storage.partition(":")[0] or "sqlite",
        "kills": sum(killer.kills.values()),
        "workers_killed": killer.kills["worker"],
        "coordinators_killed": killer.kills["coordinator"],
    }


def compare(disturbed: list[TrialRecord], calm: list[TrialRecord], count: int) -> dict[str, Any]:
    """What was lost, what is there twice, and whether the fronts are equal."""
    complete = [trial for trial in disturbed if trial.state is State.COMPLETE]
    numbers = [trial.number for trial in complete]

    def points(trials: list[TrialRecord]) -> list[tuple[str | None, tuple[float, float]]]:
        return [(trial.digest, trial.point) for trial in front(trials, 0.9)]

    return {
        "trials": len(complete),
        "lost": count - len(set(numbers)),
        "doubled": len(disturbed) - count + len(numbers) - len(set(numbers)),
        "front_equal": points(disturbed) == points(calm),
        "values_equal": [(t.accuracy, t.score) for t in disturbed] == [(t.accuracy, t.score) for t in calm],
        "front": len(points(disturbed)),
        "starts": sum(trial.starts for trial in disturbed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a search's processes at random and see what it costs.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.2, help="longest stub epoch, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--storage", default="", help="URL of an empty database; default: SQLite files of its own")
    parser.add_argument("--out", type=Path, default=Path("results/chaos"))
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = chaos(Path(folder), chosen.kills, chosen.workers, chosen.pause, chosen.seed, storage=chosen.storage)
    summary = {
        "command": shlex.join(["python", "-m", "benchmarks.chaos", *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        **found,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=2) + "\n"
    name = "summary.json" if found["storage"] == "sqlite" else f"{found['storage']}.json"
    (chosen.out / name).write_text(text)
    write_requirements(chosen.out)
    sys.stdout.write(text)
    sound = found["lost"] == found["doubled"] == 0 and found["front_equal"]
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
