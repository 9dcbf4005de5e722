"""How far one study scales: sixteen workers under one coordinator, four coordinators on PostgreSQL, 20,000 trials.

    python -m benchmarks.scale

Training is stubbed: each trial sleeps `--pause` seconds in three epochs. Reported are trials per second, the share of
trials whose candidate another trial had already, and the seconds of a question for the next trial, as trials grow.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search import launch as launching
from slimfront.studies.store import storage as storages
from slimfront.studies.store.study import find_study

from benchmarks.engine_overhead import at_once, grow, keep, measure, overnight, servers

EPOCHS = 3


def sleeping(pause: float, job: Job) -> Generator[Epoch, None, Result]:
    """As `at_once`, but a trial takes so many seconds."""
    training = at_once(EPOCHS, job)
    while True:
        try:
            epoch = next(training)
        except StopIteration as end:
            return end.value
        time.sleep(pause / EPOCHS)
        yield epoch


def coordinator(url: str, folder: Path, trials: int, pause: float, workers: int) -> None:
    """One search, in this process."""
    options = launching.Options(storage=url, workers=workers, out=folder, device="cpu")
    launching.launch(overnight(trials), options, partial(sleeping, pause))


def shared(url: str, folder: Path, trials: int, pause: float, count: int, workers: int) -> dict[str, Any]:
    """Some coordinators on one study."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=coordinator, args=(url, folder / str(index), trials, pause, workers))
        for index in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    trials = find_study(storages.open_storage(url), overnight(1).name).trials
    ended = [trial for trial in trials if trial.ended is not None]
    times = sorted(trial.ended.timestamp() for trial in ended if trial.ended is not None)
    digests = Counter(trial.digest for trial in ended)
    owners = Counter(str(trial.owner) for trial in ended)
    return {
        "coordinators": count,
        "workers_each": workers,
        "trials": len(ended),
        "trials_per_second": round((len(times) - 1) / (times[-1] - times[0]), 3),
        "median_seconds_between": round(statistics.median(b - a for a, b in itertools.pairwise(times)), 3),
        "duplicates": round(1 - len(digests) / len(ended), 4),
        "trials_by_coordinator": sorted(owners.values()),
        "exit_codes": [process.exitcode for process in processes],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds that a stubbed training sleeps")
    parser.add_argument("--sizes", default="0,5000,10000,20000")
    parser.add_argument("--out", type=Path, default=Path("results/speed/scale.json"))
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: dict[str, Any] = {"pause": chosen.pause}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, url in servers(folder, ["sqlite"]):
            found["one_coordinator"] = shared(url, folder / kind, chosen.trials, chosen.pause, 1, 16)
            keep(chosen.out, found, "benchmarks.scale")
        for kind, url in servers(folder, ["postgresql"]):
            found["four_coordinators"] = shared(url, folder / kind, chosen.trials, chosen.pause, 4, 1)
            keep(chosen.out, found, "benchmarks.scale")
        found["growth"] = []
        url = f"sqlite:///{folder}/growing.db"
        for size in filter(None, chosen.sizes.split(",")):
            have = grow(url, int(size))
            row = measure(url, overnight(have + 10), folder / "growing", 1, EPOCHS)
            found["growth"].append({"finished": int(size), **row})
            keep(chosen.out, found, "benchmarks.scale")
    sys.stdout.write(chosen.out.read_text())


if __name__ == "__main__":
    main()
