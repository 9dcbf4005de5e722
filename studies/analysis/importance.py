"""Which parameters matter: how much of the differences between feasible trials each of them explains.

As long as few trials reach the bar, all complete ones are looked at instead, and the result says so.

A random forest (Breiman 2001) predicts accuracy and the logarithm of the score from the parameters; a parameter's
importance is its share of the variance that the trees' splits explain. Parameters that a trial does not have, as in
other families, are a value of their own: conditional spaces are understood, which Optuna's evaluators leave out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.constraint import is_feasible

LEAST_TRIALS = 10
MOST_TRIALS = 1000  # the latest
MOST_COLUMNS = 300  # of features: a space of ours has a third of them
TREES = 64


@dataclass(frozen=True)
class Importance:
    """What `importances` found.

    Attributes:
        shares: (of accuracy, of score) by parameter, the most important first; each column sums to 1. Empty with fewer
            than LEAST_TRIALS trials, or where nothing differs.
        trials: Number of trials behind it.
        feasible: Whether these are the trials that reach the bar; otherwise all complete ones.
    """

    shares: dict[str, tuple[float, float]]
    trials: int = 0
    feasible: bool = False

    @property
    def among(self) -> str:
        """Whose differences were explained, in words: "among the 17 trials that reach the bar"."""
        if self.feasible:
            return f"among the {self.trials} trials that reach the bar"
        return f"among all {self.trials} complete trials: fewer than {LEAST_TRIALS} reach the bar"


def importances(trials: Sequence[TrialRecord], bar: float) -> Importance:
    """What each parameter explains of accuracy and score among the trials with at least `bar` accuracy."""
    usable = [trial for trial in trials if trial.state is State.COMPLETE and trial.is_located and trial.parameters]
    good = [trial for trial in usable if is_feasible(trial, bar)]
    feasible = len(good) >= LEAST_TRIALS
    usable = (good if feasible else usable)[-MOST_TRIALS:]
    if len(usable) < LEAST_TRIALS:
        return Importance({})
    names = sorted({name for trial in usable for name in trial.parameters})
    columns, owners = _columns(usable, names)
    if not owners:
        return Importance({})
    accuracy = _shares(columns, owners, np.array([trial.point[0] for trial in usable]))
    score = _shares(columns, owners, np.log([trial.point[1] for trial in usable]))
    found = {name: (accuracy.get(name, 0.0), score.get(name, 0.0)) for name in dict.fromkeys(owners)}
    shares = dict(sorted(found.items(), key=lambda entry: (-max(entry[1]), entry[0])))
    return Importance(shares, len(usable), feasible)


def _columns(trials: Sequence[TrialRecord], names: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Features (trials, columns) and the parameter that each column belongs to; constant columns are left out."""
    columns: list[list[float]] = []
    owners: list[str] = []
    for name in names[:MOST_COLUMNS]:
        kinds = [trial.distributions[name] for trial in trials if name in trial.distributions]
        for column in _features([trial.parameters.get(name) for trial in trials], kinds):
            if len(set(column)) > 1 and len(owners) < MOST_COLUMNS:
                columns.append(column)
                owners.append(name)
    return np.array(columns).T, owners


def _features(values: Sequence[Any], kinds: Sequence[BaseDistribution]) -> list[list[float]]:
    """A column for a number, one for each choice of a category; none where trials do not agree which of both it is."""
    if isinstance(kinds[0], CategoricalDistribution):
        choices = kinds[0].choices if len(kinds[0].choices) <= MOST_COLUMNS else ()
        return [[float(value == choice) for value in values] for choice in choices]
    if any(isinstance(kind, CategoricalDistribution) for kind in kinds):
        return []
    log = all(bool(getattr(kind, "log", False)) for kind in kinds)
    numbers = [math.nan if v is None else math.log(float(v)) if log else float(v) for v in values]
    least = np.nanmin(numbers)
    return [[least - 1 if math.isnan(v) else v for v in numbers]]


def _shares(columns: NDArray[np.float64], owners: Sequence[str], target: NDArray[np.float64]) -> dict[str, float]:
    from sklearn.ensemble import RandomForestRegressor

    if np.ptp(target) == 0:
        return {}
    forest = RandomForestRegressor(TREES, random_state=0, min_samples_leaf=2).fit(columns, target)
    shares: dict[str, float] = {}
    for owner, share in zip(owners, forest.feature_importances_, strict=True):
        shares[owner] = shares.get(owner, 0.0) + float(share)
    return shares
