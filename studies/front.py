"""The front: which trials are on it, and how much it is worth. Pure functions.

A trial is on the front if it is complete, its accuracy is at or above the bar, its costs are within the study's bounds,
and no other such trial is at least as accurate and at least as cheap. Low-fidelity results (stopped trials) never stand
on it, nor do numbers that are not finite.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.constraint import is_feasible

NEAREST = 3  # trials that are shown where nothing clears the bar
_KEYS = {State.STOPPED: "pruned"}  # in JSON, where the word has to stay

Point = tuple[float, float]  # (accuracy, cost)


def non_dominated(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one beats, by ascending cost; of equal points the first.

    Args:
        points: (accuracy, cost) each: more accuracy is better, less cost is better. Not NaN.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0], i))
    kept: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][0] > best:
            best = points[index][0]
            kept.append(index)
    return kept


def front(trials: Iterable[TrialRecord], bar: float) -> list[TrialRecord]:
    """The feasible, complete, non-dominated trials by ascending cost, which is also ascending accuracy.

    Args:
        trials: In any order and any state.
        bar: Least accuracy, a share in [0, 1]; exactly the bar counts.
    """
    eligible = sorted((t for t in trials if is_feasible(t, bar) and t.is_located), key=lambda t: t.number)
    return [eligible[index] for index in non_dominated([trial.point for trial in eligible])]


def area(points: Iterable[Point], bar: float, reference: float = SCORE.corner) -> float:
    """Hypervolume of points: accuracy in percentage points above `bar` times decades of cost below `reference`.

    A front of one network at 91 % with a hundredth of the reference's cost is worth 1 * 2 = 2. Points below the bar
    or beyond the reference add nothing, dominated points neither.

    Args:
        points: (accuracy, cost) each, cost positive.
        bar: Least accuracy, a share in [0, 1].
        reference: The cost at which an area ends.
    """
    inside = [point for point in points if point[0] >= bar and 0 < point[1] < reference]
    kept = [inside[index] for index in non_dominated(inside)]
    ends = [*(cost for _, cost in kept[1:]), reference][: len(kept)]  # no end without a network
    strips = (
        100 * (accuracy - bar) * (math.log10(end) - math.log10(cost))
        for (accuracy, cost), end in zip(kept, ends, strict=True)
    )
    return math.fsum(strips)


def hypervolume(trials: Iterable[TrialRecord], bar: float, reference: float = SCORE.corner) -> float:
    """Hypervolume of the trials' front: `area` of its points. 0 for an empty one."""
    return area([trial.point for trial in front(trials, bar)], bar, reference)


def nearest(trials: Iterable[TrialRecord], count: int = NEAREST) -> list[TrialRecord]:
    """The most accurate complete trials, feasible or not; of equally accurate ones the cheapest first."""
    usable = [trial for trial in trials if trial.state is State.COMPLETE and trial.is_located]
    return sorted(usable, key=lambda t: (-t.point[0], t.point[1], t.number))[:count]


def row(trial: TrialRecord) -> dict[str, Any]:
    """One network in a summary: where it stands, what its score is made of, and how to find it again.

    Where its study keeps another cost low, `cost` is that; `costs` are those that are recorded besides.
    """
    beside = {name: value for name, value in trial.costs.items() if name != trial.objective}
    return {
        "trial": trial.number,
        "digest": trial.digest,
        "accuracy": trial.accuracy,
        "score": trial.score,
        "score_params": trial.totals.get("score_params"),
        "score_ops": trial.totals.get("score_ops"),
        "strict_score": trial.totals.get("strict_score"),
        **({"cost": trial.cost} if trial.objective else {}),
        **({"costs": beside} if beside else {}),
    }


def counts(trials: Iterable[TrialRecord]) -> dict[str, int]:
    """Trials by state, under the names of JSON output."""
    order = (State.COMPLETE, State.STOPPED, State.FAILED, State.RUNNING, State.WAITING)
    found = Counter(trial.state for trial in trials)
    return {_KEYS.get(state, state.value): found[state] for state in order}
