from __future__ import annotations

import itertools
import math
import random

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_trials import BAR, made_study, made_trial
from slimfront.studies.front import area, front, hypervolume, non_dominated
from slimfront.studies.record import State, TrialRecord

# Few different values, so that ties and equal points happen.
ACCURACIES = st.sampled_from([0.0, 0.85, 0.9, 0.9002, 0.92, 0.95, 1.0])
SCORES = st.sampled_from([1e-4, 0.01, 0.0123, 0.1, 1.0, 1.99, 3.98])
STATES = st.sampled_from([State.COMPLETE, State.COMPLETE, State.STOPPED, State.FAILED])


@st.composite
def trial_lists(draw: st.DrawFn) -> list[TrialRecord]:
    rows = draw(st.lists(st.tuples(ACCURACIES, SCORES, STATES), max_size=12))
    return [made_trial(number, *row, foreign=True) for number, row in enumerate(rows)]


def numbers(trials: list[TrialRecord]) -> list[int]:
    return [trial.number for trial in trials]


def dominates(one: TrialRecord, other: TrialRecord) -> bool:
    return one.point[0] >= other.point[0] and one.point[1] <= other.point[1] and one.point != other.point


@given(trial_lists())
def test_the_front_is_feasible_complete_and_sorted(trials: list[TrialRecord]) -> None:
    found = front(trials, BAR)
    assert set(numbers(found)) <= set(numbers(trials))
    assert all(t.state is State.COMPLETE and t.point[0] >= BAR for t in found)
    scores, accuracies = [t.point[1] for t in found], [t.point[0] for t in found]
    assert scores == sorted(set(scores))
    assert accuracies == sorted(set(accuracies))


@given(trial_lists())
def test_every_feasible_trial_is_on_the_front_or_matched_by_it(trials: list[TrialRecord]) -> None:
    found = front(trials, BAR)
    for trial in trials:
        if trial.state is State.COMPLETE and trial.point[0] >= BAR:
            assert any(dominates(best, trial) or best.point == trial.point for best in found)
            assert not any(dominates(trial, best) for best in found)


@given(trial_lists(), st.randoms())
def test_the_order_of_trials_does_not_matter(trials: list[TrialRecord], order: random.Random) -> None:
    shuffled = trials.copy()
    order.shuffle(shuffled)
    assert numbers(front(shuffled, BAR)) == numbers(front(trials, BAR))


@given(trial_lists())
def test_dominated_trials_change_nothing(trials: list[TrialRecord]) -> None:
    found = front(trials, BAR)
    if found:
        worse = made_trial(99, found[0].point[0], found[0].point[1] * 1.5, foreign=True)
        assert numbers(front([*trials, worse], BAR)) == numbers(found)
        assert hypervolume([*trials, worse], BAR) == hypervolume(trials, BAR)
    assert numbers(front(found, BAR)) == numbers(found)


@given(trial_lists(), ACCURACIES, SCORES)
def test_more_trials_never_make_it_smaller(trials: list[TrialRecord], accuracy: float, score: float) -> None:
    more = [*trials, made_trial(99, accuracy, score, foreign=True)]
    assert hypervolume(more, BAR) >= hypervolume(trials, BAR) - 1e-12


@given(trial_lists())
def test_it_agrees_with_optuna(trials: list[TrialRecord]) -> None:
    study = made_study(made_trial(t.number, *t.point) for t in trials if t.state is State.COMPLETE)
    ours = {t.point for t in front(trials, BAR)}
    assert ours == {tuple(t.values) for t in study.best_trials}


def test_exactly_the_bar_counts_and_just_below_does_not() -> None:
    trials = [made_trial(0, 4500 / 5000, 0.1), made_trial(1, 4499 / 5000, 0.01), made_trial(2, 0.8999999, 0.001)]
    assert numbers(front(trials, 0.9)) == [0]


def test_of_equal_points_the_first_stands() -> None:
    trials = [made_trial(5, 0.91, 0.1), made_trial(2, 0.91, 0.1), made_trial(9, 0.91, 0.2)]
    assert numbers(front(trials, BAR)) == [2]


def test_stopped_foreign_and_broken_trials_never_stand_on_it() -> None:
    broken = [optuna.trial.create_trial(values=[0.95, score]) for score in (math.inf, 0.0, -1.0)]
    nan = optuna.trial.create_trial(values=[0.95, 0.1])
    nan._values = [math.nan, 0.1]
    single = optuna.trial.create_trial(value=0.95)
    stopped = made_trial(8, 0.99, 0.001, State.STOPPED)
    running = TrialRecord(9, State.RUNNING)
    assert front([*map(TrialRecord.of, [*broken, nan, single]), stopped, running], BAR) == []


def test_hypervolume_by_hand() -> None:
    # One network at 91 %, a hundredth of the reference's score: one point times two decades.
    assert area([(0.91, 0.0199)], 0.9) == pytest.approx(2.0)
    # A better and dearer one adds its own strip: (92 - 91) points times one decade.
    assert area([(0.91, 0.0199), (0.92, 0.199)], 0.9) == pytest.approx(3.0)
    assert area([], 0.9) == 0
    assert area([(0.9, 0.01), (0.899, 1e-6), (0.99, 1.99), (0.99, 3.98)], 0.9) == 0
    assert area([(0.91, 0.1)], 0.9, reference=1.0) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1e-6, 10)), max_size=10), st.floats(0, 1))
def test_hypervolume_equals_a_sum_over_thin_strips(points: list[tuple[float, float]], bar: float) -> None:
    edges = sorted({1.99, *(score for _, score in points if score < 1.99)})
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        best = max((accuracy for accuracy, score in points if score <= low), default=0.0)
        expected += 100 * max(0.0, best - bar) * (math.log10(high) - math.log10(low))
    assert area(points, bar) == pytest.approx(expected, abs=1e-9)


def test_non_dominated_indices_are_by_score() -> None:
    assert non_dominated([(0.9, 0.2), (0.8, 0.1), (0.7, 0.1), (0.85, 0.3), (0.8, 0.1)]) == [1, 0]
    assert non_dominated([]) == []
