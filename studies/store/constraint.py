"""Feasibility: the one module that says, and tells everybody, which trials clear the bar and keep to the bounds.

The constraint is one number, `bar - accuracy`: zero or less is feasible, more says by how much a trial misses. One that
breaks a bound of its study misses by decades of that cost, besides. Optuna's
samplers and `study.best_trials` read constraints in two formats, optuna-dashboard only in the older one: the list under
the trial's system attribute "constraints". So the list is what is written here, and nothing else anywhere else.

Differences of floating-point numbers are exact about their sign (x - y is zero only where x equals y), so a network at
exactly the bar is feasible: 4,500 right of 5,000 is 0.9. That needs accuracies as ratios of integers in double
precision; a float32 mean of the same hits is 0.89999998, and is refused by its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slimfront.evaluators.scoring.cost import excess, over
from slimfront.evaluators.scoring.costs.score import SCORE
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


def judged_violation(trial: TrialRecord, accuracy: float, bar: float) -> float:
    """By how much a trial with that accuracy misses the bar and the study's bounds: a decade above one counts 1."""
    missed = violation(accuracy, bar)
    return max(0.0, missed) + excess(costs_of(trial), trial.over) if trial.over else missed


def refusal(costs: Mapping[str, float], limits: Mapping[str, float], bar: float) -> float:
    """The violation of a trial that is not trained because some of its costs are above their limits, both by name.

    That of accuracy 0, and 1 more for every decade of a cost above its limit. So it ranks behind every trained network
    that misses the bar, and a sampler learns the way back below the limit. Told with the accuracy that it might have
    reached, it would pass for feasible and be preferred to all of them.

    Raises:
        StudyError: None of the costs is above its limit, or a limit is not positive.
    """
    broken = over(costs, limits)
    if not broken or min(broken.values()) <= 0:
        raise StudyError(f"A refused trial must be above its limit {dict(limits)!r}, but has {dict(costs)!r}.")
    return violation(0.0, bar) + excess(costs, broken)


def costs_of(trial: TrialRecord) -> dict[str, float]:
    """All that is known of what it costs, by name, the score among it."""
    return {**trial.costs, **({} if trial.score is None else {SCORE.name: trial.score})}


def is_feasible(trial: TrialRecord, bar: float) -> bool:
    """Whether the trial is complete, within its study's bounds, and at or above `bar`, which need not be the study's.

    A stopped trial never is: what it could have reached is not what it has reached.
    """
    complete = trial.state is State.COMPLETE and not trial.over
    return complete and trial.accuracy is not None and bar <= trial.accuracy <= 1
