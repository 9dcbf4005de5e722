from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_trials import made_study, made_trial
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from optuna_dashboard._serializer import serialize_frozen_trial
from slimfront.studies.errors import StudyError
from slimfront.studies.front import front
from slimfront.studies.record import State
from slimfront.studies.sampling import make_sampler
from slimfront.studies.store.constraint import (
    CONSTRAINTS,
    is_feasible,
    judged_violation,
    refusal,
    system_attributes,
    violation,
)
from slimfront.studies.store.records import to_frozen
from slimfront.studies.store.storage import open_storage
from slimfront.studies.store.study import StudyStore, open_study, optuna_study

SHARES = st.floats(0, 1)


@given(SHARES, SHARES)
def test_feasible_exactly_where_the_accuracy_is_at_or_above_the_bar(accuracy: float, bar: float) -> None:
    assert (violation(accuracy, bar) <= 0) == (accuracy >= bar)


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.floats(0.01, 1))
def test_a_neighbouring_double_is_on_the_right_side(hits: int, images: int, bar: float) -> None:
    assert violation(bar, bar) <= 0
    assert violation(math.nextafter(bar, 0), bar) > 0
    assert (violation(min(hits, images) / images, bar) <= 0) == (min(hits, images) / images >= bar)


def test_exactly_ninety_percent_of_five_thousand_images_is_feasible() -> None:
    assert violation(4500 / 5000, 0.9) <= 0
    assert violation(4499 / 5000, 0.9) > 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1, 90.0, np.float32(0.9), "0.9", None, True])
def test_what_is_not_a_share_in_double_precision_is_refused(wrong: Any) -> None:
    with pytest.raises(StudyError, match="accuracy must be"):
        violation(wrong, 0.9)
    with pytest.raises(StudyError, match="bar must be"):
        violation(0.9, wrong)


KINDS = {"x": FloatDistribution(0, 1)}


def tell(store: StudyStore, accuracy: float, score: float, bar: float = 0.9) -> int:
    number = store.begin({"x": 0.5}, KINDS, {})
    assert store.end(number, State.COMPLETE, {}, values=(accuracy, score), violation=violation(accuracy, bar))
    return number


def test_best_trials_of_an_sqlite_study_are_the_feasible_ones(tmp_path: Path) -> None:
    store = open_study(open_storage(f"sqlite:///{tmp_path}/a.db"), "a")
    tell(store, 0.5, 0.001)  # the cheapest, and useless
    exact = tell(store, 0.9, 0.01)
    tell(store, 0.899999, 0.005)
    tell(store, 0.95, 0.2)
    best = tell(store, 0.95, 0.1)
    again = optuna.load_study(storage=open_storage(f"sqlite:///{tmp_path}/a.db"), study_name="a")
    assert {trial.number for trial in again.best_trials} == {exact, best}


def test_best_trials_are_empty_when_nothing_is_feasible() -> None:
    store = open_study(open_storage("sqlite://"), "a")
    tell(store, 0.5, 0.001)
    assert optuna_study(store).best_trials == []


def note(study: optuna.Study, trial: optuna.Trial, missed: float) -> None:
    """As the store does it for its own trials."""
    trial.storage.set_trial_system_attr(trial._trial_id, CONSTRAINTS, [missed])


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp", "qmc", "random"])
def test_samplers_go_on_after_complete_infeasible_stopped_and_failed_trials(name: str) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=make_sampler(name, 0, startup=4))
    for index in range(10):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        if trial.suggest_categorical("branch", ["a", "b"]) == "a":
            trial.suggest_int("depth", 1, 4)
        if index % 4 == 1:
            note(study, trial, violation(0.85, 0.9))
            study.tell(trial, state=TrialState.PRUNED)
        elif index % 4 == 2:
            study.tell(trial, state=TrialState.FAIL)
        else:
            note(study, trial, violation(x, 0.5))
            study.tell(trial, [x, 1 - x])
    assert all(trial.values[0] >= 0.5 for trial in study.best_trials)


def test_tpe_ranks_a_stopped_trial_by_how_far_it_fell_short() -> None:
    from optuna.samplers._tpe.sampler import _split_trials

    study = made_study([])
    numbers = {}
    for bound in (0.5, 0.89, 0.7):
        trial = study.ask()
        note(study, trial, violation(bound, 0.9))
        study.tell(trial, state=TrialState.PRUNED)
        numbers[bound] = trial.number
    trial = study.ask()
    note(study, trial, violation(0.95, 0.9))
    study.tell(trial, [0.95, 0.1])
    complete = trial.number
    below, above = _split_trials(study, study.trials, 2)
    assert {trial.number for trial in below} == {complete, numbers[0.89]}
    assert {trial.number for trial in above} == {numbers[0.5], numbers[0.7]}


def test_the_dashboard_reads_what_was_written() -> None:
    store = open_study(open_storage("sqlite://"), "a")
    tell(store, 0.85, 0.1)
    shown = serialize_frozen_trial(0, optuna_study(store).trials[0], {})
    assert shown["constraints"] == [pytest.approx(0.05)]


def test_feasibility_for_another_bar_and_of_unfinished_trials() -> None:
    assert is_feasible(made_trial(0, 0.85, 0.1), 0.8)
    assert not is_feasible(made_trial(0, 0.85, 0.1), 0.9)
    assert not is_feasible(made_trial(0, 0.95, 0.1, State.STOPPED), 0.9)
    assert not is_feasible(made_trial(0, 0.95, 0.1, State.FAILED), 0.9)


def test_imported_trials_carry_their_constraint() -> None:
    study = made_study([made_trial(0, 0.95, 0.1), made_trial(1, 0.4, 0.01)])
    assert [trial.number for trial in study.best_trials] == [0]
    assert system_attributes(0.95, 0.9) == {"constraints": [pytest.approx(-0.05)]}


def test_what_is_too_expensive_ranks_behind_all_that_misses_the_bar() -> None:
    violations = [refusal({"a": cost, "b": 3.0}, {"a": 0.01, "c": 1.0}, 0.9) for cost in (0.011, 0.1, 1.0)]
    assert violations == sorted(violations)
    assert violations[0] > violation(0.0, 0.9)
    assert violations[2] - violations[1] == pytest.approx(1.0)
    with pytest.raises(StudyError, match="above its limit"):
        refusal({"a": 0.01}, {"a": 0.01}, 0.9)


def test_a_trial_above_a_bound_is_not_feasible_and_misses_by_decades() -> None:
    """At the bar or above it a tenfold cost counts 1; below the bar that comes on top."""
    kept = {"costs": {"a": 10.0}, "over": {"a": 1.0}}
    good, bad = made_trial(0, 0.95, 0.1, **kept), made_trial(1, 0.7, 0.1, **kept)
    assert not is_feasible(good, 0.9)
    assert judged_violation(good, 0.95, 0.9) == pytest.approx(1.0)
    assert judged_violation(bad, 0.7, 0.9) == pytest.approx(1.2)
    assert judged_violation(made_trial(2, 0.95, 0.1, costs={"a": 10.0}), 0.95, 0.9) == pytest.approx(-0.05)
    assert to_frozen(good, 0.9).system_attrs[CONSTRAINTS] == [pytest.approx(1.0)]
    assert [trial.number for trial in front([good, made_trial(3, 0.92, 0.2)], 0.9)] == [3]
