"""Several coordinators on a real PostgreSQL server: each works, none takes another's trial, a dead one's are found."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
import pytest
import stub_evaluator
from optuna.trial import FrozenTrial, TrialState
from postgresql_server import Server, binaries
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.launch import Options, launch
from slimfront.studies.record import TrialRecord
from slimfront.studies.store import ownership
from slimfront.studies.store import storage as storages
from slimfront.studies.store.ownership import Ownership
from slimfront.studies.store.study import open_study, study_lock
from test_search import _settings

import run_search

pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed: pip install 'slimfront[postgresql]'")
pytestmark = pytest.mark.skipif(
    binaries() is None, reason="no PostgreSQL server is installed: apt-get install postgresql"
)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.remove()


@pytest.fixture
def url(server: Server) -> str:
    return server.create(f"studies{next(_numbers)}")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts that beat ten times a second, and nothing is drawn."""
    for name in ("studies.store.ownership", "search.scheduling.scheduler", "search.scheduling.clock"):
        monkeypatch.setattr(f"slimfront.{name}.BEAT_SECONDS", 0.1)
    monkeypatch.setattr(ownership, "STALE_SECONDS", 1.5)
    monkeypatch.setattr("slimfront.search.engine._PULSE", 0.1)
    monkeypatch.setattr("slimfront.studies.pictures.plots.front_plot", lambda trials, bar, path, **more: path)
    monkeypatch.setattr("slimfront.search.refresh.Refresh._panels", lambda self: None)


Evaluate = Callable[[Job], Generator[Epoch, None, Result]]


def _logged(log: Path, seconds: float, job: Job) -> Generator[Epoch, None, Result]:
    """The stub evaluator, with a line for every job that it begins."""
    assert job.folder is not None
    with log.open("a") as file:
        file.write(f"{job.folder.name}\n")
    time.sleep(seconds)
    return (yield from stub_evaluator.evaluate(job))


def _launch(url: str, folder: Path, trials: int, evaluate: Evaluate) -> None:
    options = Options(storage=url, workers=1, out=folder / f"out{os.getpid()}")
    launch(_settings(trials=trials, sampler="random", early_stopping={"spared": 1.0}), options, evaluate)


def _coordinators(count: int, url: str, folder: Path, trials: int, evaluate: Evaluate) -> list[BaseProcess]:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_launch, args=(url, folder, trials, evaluate)) for _ in range(count)]
    for process in processes:
        process.start()
    return processes


def _trials(url: str) -> list[FrozenTrial]:
    storage = storages.open_storage(url)
    try:
        return optuna.load_study(study_name="s", storage=storage).trials
    finally:
        storage.engine.dispose()


def _wait_for(url: str, condition: Callable[[list[FrozenTrial]], bool]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if condition(_trials(url)):
                return
        except Exception:  # the tables, or the study, are being made
            pass
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def test_several_coordinators_share_a_study(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = _coordinators(3, url, tmp_path, 15, partial(_logged, log, 0.1))
    for process in processes:
        process.join(90)
        assert process.exitcode == 0
    trials = _trials(url)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 15  # of the whole study, not of each
    assert len({trial.user_attrs["owner"] for trial in trials}) == 3
    begun = Counter(log.read_text().split())
    assert max(begun.values()) == 1  # none takes another's trial
    # Numbers seed the sampler, and nobody begins what was chosen for another number: three who proposed the same
    # would come to five. A few are equal because the space is small.
    assert len({str(trial.params) for trial in trials}) > 10


def test_a_dead_coordinators_trial_is_found(url: str, tmp_path: Path) -> None:
    (dead,) = _coordinators(1, url, tmp_path, 3, stub_evaluator.slow)
    _wait_for(url, lambda trials: any("beat" in trial.user_attrs for trial in trials))
    assert dead.pid is not None
    os.kill(dead.pid, signal.SIGKILL)
    dead.join()
    log = tmp_path / "log"
    processes = _coordinators(2, url, tmp_path, 3, partial(_logged, log, 0.05))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert [trial.state for trial in _trials(url)] == [TrialState.COMPLETE] * 3
    assert Counter(log.read_text().split()) == {"trial-0": 1, "trial-1": 1, "trial-2": 1}


def test_of_a_distant_machine_only_the_beat_tells(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_study(storages.open_storage(url), "s")
    monkeypatch.setattr(ownership, "_place", lambda: "distant")
    distant = Ownership(store, shared=True)
    monkeypatch.setattr(ownership, "_place", lambda: "here")
    here, third = Ownership(store, shared=True), Ownership(store, shared=True)
    number = store.begin({}, {}, {})
    distant.take(number)

    def look() -> TrialRecord:
        return store.read(number)

    with distant:
        for _ in range(8):
            time.sleep(0.25)
            assert not here.is_abandoned(look())
        assert not here.is_doubtful(look())
    here.is_abandoned(look())
    assert not third.is_abandoned(look())  # it has only begun to look
    time.sleep(1.6)
    stale = look()
    assert here.is_abandoned(stale)
    assert third.is_abandoned(stale)
    with ThreadedClaims(stale, here, third) as claims:
        assert sorted(claims.won) == [False, True]
    assert not distant.holds(number)


class ThreadedClaims:
    """Several claims of one trial at the same moment."""

    def __init__(self, record: TrialRecord, *owners: Ownership) -> None:
        self.won: list[bool] = []
        barrier = threading.Barrier(len(owners))

        def claim(owner: Ownership) -> None:
            barrier.wait()
            self.won.append(owner.claim(record))

        self._threads = [threading.Thread(target=claim, args=(owner,)) for owner in owners]

    def __enter__(self) -> ThreadedClaims:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(30)
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def test_a_result_of_a_trial_that_was_taken_over_is_dropped(url: str, tmp_path: Path) -> None:
    def loses(job: Job) -> Generator[Epoch, None, Result]:
        result = yield from stub_evaluator.evaluate(job)
        for trial in _trials(url):  # as another coordinator would, after a long silence
            if (trial.state, trial.number, trial.user_attrs["starts"]) == (TrialState.RUNNING, 1, 1):
                other = open_study(storages.open_storage(url), "s")
                other.write(trial.number, {"owner": "another:1:x"})
        return result

    (process,) = _coordinators(1, url, tmp_path, 2, loses)
    process.join(60)  # it waits until the other is known to be dead, and then takes the trial back
    assert process.exitcode == 0
    trials = _trials(url)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert [trial.user_attrs["starts"] for trial in trials] == [1, 2]


@pytest.mark.slow
def test_a_server_that_restarts_costs_nothing(server: Server, url: str, tmp_path: Path) -> None:
    processes = _coordinators(2, url, tmp_path, 10, partial(_logged, tmp_path / "log", 0.2))
    _wait_for(url, lambda trials: sum(trial.state.is_finished() for trial in trials) >= 2)
    server.stop()
    time.sleep(1.0)
    server.start()
    for process in processes:
        process.join(90)
        assert process.exitcode == 0
    trials = _trials(url)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 10


def test_the_lock_lets_one_in_at_a_time(url: str) -> None:
    studies = [open_study(storages.open_storage(url), "s") for _ in range(2)]
    inside: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            with study_lock(studies[number]):
                inside.append(number)
                time.sleep(0.01)
                assert inside[-1] == number
                inside.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [inside[index] == inside[index + 1] for index in range(0, 20, 2)] == [True] * 10


def test_passwords_are_not_shown(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = Options(storage=url, workers=1, out=tmp_path / "out")
    _, summary, files = launch(_settings(trials=1), options, stub_evaluator.evaluate)
    shown = "".join(capfd.readouterr()) + repr(summary) + repr(files) + repr([t.user_attrs for t in _trials(url)])
    shown += "".join(path.read_text() for path in (tmp_path / "out").glob("*.csv"))
    assert "hunter2" not in shown
    assert "tester:***@" in shown


def test_reading_changes_nothing_and_needs_no_right_to_write(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")
        assert run_search.main(["front", "--storage", url]) == 2
        assert "is a database of another program" in capsys.readouterr().err
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(tables).fetchall() == [("places",)]
        study = storages.create_or_load(storages.open_storage(url), "s")
        study.add_trial(optuna.create_trial(values=[0.95, 0.1]))
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    assert run_search.main(["front", "--storage", url.replace("tester:hunter2", "reader"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"]["complete"] == 1
