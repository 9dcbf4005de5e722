"""The front: which trials are on it, and how much it is worth. Pure functions.

A trial is on the front if it is complete, its accuracy is at or above the bar, and no other such trial is at least as
accurate and at least as cheap. Low-fidelity results (stopped trials) never stand on it, nor do numbers that are not
finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from studies.constraint import is_feasible
from studies.record import accuracy_and_score

REFERENCE_SCORE = 1.99  # ResNet-18 in half precision
NEAREST = 3  # trials that are shown where nothing clears the bar

Point = tuple[float, float]  # (accuracy, score)


def non_dominated(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one beats, by ascending score; of equal points the first.

    Args:
        points: (accuracy, score) each: more accuracy is better, less score is better. Not NaN.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0], i))
    kept: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][0] > best:
            best = points[index][0]
            kept.append(index)
    return kept


def front(trials: Iterable[FrozenTrial], bar: float) -> list[FrozenTrial]:
    """The feasible, complete, non-dominated trials by ascending score, which is also ascending accuracy.

    Args:
        trials: Trials whose values are (accuracy, score); in any order and any state.
        bar: Least accuracy, a share in [0, 1]; exactly the bar counts.
    """
    eligible = sorted((t for t in trials if is_feasible(t, bar) and has_values(t)), key=lambda t: t.number)
    points = [(trial.values[0], trial.values[1]) for trial in eligible]
    return [eligible[index] for index in non_dominated(points)]


def has_values(trial: FrozenTrial) -> bool:
    """Whether a trial's values can be an accuracy, a share in [0, 1], and a score, finite and above 0.

    Another program may have added trials to a study, and meant percent or seconds by them.
    """
    if trial.values is None or len(trial.values) != 2:
        return False
    accuracy, score = map(float, trial.values)
    return 0 <= accuracy <= 1 and 0 < score < math.inf


def area(points: Iterable[Point], bar: float, reference: float = REFERENCE_SCORE) -> float:
    """Hypervolume of points: accuracy in percentage points above `bar` times decades of score below `reference`.

    A front of one network at 91 % with a hundredth of the reference's score is worth 1 * 2 = 2. Points below the bar
    or beyond the reference add nothing, dominated points neither.

    Args:
        points: (accuracy, score) each, score positive.
        bar: Least accuracy, a share in [0, 1].
        reference: The score at which an area ends.
    """
    inside = [point for point in points if point[0] >= bar and 0 < point[1] < reference]
    kept = [inside[index] for index in non_dominated(inside)]
    ends = [*(score for _, score in kept[1:]), reference][: len(kept)]  # no end without a network
    strips = (
        100 * (accuracy - bar) * (math.log10(end) - math.log10(score))
        for (accuracy, score), end in zip(kept, ends, strict=True)
    )
    return math.fsum(strips)


def hypervolume(trials: Iterable[FrozenTrial], bar: float, reference: float = REFERENCE_SCORE) -> float:
    """Hypervolume of the trials' front: `area` of its points. 0 for an empty one."""
    return area([(trial.values[0], trial.values[1]) for trial in front(trials, bar)], bar, reference)


def nearest(trials: Iterable[FrozenTrial], count: int = NEAREST) -> list[FrozenTrial]:
    """The most accurate complete trials, feasible or not; of equally accurate ones the cheapest first."""
    usable = [trial for trial in trials if trial.state == TrialState.COMPLETE and has_values(trial)]
    return sorted(usable, key=lambda t: (-t.values[0], t.values[1], t.number))[:count]


def row(trial: FrozenTrial) -> dict[str, Any]:
    """One network in a summary: where it stands, what its score is made of, and how to find it again."""
    accuracy, score = accuracy_and_score(trial)
    stored = trial.user_attrs.get("score")
    table: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    return {
        "trial": trial.number,
        "digest": trial.user_attrs.get("digest"),
        "accuracy": accuracy,
        "score": score,
        "score_params": table.get("score_params"),
        "score_ops": table.get("score_ops"),
        "strict_score": table.get("strict_score"),
    }


def counts(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """Trials by state, under the names of the command line."""
    names = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    found = dict.fromkeys(names.values(), 0)
    for trial in trials:
        found[names[trial.state]] += 1
    return found
