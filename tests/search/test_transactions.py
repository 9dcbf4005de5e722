"""Writes to a trial that are collected, and done in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy
import stub_evaluator
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from slimfront.search import transactions
from slimfront.search.launch import launch
from slimfront.search.transactions import StudyStorage
from slimfront.studies.store.storage import create_or_load, open_storage
from test_faults import _gone
from test_search import _options, _settings


@pytest.fixture
def storage(tmp_path: Path) -> StudyStorage:
    return StudyStorage(open_storage(f"sqlite:///{tmp_path}/s.db"))


@pytest.fixture
def study(storage: StudyStorage) -> optuna.Study:
    return create_or_load(storage, "s", sampler=optuna.samplers.RandomSampler(0))


@contextmanager
def _commits(engine: sqlalchemy.Engine) -> Iterator[list[int]]:
    found: list[int] = []

    def count(connection: object) -> None:
        found.append(1)

    sqlalchemy.event.listen(engine, "commit", count)
    try:
        yield found
    finally:
        sqlalchemy.event.remove(engine, "commit", count)


def _sample_and_tell(study: optuna.Study, trial: optuna.Trial) -> None:
    trial.suggest_float("x", 0, 1)
    trial.suggest_categorical("kind", ["a", "b"])
    trial.set_user_attr("note", "n")
    study._storage.set_trial_system_attr(trial._trial_id, "s", [1])
    study.tell(trial, [0.9, 0.1])


def test_what_is_collected_is_the_same_in_one_transaction(storage: StudyStorage, study: optuna.Study) -> None:
    _sample_and_tell(study, study.ask())
    study.sampler = optuna.samplers.RandomSampler(0)
    trial = study.ask()
    with _commits(storage.backend.engine) as commits:
        with storage.together():
            _sample_and_tell(study, trial)
            assert not commits
        assert len(commits) == 1
    alone, collected = open_storage(storage.backend.url).get_all_trials(1)
    assert (collected.state, collected.values) == (TrialState.COMPLETE, [0.9, 0.1])
    assert collected.datetime_complete is not None
    for name in ("params", "distributions", "user_attrs", "system_attrs"):
        assert getattr(alone, name) == getattr(collected, name)


def test_a_trial_is_read_as_it_will_be(storage: StudyStorage, study: optuna.Study) -> None:
    trial = study.ask()
    with storage.together():
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("note", "n")
        again = optuna.Trial(study, trial._trial_id)
        assert again.suggest_float("x", 0, 1) == x
        assert again.user_attrs == {"note": "n"}
        assert storage.backend.get_trial(trial._trial_id).params == {}
    assert storage.backend.get_trial(trial._trial_id).params == {"x": x}


def test_what_fails_leaves_nothing(storage: StudyStorage, study: optuna.Study) -> None:
    trial = study.ask()

    def fails() -> None:
        with storage.together():
            trial.suggest_float("x", 0, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert storage.get_trial(trial._trial_id).params == {}
    trial = optuna.Trial(study, trial._trial_id)
    trial.suggest_float("x", 0, 1)  # by itself again
    assert "x" in storage.backend.get_trial(trial._trial_id).params


def test_a_parameter_keeps_its_first_value_and_an_attribute_its_last(
    storage: StudyStorage, study: optuna.Study
) -> None:
    trial = study.ask()
    kind = optuna.distributions.FloatDistribution(0, 1)
    for value in (0.25, 0.75):
        with storage.together():
            storage.set_trial_param(trial._trial_id, "x", value, kind)
            storage.set_trial_user_attr(trial._trial_id, "a", value)
    found = storage.backend.get_trial(trial._trial_id)
    assert (found.params, found.user_attrs) == ({"x": 0.25}, {"a": 0.75})


@pytest.mark.parametrize("fresh", [False, True])
def test_a_parameter_means_the_same_in_the_whole_study(storage: StudyStorage, study: optuna.Study, fresh: bool) -> None:
    with storage.together():
        study.ask().suggest_float("x", 0, 1)
    if fresh:  # a search that has gone on: the database knows what it has not seen itself
        storage = StudyStorage(open_storage(storage.backend.url))
        study = create_or_load(storage, "s", sampler=optuna.samplers.RandomSampler(0))
    trial = study.ask()
    with pytest.raises(ValueError, match="distribution"), storage.together():
        trial.suggest_categorical("x", ["a", "b"])


def test_a_trial_that_has_ended_is_refused(storage: StudyStorage, study: optuna.Study) -> None:
    trial = study.ask()
    study.tell(trial, [0.9, 0.1])
    with pytest.raises(UpdateFinishedTrialError), storage.together():
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def test_an_answer_that_was_lost_is_no_second_result(
    storage: StudyStorage, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = study.ask()
    original, calls = transactions.write, []

    def loses_the_answer(*arguments: object) -> None:
        calls.append(arguments)
        original(*arguments)  # type: ignore[arg-type]
        if len(calls) == 1:
            raise _gone()

    monkeypatch.setattr(transactions, "write", loses_the_answer)
    with storage.together():
        _sample_and_tell(study, trial)
    assert len(calls) == 2
    assert [t.values for t in study.trials] == [[0.9, 0.1]]


def test_a_search_needs_five_transactions_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, owned, sampled, started, told: not one for each parameter and attribute."""
    monkeypatch.setattr("slimfront.search.launch._Refresh._panels", lambda self: None)
    monkeypatch.setattr("slimfront.studies.pictures.plots.front_plot", lambda trials, bar, path, **more: path)
    seen = {}
    for trials in (4, 14):
        folder = tmp_path / str(trials)
        folder.mkdir()
        with _commits(sqlalchemy.Engine) as commits:  # type: ignore[arg-type]
            launch(_settings(trials=trials, sampler="random"), _options(folder), stub_evaluator.evaluate)
        seen[trials] = len(commits)
    assert (seen[14] - seen[4]) / 10 <= 5
