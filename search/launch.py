"""From settings to a running search and back: opens everything, runs the coordinator, leaves plot and tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console
from threadpoolctl import threadpool_limits

from search.coordinator import Coordinator, JobFrame, Limits, Outcome
from search.early_stopping import Rules
from search.ownership import Ownership, study_lock
from search.progress import make_show
from search.transactions import StudyStorage
from search.trials import Ledger
from search.workers import Evaluate, InProcess, LocalProcesses, Workers, data_key, evaluate_job
from spaces import Candidate
from studies import storage as storages
from studies.errors import StudyError
from studies.requirements import write_requirements
from studies.settings import Settings
from studies.summary import summary, to_csv

PANEL_SECONDS = 20.0  # the dashboard's panels are drawn anew at most this often,
PANEL_SHARE = 0.01  # and take at most this share of a search's time: in a long study they take seconds


@dataclass(frozen=True)
class Options:
    """How a search runs, none of which changes what it finds.

    Attributes:
        storage: URL of the study's storage.
        workers: Trainings side by side; 0: one for each core, or one for each GPU.
        data_dir: Where the data set's files are looked for first.
        device: "auto", "cpu" or "cuda".
        out: Folder of results and checkpoints; None: runs/NAME.
        ray: Run the evaluators on a Ray cluster: its address, or "auto"; None: on this machine.
    """

    storage: str
    workers: int = 0
    data_dir: Path | None = None
    device: str = "auto"
    out: Path | None = None
    ray: str | None = None


def launch(
    settings: Settings, options: Options, evaluate: Evaluate = evaluate_job
) -> tuple[Outcome, dict[str, Any], dict[str, str]]:
    """Run or resume the study until its limits.

    Returns:
        How it ended, the summary as in `studies.summary.summary`, and where things lie: "plot", "csv", "storage".

    Raises:
        StudyError, DataError, SettingsError: Something is wrong that the user can mend; nothing is lost.
    """
    from evaluators.data import search_data

    cluster = None
    if options.ray is None:
        device, workers, threads = resources(options)
    else:
        cluster, device, workers, threads = _cluster(options)
    console = Console(stderr=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is ours to show
    storage = StudyStorage(storages.open_storage(options.storage), console.print)
    with only_coordinator(options.storage) as alone:
        data = search_data(
            settings.dataset, data_dir=options.data_dir, image_size=settings.image_size, progress=console.print
        )
        study = storages.create_or_load(storage, settings.name)
        check_identity(study, settings, data.digest)
        out = options.out or Path("runs") / re.sub(r"[^\w.-]", "_", settings.name)
        refresh = _Refresh(study, settings, out, console, options.storage)
        shape, classes = data.input_shape, data.classes

        @lru_cache(maxsize=64)  # a candidate that is chosen for its score is asked for it again
        def rate(candidate: Candidate) -> dict[str, Any]:
            from evaluators.expected import expected_score

            return expected_score(candidate, shape, classes).to_dict()

        ledger = Ledger(
            study,
            settings,
            rate=rate,
            data_digest=data.digest,
            device=device,
            threads=threads,
            changed=refresh.if_due,
            ownership=Ownership(study, shared=not alone),
            rules=Rules.from_dict(settings.early_stopping),
        )
        ledger.enqueue_presets()
        frame = JobFrame(
            dataset=settings.dataset,
            seed=settings.seed,
            data_dir=options.data_dir,
            image_size=settings.image_size,
            device=device,
            threads=threads,
            data_digest=data.digest,
            work=out / "work",
            store=out / "dense",
        )
        if cluster is None:
            chosen = make_workers(workers, evaluate)
        else:
            key = data_key(settings.dataset, options.data_dir, settings.image_size, data.digest)
            chosen = _ray_workers(cluster, workers, evaluate, data, key, device, threads)
        del data  # the evaluators load, or are sent, their own
        write_requirements(out, goes_on=bool(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])))
        with chosen as pool, make_show(console) as show:
            storage.say = show.say
            limits = Limits(settings.trials, settings.hours)
            # Its small matrices gain nothing from threads, and wait for every one of them while the cores train.
            with threadpool_limits(1, user_api="blas"):
                outcome = Coordinator(ledger, pool, frame, limits, show).run()
        files = refresh.now()
    return outcome, summary(study, settings.bar), files


def resources(options: Options) -> tuple[str, int, int]:
    """(device, trainings side by side, threads of each)"""
    import os

    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError("--device cuda: torch sees no CUDA device here; use --device cpu or auto.")
    if options.workers < 0:
        raise StudyError(f"--workers must be 0 or more, but got {options.workers}.")
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    workers = options.workers or (torch.cuda.device_count() if device == "cuda" else cores)
    return device, workers, max(1, cores // workers)


def _cluster(options: Options) -> tuple[Any, str, int, int]:
    """(Ray, device, trainings side by side, threads of each)"""
    from search.ray_workers import cluster_slots, connect

    if options.workers < 0:
        raise StudyError(f"--workers must be 0 or more, but got {options.workers}.")
    ray = connect(str(options.ray))
    device = options.device
    if device == "auto":
        device = "cuda" if ray.cluster_resources().get("GPU") else "cpu"
    return ray, device, options.workers or cluster_slots(ray, device, threads=1), 1


@contextmanager
def _ray_workers(
    ray: Any, count: int, evaluate: Evaluate, data: Any, key: tuple[object, ...], device: str, threads: int
) -> Iterator[Workers]:
    from search.ray_workers import RayWorkers

    pool = RayWorkers(ray, count, evaluate, data=data, key=key, device=device, threads=threads)
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def make_workers(count: int, evaluate: Evaluate) -> Iterator[Workers]:
    """So many trainings side by side, ended with the context; one runs in this process."""
    pool: Workers = InProcess(evaluate) if count == 1 else LocalProcesses(count, evaluate)
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def only_coordinator(url: str) -> Iterator[bool]:
    """Hold the SQLite file for this search: a second one is refused in one line, not in the middle of the night.

    Gives whether this search has the storage for itself.
    """
    from sqlalchemy.engine import make_url

    database = make_url(url).database
    if not url.startswith("sqlite"):
        yield False
        return
    if database in (None, "", ":memory:"):
        yield True
        return
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield False
        return
    path = Path(f"{database}.lock")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StudyError(
                f"Another search is using {storages.safe_url(url)}: wait for it, give this one a --storage of its own, "
                "or use PostgreSQL for several at once."
            ) from None
        yield True


def check_identity(study: optuna.Study, settings: Settings, data_digest: str) -> None:
    """Refuse to go on with a study that was begun with other settings, and show the difference."""
    # Through JSON, as the study keeps it: tuples become lists, whole floats stay floats.
    now = json.loads(json.dumps({**settings.identity(), "data": data_digest}))
    with study_lock(study):  # of two searches that begin a study at once, one decides what it is
        kept = study.user_attrs.get("identity")
        if kept is None:
            study.set_user_attr("identity", now)
            return
    differences = list(_differences(kept, now))
    if differences:
        raise StudyError(
            f"Study {study.study_name!r} was begun with other settings: {'; '.join(differences[:5])}. "
            "Give this one another --name."
        )


def _differences(kept: Any, now: Any, key: str = "") -> Iterator[str]:
    if isinstance(kept, Mapping) and isinstance(now, Mapping):
        for name in sorted({*kept, *now}):
            yield from _differences(kept.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif kept != now:
        yield f"{key} was {json.dumps(kept)}, is {json.dumps(now)}"


class _Refresh:
    """Draws what people look at: the dashboard's panels while the search runs, plot and tables at its end."""

    def __init__(self, study: optuna.Study, settings: Settings, out: Path, console: Console, url: str) -> None:
        self._study, self._settings, self._out = study, settings, out
        self._console, self._url = console, url
        self._due = float("-inf")

    def if_due(self) -> None:
        """Draw the panels unless that was done a moment ago."""
        begun = time.monotonic()
        if begun < self._due:
            return
        try:
            self._panels()
        except Exception as error:  # a picture must not end a search
            self._console.print(f"the dashboard's panels were not drawn: {storages.one_line(error, self._url)}")
        ended = time.monotonic()
        self._due = ended + max(PANEL_SECONDS, (ended - begun) / PANEL_SHARE)

    def now(self) -> dict[str, str]:
        """Draw everything; returns where it lies."""
        from studies.plots import front_plot

        self._panels()
        trials = self._study.get_trials(deepcopy=False)
        bar = self._settings.bar
        plot = front_plot(trials, bar, self._out / "front.png", ladder=self._settings.dataset == "cifar10")
        table = to_csv(trials, self._out / "trials.csv", bar)
        return {"plot": str(plot), "csv": str(table), "storage": storages.study_url(self._study)}

    def _panels(self) -> None:
        from studies.dashboard import update_panels
        from studies.trial_pages import artifacts_folder, update_pages

        with study_lock(self._study):  # in many pieces, which must not mix with another coordinator's
            update_panels(self._study, self._settings.bar)
            update_pages(self._study, self._settings.bar, artifacts_folder(self._url))
