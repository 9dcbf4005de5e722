"""From settings to a running search and back: opens everything, runs the engine, leaves plot and tables."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from slimfront.evaluators import outputs
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.scoring.cost import Rating
from slimfront.evaluators.scoring.cost import check as check_cost
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.search.display import make_display
from slimfront.search.early_stopping import Rules
from slimfront.search.engine import Engine, Outcome
from slimfront.search.event_files import check_event_files, event_files
from slimfront.search.job import evaluate_job
from slimfront.search.own_code import check_code, check_weights, try_out
from slimfront.search.refresh import PLOT, TABLE, Refresh
from slimfront.search.scheduling.clock import StudyClock
from slimfront.search.scheduling.endings import Circumstances, Endings
from slimfront.search.scheduling.intake import Intake, Rate
from slimfront.search.scheduling.judging import Judge
from slimfront.search.scheduling.scheduler import Desk, Scheduler, TrialTask
from slimfront.search.supernet.preparation import NOTHING, PhaseCircumstances, Preparation
from slimfront.search.terminal import Console
from slimfront.search.workers.base import Evaluate
from slimfront.search.workers.cores import usable_cores
from slimfront.search.workers.local import local_workers, refuse_second_run
from slimfront.spaces import Candidate, SpaceError, presets
from slimfront.spaces.candidate import UNCOMPRESSED
from slimfront.studies.analysis.summary import summary
from slimfront.studies.dashboard.files import artifacts_folder, check_folder
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign.text import LONGEST, visible
from slimfront.studies.record import State
from slimfront.studies.requirements import write_requirements
from slimfront.studies.settings import Settings
from slimfront.studies.settings.supernet import sharing_of
from slimfront.studies.store import storage as storages
from slimfront.studies.store.file_lock import HeldError, locked
from slimfront.studies.store.identity import COST
from slimfront.studies.store.names import file_name, own_file_name
from slimfront.studies.store.ownership import Ownership
from slimfront.studies.store.retries import DatabaseGoneError
from slimfront.studies.store.study import StudyStore, enqueue, open_study, read_details, snapshot, study_lock
from threadpoolctl import threadpool_limits

_LOOK_SECONDS = 1.0  # between two looks whether another search has ended
WORK = "work"  # folder of what is being trained, beside that of uncompressed networks


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
        settings: The study's file, which nothing may overwrite; None: there is none.
        changed_code: Go on although code of the user's own has changed since the study began.
        wait: Where another search is using the storage's file, wait for its end.
        tensorboard: Folder of event files; None: none are written.
    """

    storage: str
    workers: int = 0
    data_dir: Path | None = None
    device: str = "auto"
    out: Path | None = None
    ray: str | None = None
    settings: Path | None = None
    changed_code: bool = False
    wait: bool = False
    tensorboard: Path | None = None


def launch(
    settings: Settings, options: Options, evaluate: Evaluate[Job, Result] = evaluate_job
) -> tuple[Outcome, dict[str, Any], dict[str, str]]:
    """Run or resume the study until its limits.

    Returns:
        How it ended, the summary of `studies.analysis.summary`, and where things lie: "plot", "csv", "storage".

    Raises:
        StudyError, DataError, SettingsError, OutputError: Something is wrong that the user can mend; nothing is lost.
        SecondRunError: The calling script has no guard of its main part, and several workers are asked for.
    """
    from slimfront.evaluators.data.loaded import search_key
    from slimfront.evaluators.data.splits import search_data

    refuse_second_run()
    for cost in settings.asked:
        check_cost(cost)
    out = options.out or Path("runs") / file_name(settings.name)
    _check_folder(out, settings, options)
    check_event_files(options.tensorboard, settings.dataset)
    cluster = None
    if options.ray is None:
        device, workers, threads = resources(options)
    else:
        cluster, device, workers, threads = _cluster(options)
    console = Console(stderr=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is ours to show
    check_folder(artifacts_folder(options.storage))
    with only_coordinator(options.storage, console.say if options.wait else None) as (storage, alone):
        storages.check_name(storage, settings.name)  # before data are fetched for it
        data = search_data(
            settings.dataset, data_dir=options.data_dir, image_size=settings.image_size, progress=console.say
        )
        try_out(settings, data.input_shape, data.classes)
        for path in settings.weights.values():
            check_weights(settings.make_space().variants(), path, data.input_shape, data.classes)
        if options.out is None:
            own_file_name(settings.name, storage)
        store = open_study(storage, settings.name, settings.axis)
        check_identity(store, settings, data.digest)
        check_code(store, settings, options.changed_code)
        enqueue_presets(store, settings)
        make_job = partial(
            Job,
            dataset=settings.dataset,
            seed=settings.seed,
            data_dir=options.data_dir,
            image_size=settings.image_size,
            device=device,
            threads=threads,
            data_digest=data.digest,
            store=out / UNCOMPRESSED,
            costs=settings.asked,
            weights=settings.weights,
        )
        rate = _make_rate(data.input_shape, data.classes, (settings.cost, *settings.refused_above))
        refresh = Refresh(store, settings, out, console, options.storage)
        clock = StudyClock(store.attributes, settings.hours, shared=not alone)
        given = PhaseCircumstances(data, settings.seed, device, min(workers * threads, usable_cores()))
        outcome, preparation = _prepared(settings, store, clock, console, given, workers, rate)
        if outcome is None:
            circumstances = Circumstances(data.digest, device, threads, preparation.record)
            desk = make_desk(store, settings, circumstances, rate, clock, preparation, shared=not alone)
            make_job = partial(make_job, supernet=preparation.supernet)
            scheduler = Scheduler(desk, make_job, out / WORK, refresh.if_due)
            if cluster is None:
                chosen = local_workers(workers, evaluate)
            else:
                from slimfront.search.workers.ray import RayWorkers

                key = search_key(settings.dataset, options.data_dir, settings.image_size, data.digest)
                chosen = RayWorkers(cluster, workers, evaluate, data=data, key=key, device=device, threads=threads)
            del data, given  # the workers load, or are sent, their own
            write_requirements(out, goes_on=any(record.state is State.COMPLETE for record in store.trials))
            with closing(chosen) as pool, make_display(console) as display, desk.ownership:
                store.retries.say = display.say
                # Its small matrices gain nothing from threads, and wait for every one of them while the cores train.
                written = event_files(options.tensorboard, file_name(settings.name), display.say)
                with threadpool_limits(1, user_api="blas"), written as listeners:
                    ended = _run(Engine(scheduler, pool, display, listeners), store)
            outcome = Outcome(ended.how, ended.failure or desk.intake.last_problem)
        files = refresh.now()
    return outcome, summary(snapshot(store), settings.bar), files


def _prepared(
    settings: Settings,
    store: StudyStore,
    clock: StudyClock,
    console: Console,
    given: PhaseCircumstances,
    workers: int,
    rate: Rate,
) -> tuple[Outcome | None, Preparation]:
    """What comes before the first trial: how the search has ended there, or None, and what trials inherit."""
    if settings.supernet is None:
        return None, NOTHING
    from slimfront.search.supernet.phases import prepare
    from slimfront.search.supernet.plan import lines
    from slimfront.search.supernet.planning import pace_for

    try:
        sharing = sharing_of(settings.make_space(), settings.supernet)
    except SpaceError as error:
        console.say(f"no supernet, each trial has a training of its own: {error}")
        return None, NOTHING
    pace = pace_for(settings, sharing, given, workers, clock)
    for line in () if pace is None else lines(pace.plan):
        console.say(line)
    with make_display(console) as display:
        return prepare(settings, sharing, given, store, clock, display, rate, pace)


def _run(engine: Engine[TrialTask, Result], store: StudyStore) -> Outcome:
    """Run to the end. Raises KeyboardInterrupt where the user interrupts while the database is gone."""
    store.retries.interrupted = lambda: engine.interrupt.asked
    try:
        return engine.run()
    except DatabaseGoneError as error:
        if not engine.interrupt.asked:
            raise
        raise KeyboardInterrupt(str(error)) from None


def make_desk(
    store: StudyStore,
    settings: Settings,
    circumstances: Circumstances,
    rate: Rate,
    clock: StudyClock | None = None,
    preparation: Preparation = NOTHING,
    *,
    shared: bool = False,
) -> Desk:
    """What a search works with; see `Desk` and `Intake`."""
    ownership = Ownership(store, shared=shared)
    endings = Endings(store, ownership, settings, circumstances)
    rules = Rules(**dict(settings.early_stopping), bounds=dict(settings.refused_above))
    inherits = preparation.supernet is not None
    judge = Judge(settings.bar, rules, circumstances.data_digest, inherits=inherits)
    intake = Intake(store, ownership, settings, endings, judge, rate, preparation)
    clock = clock or StudyClock(store.attributes, settings.hours, shared=shared)
    read_details(store)  # as judge and proposer are about to look at each trial
    fits = (lambda: True) if preparation.pace is None else preparation.pace.fits
    return Desk(settings, store, ownership, intake, endings, judge, clock, fits)


def enqueue_presets(store: StudyStore, settings: Settings) -> None:
    """Put the settings' presets first, once in the life of a study. Raises SpaceError for one outside the space."""
    with study_lock(store):
        if store.attributes.get("presets_enqueued"):
            return
        space = settings.make_space()
        for name in settings.presets:
            enqueue(store, space.parameters(presets[name]), {"preset": name})
        store.attributes.set("presets_enqueued", True)


def _make_rate(shape: tuple[int, int, int], classes: int, costs: Iterable[str]) -> Rate:
    names = tuple(dict.fromkeys(costs))

    @lru_cache(maxsize=64)  # a candidate that is chosen for its cost is asked for it again
    def rated(candidate: Candidate) -> Rating:
        from slimfront.evaluators.scoring.expected import rate

        return rate(candidate, shape, classes, names)

    return rated


def _check_folder(out: Path, settings: Settings, options: Options) -> None:
    """Refuse results that would overwrite what is read. Raises OutputError."""
    inputs = storages.storage_files(options.storage) | {"the study's file": options.settings}
    outputs.check_outside_data("--out", out, settings.dataset)
    outputs.check_folder("--out", out, (PLOT, TABLE), inputs, (UNCOMPRESSED, WORK))


def resources(options: Options) -> tuple[str, int, int]:
    """(device, trainings side by side, threads of each)"""
    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError("--device cuda: torch sees no CUDA device here; use --device cpu or auto.")
    if options.workers < 0:
        raise StudyError(f"--workers must be 0 or more, but got {options.workers}.")
    cores = usable_cores()
    workers = options.workers or (torch.cuda.device_count() if device == "cuda" else cores)
    return device, workers, max(1, cores // workers)


def _cluster(options: Options) -> tuple[Any, str, int, int]:
    """(Ray, device, trainings side by side, threads of each)"""
    from slimfront.search.workers.ray import cluster_slots, connect

    if options.workers < 0:
        raise StudyError(f"--workers must be 0 or more, but got {options.workers}.")
    ray = connect(str(options.ray))
    device = options.device
    if device == "auto":
        device = "cuda" if ray.cluster_resources().get("GPU") else "cpu"
    return ray, device, options.workers or cluster_slots(ray, device, threads=1), 1


@contextmanager
def only_coordinator(url: str, say: Callable[[str], Any] | None = None) -> Iterator[tuple[RDBStorage, bool]]:
    """Open the storage and hold its SQLite file for this search, whatever name the file goes by.

    A second search is refused in one line, before it opens what the first is writing; or it waits, where there is a
    `say`, which is told so.

    Gives the storage, and whether this search has it for itself.

    Raises:
        StudyError: Another search holds the file, or as `open_storage`.
    """
    path = next(iter(storages.storage_files(url).values()), None)
    if path is None:
        yield storages.open_storage(url), url.startswith("sqlite")
        return
    storages.check_file(path, storages.safe_url(url), False, "--storage")
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(_waited_for(path, storages.safe_url(url), say))
        except OSError as error:
            raise StudyError(
                f"Storage {storages.safe_url(url)} cannot be opened for writing: {error.strerror}; name another."
            ) from None
        storage = storages.open_storage(url)
        stack.callback(storage.engine.dispose)  # before the lock is given up, as `locked` demands
        yield storage, held


@contextmanager
def _waited_for(path: Path, shown: str, say: Callable[[str], Any] | None) -> Iterator[bool]:
    """As `locked`, but for the error, and for waiting."""
    with contextlib.ExitStack() as stack:
        for attempt in itertools.count():
            try:
                held = stack.enter_context(locked(path))
                break
            except HeldError:
                if say is None:
                    raise StudyError(
                        f"Another search is using {shown}: --wait begins this one when that has ended; or give it a "
                        "file of its own, as --storage sqlite:///NAME.db; a PostgreSQL database serves several at once."
                    ) from None
            if not attempt:
                say(f"waiting for another search to end, which is using {shown}  (Ctrl-C gives up)")
            time.sleep(_LOOK_SECONDS)
        yield held


def check_identity(store: StudyStore, settings: Settings, data_digest: str) -> None:
    """Refuse to go on with a study that was begun with other settings, and show the difference.

    Raises:
        StudyError: The settings differ, or the study has trials and does not say with which settings they were made.
    """
    # Through JSON, as the study keeps it: tuples become lists, whole floats stay floats.
    now = json.loads(json.dumps({**settings.identity(), "data": data_digest}))
    words = dataclasses.asdict(settings.axis)
    with study_lock(store):  # of two searches that begin a study at once, one decides what it is
        kept = store.attributes.get("identity")
        if kept is None:
            if store.trials:
                raise StudyError(
                    f"Study {store.name!r} has trials but not the settings that they were made with: it is not "
                    "known whether these are the same. Give this one another --name."
                )
            if settings.cost != SCORE.name:
                store.attributes.set(COST, words)  # a user's own is not imported where the study is shown
            store.attributes.set("identity", now)
            return
    default = {"cost": SCORE.name}
    differences = list(_differences({**default, **kept}, {**default, **_named_as_before(kept, now)}))
    if differences:
        raise StudyError(
            f"Study {store.name!r} was begun with other settings: {'; '.join(differences[:5])}. "
            "Give this one another --name."
        )


def _named_as_before(kept: Any, now: dict[str, Any]) -> dict[str, Any]:
    """The settings with a folder called as the study calls it, where its pictures are the same: paths may change."""
    before = kept.get("dataset") if isinstance(kept, Mapping) else None
    folders = all(str(name).startswith("folder:") for name in (before, now["dataset"]))
    return {**now, "dataset": before} if folders and kept.get("data") == now["data"] else now


def _differences(kept: Any, now: Any, key: str = "") -> Iterator[str]:
    if isinstance(kept, Mapping) and isinstance(now, Mapping):
        for name in sorted({*kept, *now}):
            yield from _differences(kept.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif kept != now:
        was, is_now = (visible(json.dumps(value), most=LONGEST) for value in (kept, now))
        yield f"{visible(key, most=LONGEST)} was {was}, is {is_now}"
