"""Feasibility: the one module that says, and tells everybody, which trials clear the bar.

The constraint is one number, `bar - accuracy`: zero or less is feasible, more says by how much a trial misses. Optuna's
samplers and `study.best_trials` read constraints in two formats, optuna-dashboard only in the older one: the list under
the trial's system attribute "constraints". So the list is what is written here, and nothing else anywhere else.

Differences of floating-point numbers are exact about their sign (x - y is zero only where x equals y), so a network at
exactly the bar is feasible: 4,500 right of 5,000 is 0.9. That needs accuracies as ratios of integers in double
precision; a float32 mean of the same hits is 0.89999998, and is refused by its type.
"""

from __future__ import annotations

import math
from typing import Any

from slimfront.studies.errors import StudyError
from slimfront.studies.record import State, TrialRecord

CONSTRAINTS = "constraints"  # Optuna's name for the list, and the dashboard's


def violation(accuracy: float, bar: float) -> float:
    """By how much the accuracy misses the bar: at most 0 if and only if `accuracy >= bar`.

    Args:
        accuracy: A share in [0, 1], double precision.
        bar: A share in [0, 1].

    Raises:
        StudyError: One of them is no such number; NaN, percent and float32 are not.
    """
    for name, value in (("accuracy", accuracy), ("bar", bar)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StudyError(f"{name} must be a number in double precision, but got {type(value).__name__} {value!r}.")
        if not 0 <= value <= 1:
            raise StudyError(f"{name} must be a share in [0, 1], but got {value!r}.")
    return float(bar) - float(accuracy)


def system_attributes(accuracy: float, bar: float) -> dict[str, Any]:
    """The constraint as `optuna.create_trial(system_attrs=...)` takes it: for trials that come from another study."""
    return {CONSTRAINTS: [violation(accuracy, bar)]}


def refusal(score: float, limit: float, bar: float) -> float:
    """The violation of a trial that is not trained because its score is above the study's limit.

    That of accuracy 0, and 1 more for every decade of score above the limit. So it ranks behind every trained network
    that misses the bar, and a sampler learns the way back below the limit. Told with the accuracy that it might have
    reached, it would pass for feasible and be preferred to all of them.

    Raises:
        StudyError: `score` is not above `limit`, or `limit` is not positive.
    """
    if not 0 < limit < score < math.inf:
        raise StudyError(f"A refused score must be above its limit {limit!r}, but got {score!r}.")
    return violation(0.0, bar) + math.log10(score / limit)


def is_feasible(trial: TrialRecord, bar: float) -> bool:
    """Whether the trial is complete and its accuracy is at or above `bar`, which need not be the study's own.

    A stopped trial never is: a bound is not an accuracy.
    """
    return trial.state is State.COMPLETE and trial.accuracy is not None and bar <= trial.accuracy <= 1
