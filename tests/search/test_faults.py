"""Faults, each with its stated outcome: the rows of docs/reliability.md that need no server."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing.process import BaseProcess as Process
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy.exc
import stub_evaluator
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from PIL import Image
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.training.loop import Epoch, TrainingError
from slimfront.search.interrupt import AT_ONCE, STOPPING
from slimfront.search.job import evaluate_job
from slimfront.search.launch import launch
from slimfront.search.workers.base import Evaluate, failure_of
from slimfront.spaces.candidate import Architecture, Candidate, Recipe
from slimfront.studies.errors import StudyError
from slimfront.studies.record import REASONS, State
from slimfront.studies.store import storage as storages
from slimfront.studies.store.retries import DatabaseGoneError, Retries, is_transient
from slimfront.studies.store.study import open_study
from test_search import _options, _settings, _study, _trials


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn, as that takes longer than these searches."""
    monkeypatch.setattr("slimfront.studies.pictures.plots.front_plot", lambda trials, bar, path, **more: path)
    monkeypatch.setattr("slimfront.search.refresh.Refresh._panels", lambda self: None)


def _raises(error: Exception, at: str = "trial-1") -> Callable[[Job], Generator[Epoch, None, Result]]:
    def evaluate(job: Job) -> Generator[Epoch, None, Result]:
        yield Epoch("dense", 1, stub_evaluator.EPOCHS, 1.0, 0.1, 0.0)
        if job.folder is not None and job.folder.name == at:
            raise error
        return (yield from stub_evaluator.evaluate(job))

    return evaluate


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("loss_not_finite", "The loss of epoch 2 is nan."), "loss_not_finite"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "files"),
        (IndexError("list index out of range"), "error"),
    ],
    ids=["loss", "memory", "torch memory", "disk", "bug"],
)
def test_a_fault_costs_its_trial_and_nothing_else(tmp_path: Path, error: Exception, reason: str) -> None:
    outcome, summary, _ = launch(_settings(trials=4), _options(tmp_path), _raises(error))
    assert outcome.how == "done"
    assert (summary["trials"]["complete"], summary["trials"]["failed"]) == (3, 1)
    trial = _study(tmp_path).trials[1]
    assert trial.user_attrs["reason"] == reason
    assert reason in REASONS
    assert trial.user_attrs["text"]


def test_a_worker_that_always_dies_fails_its_trial_after_three_starts(tmp_path: Path) -> None:
    _, summary, _ = launch(_settings(trials=3), _options(tmp_path, workers=2), stub_evaluator.always_dies)
    assert (summary["trials"]["complete"], summary["trials"]["failed"]) == (2, 1)
    trial = _study(tmp_path).trials[1]
    assert (trial.user_attrs["reason"], trial.user_attrs["starts"]) == ("worker_died", 3)


# Stopping.


def _start(folder: Path, evaluate: Evaluate[Job, Result], trials: int = 3) -> Process:
    """A search in a process of its own, forked because importing everything anew takes seconds."""
    process = multiprocessing.get_context("fork").Process(target=_search, args=(folder, evaluate, trials))
    process.start()
    return process


def _search(folder: Path, evaluate: Evaluate[Job, Result], trials: int) -> None:
    sys.stdout = sys.stderr = (folder / "said.txt").open("a", buffering=1)
    os.dup2(sys.stderr.fileno(), 2)
    try:
        launch(_settings(trials=trials), _options(folder), evaluate)
    except KeyboardInterrupt:
        sys.exit(130)


def _wait_for(folder: Path, condition: Callable[[list[optuna.trial.FrozenTrial]], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition(_study(folder).get_trials(deepcopy=False)):
                return
        except Exception:  # the database is being made
            pass
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_a_second_signal_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    process = _start(tmp_path, stub_evaluator.stuck)
    _wait_for(tmp_path, lambda trials: any("starts" in trial.user_attrs for trial in trials))
    time.sleep(0.2)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(0.5)
    assert process.is_alive()  # the first waits for the epoch, and says so
    assert STOPPING in (tmp_path / "said.txt").read_text()
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130
    assert AT_ONCE in (tmp_path / "said.txt").read_text()
    _, summary, _ = launch(_settings(trials=3), _options(tmp_path), stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 3


def test_a_trial_that_kills_the_search_three_times_is_given_up(tmp_path: Path) -> None:
    for death in range(1, 4):
        process = _start(tmp_path, stub_evaluator.kills_the_search)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        (running,) = _study(tmp_path).get_trials(states=(TrialState.RUNNING,))
        assert (running.number, running.user_attrs["starts"]) == (1, death)
    _, summary, _ = launch(_settings(trials=3), _options(tmp_path), stub_evaluator.kills_the_search)
    assert (summary["trials"]["complete"], summary["trials"]["failed"]) == (2, 1)
    assert _study(tmp_path).trials[1].user_attrs["reason"] == "worker_died"


def test_stopping_on_purpose_is_no_death(tmp_path: Path) -> None:
    def interrupted(job: Job) -> Generator[Epoch, None, Result]:
        os.kill(os.getpid(), signal.SIGINT)
        yield Epoch("dense", 1, 3, 1.0, 0.5, 0.0)
        raise AssertionError("it was stopped")

    for _ in range(4):
        outcome, _, _ = launch(_settings(trials=2), _options(tmp_path), interrupted)
        assert outcome.how == "interrupted"
        assert [trial.user_attrs["starts"] for trial in _study(tmp_path).trials] == [0]
    _, summary, _ = launch(_settings(trials=2), _options(tmp_path), stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 2


@pytest.mark.parametrize(
    ("sampler", "parameters"),
    [("random", 0), pytest.param("random", 2, marks=pytest.mark.slow), pytest.param("tpe", 1, marks=pytest.mark.slow)],
)
def test_a_trial_that_was_cut_short_while_it_was_sampled_is_sampled_again(
    tmp_path: Path, sampler: str, parameters: int
) -> None:
    settings = _settings(trials=4, sampler=sampler, startup_trials=1)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    launch(settings, _options(tmp_path / "whole"), stub_evaluator.evaluate)
    launch(settings.changed(trials=2), _options(tmp_path / "cut"), stub_evaluator.evaluate)
    whole = _study(tmp_path / "whole").trials
    # What a killed search leaves: a trial with some of its parameters, or none.
    study = _study(tmp_path / "cut")
    study.sampler = optuna.samplers.PartialFixedSampler(whole[2].params, optuna.samplers.RandomSampler())
    trial = study.ask({key: whole[2].distributions[key] for key in list(whole[2].params)[:parameters]})
    assert len(trial.params) == parameters
    _, summary, _ = launch(settings, _options(tmp_path / "cut"), stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 4
    record = _trials(tmp_path / "cut")[2]
    kept = list(whole[2].params)[:parameters]
    assert {key: record.parameters[key] for key in kept} == {key: whole[2].params[key] for key in kept}
    assert settings.make_space().sample(optuna.trial.FixedTrial(dict(record.parameters))) == record.candidate


def test_checkpoints_are_kept_for_running_trials_only(tmp_path: Path) -> None:
    work = tmp_path / "out" / "work"
    seen = []

    def keeps(job: Job) -> Generator[Epoch, None, Result]:
        assert job.folder is not None
        job.folder.mkdir(parents=True)
        (job.folder / "checkpoint").touch()
        seen.append(sorted(path.name for path in work.iterdir()))
        return (yield from stub_evaluator.evaluate(job))

    launch(_settings(trials=2), _options(tmp_path), keeps)
    assert seen == [["trial-0"], ["trial-1"]]
    (work / "trial-0").mkdir()  # as if killed between telling the study and dropping the files
    (work / "trial-9").mkdir()
    launch(_settings(trials=3), _options(tmp_path), keeps)
    assert [path.name for path in work.iterdir()] == ["trial-9"]


# The database.


def test_a_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "SQLITE_TIMEOUT", 0.05)
    path = tmp_path / "s.db"
    locked = threading.Event()

    def lock() -> None:
        connection = sqlite3.connect(path, timeout=10)
        connection.execute("BEGIN EXCLUSIVE")
        locked.set()
        time.sleep(0.8)
        connection.rollback()
        connection.close()

    thread = threading.Thread(target=lock)

    def evaluate(job: Job) -> Generator[Epoch, None, Result]:
        if job.folder is not None and job.folder.name == "trial-1":
            thread.start()
            locked.wait(10)
        return (yield from stub_evaluator.evaluate(job))

    _, summary, _ = launch(_settings(trials=3), _options(tmp_path), evaluate)
    thread.join()
    assert summary["trials"] == {"complete": 3, "pruned": 0, "failed": 0, "running": 0, "waiting": 0}


def _gone() -> StorageInternalError:
    error = StorageInternalError("An exception is raised during the commit.")
    original = Exception("connection to server failed: me:secret@host")
    error.__cause__ = sqlalchemy.exc.OperationalError("SELECT", {}, original)
    return error


def _fails(times: int, calls: list[int]) -> Callable[[], str]:
    def function() -> str:
        calls.append(len(calls))
        if len(calls) <= times:
            raise _gone()
        return "here"

    return function


def test_a_database_that_goes_and_comes_back_is_waited_for() -> None:
    retries, said = Retries("postgresql://me:secret@host/x"), list[str]()
    retries.say = said.append
    assert retries(_fails(3, [])) == "here"
    assert "trying again" in said[0]
    assert "answers again" in said[1]
    assert len(said) == 2
    assert "secret" not in "".join(said)


def test_a_database_that_stays_away_ends_the_search_in_one_line() -> None:
    retries = Retries("postgresql://me:secret@host/x", seconds=0.3)
    with pytest.raises(DatabaseGoneError, match="the same command goes on") as caught:
        retries(_fails(1000, []))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interrupt_ends_the_waiting() -> None:
    calls: list[int] = []
    retries = Retries("postgresql://me:secret@host/x")
    retries.interrupted = lambda: len(calls) >= 2
    with pytest.raises(DatabaseGoneError):
        retries(_fails(1000, calls))
    assert len(calls) == 2


def test_a_search_ends_where_it_is_interrupted_while_the_database_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise _gone()

    def evaluate(job: Job) -> Generator[Epoch, None, Result]:
        if job.folder is not None and job.folder.name == "trial-1":
            monkeypatch.setattr(RDBStorage, "set_trial_user_attr", gone)
        return (yield from stub_evaluator.evaluate(job))

    with pytest.raises(KeyboardInterrupt):
        launch(_settings(trials=3), _options(tmp_path), evaluate)
    monkeypatch.undo()
    assert [record.state for record in _trials(tmp_path)] == [State.COMPLETE, State.RUNNING]


def test_what_is_not_transient_is_not_tried_again() -> None:
    calls = []

    def function() -> None:
        calls.append(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        Retries("sqlite:///x")(function)
    assert calls == [1]
    missing = sqlalchemy.exc.OperationalError("SELECT", {}, sqlite3.OperationalError("no such table: trials"))
    assert not is_transient(missing)


def test_a_result_whose_acknowledgement_was_lost_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = storages.open_storage("sqlite://")
    store = open_study(storage, "s")
    number = store.begin({}, {}, {"owner": "me"})
    original = storage.set_trial_state_values
    calls = []

    def loses_the_answer(trial_id: int, state: TrialState, values: list[float] | None = None) -> bool:
        calls.append(state)
        done = original(trial_id, state, values)
        if len(calls) == 1:
            raise _gone()
        return done

    monkeypatch.setattr(storage, "set_trial_state_values", loses_the_answer)
    assert store.end(number, State.COMPLETE, {}, values=(0.9, 0.1), violation=0.0)
    assert [record.point for record in store.trials] == [(0.9, 0.1)]
    assert not store.end(number, State.FAILED, {"reason": "late"})  # it has ended: somebody else was faster
    assert store.read(number).reason is None


# Files.


def _job(folder: Path, **changes: object) -> Job:
    architecture = Architecture(
        family="residual", stem_width=4, stem_stride=1, widths=(4,), depths=(1,), strides=(1,), shortcut="padding"
    )
    candidate = Candidate(architecture=architecture, recipe=Recipe(epochs=2, batch_size=128))
    values: dict[str, object] = {"candidate": candidate, "dataset": "digits", "seed": 0, "folder": folder / "work"}
    return Job(**(values | {"store": folder / "dense"} | changes))  # type: ignore[arg-type]


def _run(generator: Generator[Epoch, None, Result]) -> tuple[list[Epoch], Result]:
    curve = []
    while True:
        try:
            curve.append(next(generator))
        except StopIteration as end:
            return curve, end.value


def test_a_corrupt_stored_network_is_dropped_and_trained_again(tmp_path: Path) -> None:
    _, first = _run(evaluate_job(_job(tmp_path)))
    (stored,) = (tmp_path / "dense").glob("*.safetensors")
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-200] + bytes(200))
    _, again = _run(evaluate_job(_job(tmp_path)))
    assert again.accuracy == first.accuracy
    assert stored.read_bytes() != whole[:-200] + bytes(200)


def test_a_full_disk_fails_the_trial_by_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        _run(evaluate_job(_job(tmp_path)))
    assert failure_of(caught.value).reason == "files"
    assert not list(tmp_path.rglob("*.tmp"))


def _pictures(root: Path) -> None:
    drawn = np.random.default_rng(0)
    for name in ("<b>a</b>", "b"):
        (root / name.replace("/", "_")).mkdir(parents=True)
        for index in range(20):
            pixels = drawn.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name.replace("/", "_") / f"{index:02}.png")


def test_a_data_file_that_changes_between_searches_is_noticed(tmp_path: Path) -> None:
    _pictures(tmp_path / "pictures")
    settings = _settings(dataset=f"folder:{tmp_path}/pictures", image_size=8, trials=1)
    launch(settings, _options(tmp_path), stub_evaluator.evaluate)
    for index in range(5):
        Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "pictures" / "b" / f"{index:02}.png")
    with pytest.raises(StudyError, match="data was"):
        launch(settings, _options(tmp_path), stub_evaluator.evaluate)


def test_a_folder_is_the_same_wherever_it_is_named_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pictures(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    launch(_settings(dataset="folder:pictures", image_size=8, trials=1), _options(tmp_path), stub_evaluator.evaluate)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = _settings(dataset=f"folder:{tmp_path}/pictures", image_size=8, trials=2)
    _, summary, _ = launch(settings, _options(tmp_path), stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 2
    _pictures(tmp_path / "others")
    Image.new("RGB", (8, 8)).save(tmp_path / "others" / "b" / "00.png")
    with pytest.raises(StudyError, match="dataset was"):
        launch(settings.changed(dataset=f"folder:{tmp_path}/others"), _options(tmp_path), stub_evaluator.evaluate)


def test_a_data_file_that_changes_during_a_search_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not the one that the study was begun with") as caught:
        next(evaluate_job(_job(tmp_path, data_digest="0" * 16)))
    assert caught.value.reason == "files"


# The clock.


def test_a_clock_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    _, summary, _ = launch(_settings(trials=3, hours=1.0), _options(tmp_path), stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 3
    assert 0 <= _study(tmp_path).user_attrs["seconds_worked"] < 600
