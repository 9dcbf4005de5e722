"""What a trial costs beside its training: a search whose evaluator returns at once, in studies of growing size.

    python -m benchmarks.engine_overhead

For SQLite and PostgreSQL (a server of its own, from Debian's package), one and four workers, and studies that hold 0,
1,000 and 5,000 finished trials: seconds per trial in all, and by what the coordinator does in them: ask (sample a
candidate, count its score, look it up), record (that it starts), judge (after each epoch), tell (its result); beside
it what Optuna alone takes to ask, suggest and tell in the same study, and to read it. The
default sampler, the overnight study's space, digits as data set, panels drawn as in any search. Then the memory: of
the search's process over 500 trials, and of a worker that trains a small network on CIFAR-10.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.scoring import expected
from slimfront.evaluators.training.loop import Epoch
from slimfront.search import launch as launching
from slimfront.search.proposals.proposer import Proposer
from slimfront.search.scheduling.endings import Endings
from slimfront.search.scheduling.intake import Intake
from slimfront.search.scheduling.scheduler import Scheduler
from slimfront.spaces import presets
from slimfront.studies.environment import commit, machine
from slimfront.studies.sampling import make_sampler
from slimfront.studies.settings import Settings
from slimfront.studies.store import storage as storages
from slimfront.studies.store.study import find_study, open_study, optuna_study, snapshot

from benchmarks.filled_study import fill

SIZES = (0, 1_000, 5_000)
WORKERS = (1, 4)
TRIALS = 30  # timed in each study
EPOCHS = 3  # that a trial is judged after
PARTS = (
    (Intake, "next", "ask"),
    (Scheduler, "started", "record"),
    (Scheduler, "epoch", "judge"),
    (Endings, "complete", "tell"),
    (Endings, "stopped", "tell"),
    (Endings, "copied", "tell"),
)


@cache
def _table() -> dict[str, Any]:
    return expected.expected_score(presets["resnet20"], (3, 32, 32), 10).to_dict()


def at_once(epochs: int, job: Job) -> Generator[Epoch, None, Result]:
    """Trains nothing: accuracy and score follow from the candidate's digest."""
    drawn = int(job.candidate.digest[:8], 16) / 16**8
    accuracy = round(0.85 + 0.1 * drawn, 4)
    curve = []
    for epoch in range(1, epochs + 1):
        share = (epoch / epochs) ** 0.3
        curve.append(Epoch("dense", epoch, job.candidate.recipe.epochs, 2.3 - share, round(accuracy * share, 4), 1.5))
        yield curve[-1]
    score = _table() | {"score": 10 ** (-3 + 1.5 * drawn)}
    return Result(accuracy, score, tuple(curve), {"dense": accuracy}, 60.0)


@contextmanager
def timed_parts() -> Iterator[dict[str, list[Any]]]:
    """Collects the seconds of every call by part, and under "ends" (clock, processor) as trials end."""
    found: dict[str, list[Any]] = defaultdict(list)
    originals = {(owner, name): getattr(owner, name) for owner, name, _ in PARTS}

    def timed(owner: type, name: str, part: str) -> Callable[..., Any]:
        def method(self: Any, *arguments: Any) -> Any:
            begun = time.perf_counter()
            result = originals[owner, name](self, *arguments)
            ended = time.perf_counter()
            found[part].append(ended - begun)
            if owner is Endings:
                found["ends"].append((ended, time.thread_time()))
            return result

        return method

    for owner, name, part in PARTS:
        setattr(owner, name, timed(owner, name, part))
    try:
        yield found
    finally:
        for (owner, name), original in originals.items():
            setattr(owner, name, original)


def bare(url: str, settings: Settings, trials: int) -> float:
    """Median seconds of Optuna alone for a trial of the same study: ask, suggest and tell with the same sampler."""
    study = optuna.load_study(study_name=settings.name, storage=url)
    space, seconds = settings.make_space(), []
    study.get_trials(deepcopy=False)  # read once, before anything is timed, as our search has
    for _ in range(trials):
        begun = time.perf_counter()
        study.sampler = make_sampler(settings.sampler, settings.seed, startup=settings.startup_trials, known_trials=1)
        trial = study.ask()
        space.sample(trial)
        trial.set_constraint("bar", 0.05)
        study.tell(trial, [0.85, 0.02])
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def reading(url: str, name: str) -> dict[str, float]:
    """Seconds of reading a study: ours, Optuna's own `load_study(...).get_trials()`, and the ratio, in turns."""
    ours, optunas = [], []
    for _ in range(3):
        begun = time.perf_counter()
        snapshot(find_study(storages.open_storage(url), name))
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        optuna.load_study(study_name=name, storage=url).get_trials()
        optunas.append(time.perf_counter() - begun)
    ratio = statistics.median(a / b for a, b in zip(ours, optunas, strict=True))
    return {"ours": round(min(ours), 3), "optuna": round(min(optunas), 3), "ratio": round(ratio, 3)}


def measure(url: str, settings: Settings, folder: Path, workers: int, epochs: int) -> dict[str, Any]:
    """Run a search to the end of its settings; seconds per trial, the first one (which reads the study) left out."""
    options = launching.Options(storage=url, workers=workers, out=folder, device="cpu")
    with timed_parts() as found:
        launching.launch(settings, options, partial(at_once, epochs))
    ends = found.pop("ends")
    clock, processor = ([b - a for a, b in itertools.pairwise(column)] for column in zip(*ends, strict=True))
    return {
        "trials": len(ends),
        "median": round(statistics.median(clock), 4),
        "mean": round(statistics.fmean(clock), 4),
        "median_processor": round(statistics.median(processor), 4),
        "parts": {part: round(statistics.median(seconds), 4) for part, seconds in sorted(found.items())},
    }


def overnight(trials: int) -> Settings:
    """The widest space that comes with slimfront, on digits, which need no download."""
    path = Path(__file__).resolve().parents[1] / "studies" / "cifar10_open.toml"
    return Settings.from_toml(path).changed(dataset="digits", trials=trials)


def grow(url: str, size: int) -> int:
    """Fill the study up to so many trials; returns how many it has."""
    settings = overnight(1)
    store = open_study(storages.open_storage(url), settings.name)
    have = len(store.trials)
    if have < size:
        digest = search_data("digits").digest
        launching.check_identity(store, settings, digest)
        fill(optuna_study(store), settings, size - have, digest)
    return max(have, size)


def resident() -> float:
    """Memory of this process in use, in megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(url: str, folder: Path, trials: int) -> dict[str, float]:
    """Memory of a search's process after its first tenth of so many trials, and after all of them.

    Candidates are drawn at random and not scored one by one: what grows is what is kept of each trial.
    """
    seen: list[float] = []
    originals = Endings._end, Proposer._choose, expected.expected_score

    def watched(self: Endings, *arguments: Any, **options: Any) -> Any:
        seen.append(resident())
        return originals[0](self, *arguments, **options)

    table = expected.expected_score(presets["resnet20"], (3, 32, 32), 10)
    Endings._end = watched  # type: ignore[method-assign]
    Proposer._choose = lambda self, ask, open_work: None  # type: ignore[method-assign]
    expected.expected_score = lambda *arguments: table
    try:
        options = launching.Options(storage=url, workers=1, out=folder, device="cpu")
        settings = Settings(**dict(overnight(trials)) | {"sampler": "random", "max_score": None})
        launching.launch(settings, options, partial(at_once, 40))
    finally:
        Endings._end, Proposer._choose, expected.expected_score = originals  # type: ignore[method-assign]
    first, last = seen[len(seen) // 10], seen[-1]
    return {"trials": len(seen), "first_mb": round(first), "last_mb": round(last), "growth": round(last / first - 1, 4)}


def worker_peak() -> float:
    """Peak memory, in megabytes, of a process that trains a small network on CIFAR-10 for one epoch."""
    code = (
        "import resource, dataclasses; from slimfront.evaluators.job import Job;"
        "from slimfront.search.job import evaluate_job;"
        "from slimfront.spaces import presets; c = presets['resnet8'];"
        "c = dataclasses.replace(c, recipe=dataclasses.replace(c.recipe, epochs=1));"
        "list(evaluate_job(Job(c, 'cifar10', 0))); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return round(float(done.stdout.split()[-1]))


def servers(folder: Path, which: list[str]) -> Iterator[tuple[str, str]]:
    """(kind, URL of an empty database) of each kind of storage."""
    if "sqlite" in which:
        yield "sqlite", f"sqlite:///{folder}/engine.db"
    if "postgresql" in which:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "search"))
        from postgresql_server import Server

        server = Server()
        try:
            yield "postgresql", server.create("engine")
        finally:
            server.remove()


def keep(path: Path, found: dict[str, Any], module: str = "benchmarks.engine_overhead") -> None:
    """Write what is known so far."""
    told = {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg()[1],
        "cores": os.cpu_count(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found | told, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--storages", default="sqlite,postgresql")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)))
    parser.add_argument("--trials", type=int, default=TRIALS, help="timed in each study")
    parser.add_argument("--memory-trials", type=int, default=500)
    parser.add_argument("--add", action="store_true", help="to what the file has already")
    parser.add_argument("--out", type=Path, default=Path("results/speed/engine_overhead.json"))
    chosen = parser.parse_args()
    found: dict[str, Any] = {"rows": []}
    if chosen.add:
        found |= json.loads(chosen.out.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, url in servers(folder, [kind for kind in chosen.storages.split(",") if kind]):
            for size in map(int, chosen.sizes.split(",")):
                for workers in map(int, chosen.workers.split(",")):
                    have = grow(url, size)
                    settings = overnight(have + chosen.trials)
                    if workers == 1 and have:
                        found[f"{kind}_{size}_reading"] = reading(url, settings.name)
                    row = measure(url, overnight(have + chosen.trials), folder / kind, workers, EPOCHS)
                    if workers == 1:
                        row["bare"] = round(bare(url, settings, 10), 4)
                        row["ratio_to_bare"] = round(row["median"] / row["bare"], 3)
                        found[f"{kind}_{size}"] = row["median"]
                    found["rows"].append({"storage": kind, "finished": size, "workers": workers, **row})
                    keep(chosen.out, found)
        if chosen.memory_trials:
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # nothing of the rows above is in it
                url, place = f"sqlite:///{folder}/memory.db", folder / "memory"
                found["search_memory"] = fresh.submit(memory, url, place, chosen.memory_trials).result()
            keep(chosen.out, found)
            found["worker_peak_mb"] = worker_peak()
            keep(chosen.out, found)
    sys.stdout.write(chosen.out.read_text())


if __name__ == "__main__":
    main()
