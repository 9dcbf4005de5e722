"""What the default sampler learns from: the best trials and the latest, at most five hundred of them.

TPE models good trials and all others apart, in our conditional space once for each group of parameters, and every model
takes in every trial: seconds for each proposal where a study has ten thousand. What it calls good are never more than
25 trials, and of the others it gives old ones little weight. So nothing is lost by showing it the best trials and the
latest, and a proposal takes the same time from the five hundredth trial on. (benchmarks/sampler_window.py compares
both.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from studies.constraint import CONSTRAINTS
from studies.front import non_dominated

MOST = 500  # finished trials that the sampler is shown
BEST = 0.1  # share of them that is chosen for being good; TPE calls a tenth good, and never more than 25


def window(trials: Sequence[FrozenTrial], most: int | None = None, best: float = BEST) -> list[FrozenTrial]:
    """The trials to learn from, in the order of `trials`: all that run, the best and the latest finished ones.

    Args:
        trials: Of a study whose values are (accuracy, score), by number; failed and waiting ones are left out.
        most: Finished trials in the window; MOST where None.
        best: Share of them that is there for being good; the others are the latest.
    """
    most = MOST if most is None else most
    finished = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    if len(finished) <= most:
        chosen = {trial.number for trial in finished}
    else:
        chosen = {trial.number for trial in _best(finished, math.ceil(best * most))}
        for trial in reversed(finished):
            if len(chosen) >= most:
                break
            chosen.add(trial.number)
    return [trial for trial in trials if trial.number in chosen or trial.state == TrialState.RUNNING]


def _best(finished: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """As TPE ranks: feasible and complete ones front by front, then feasible stopped ones, then by their violation."""
    complete: list[FrozenTrial] = []
    stopped: list[FrozenTrial] = []
    infeasible: list[tuple[float, int, FrozenTrial]] = []
    for trial in finished:
        missed = sum(max(0.0, value) for value in trial.system_attrs.get(CONSTRAINTS, ()))
        if missed > 0:
            infeasible.append((missed, trial.number, trial))
        else:
            (complete if trial.state == TrialState.COMPLETE else stopped).append(trial)
    found: list[FrozenTrial] = []
    while complete and len(found) < count:
        front = set(non_dominated([(trial.values[0], trial.values[1]) for trial in complete]))
        found += [trial for index, trial in enumerate(complete) if index in front]
        complete = [trial for index, trial in enumerate(complete) if index not in front]
    found += stopped[: max(0, count - len(found))]
    infeasible.sort(key=lambda entry: entry[:2])
    return (found + [trial for *_, trial in infeasible[: max(0, count - len(found))]])[:count]


class _Shown:
    """A study as the sampler sees it: everything is the study's own, but its trials are the window's."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


class WindowedTPE(TPESampler):
    """Optuna's TPE sampler, shown the window of a study as it is when a trial begins to be sampled.

    What it is asked for one trial, however often and in how many groups of parameters, comes from models that are
    fitted once: Optuna's own fits them anew for every group and at every question.
    """

    _shown: _Shown | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See optuna.samplers.BaseSampler."""
        self._shown = None
        super().before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See optuna.samplers.BaseSampler."""
        shown = self._look(study)
        # Which groups there are follows from which parameters occur together; one trial of each kind tells.
        kinds = {frozenset(seen.distributions): seen for seen in reversed(shown._get_trials())}
        some: Any = _Shown(study, list(reversed(kinds.values())))
        return super().infer_relative_search_space(some, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See optuna.samplers.BaseSampler."""
        shown: Any = self._look(study)
        return super().sample_relative(shown, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See optuna.samplers.BaseSampler."""
        shown: Any = self._look(study)
        return super().sample_independent(shown, trial, param_name, param_distribution)

    def _look(self, study: Study) -> _Shown:
        if self._shown is None:
            self._shown = _Shown(study, window(study._get_trials(deepcopy=False)))
            self._good_and_other: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None
            self._models: dict[frozenset[str], tuple[_ParzenEstimator, _ParzenEstimator]] = {}
        return self._shown

    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """As Optuna's: of some draws from the model of good trials the one that the other model makes least likely."""
        names = frozenset(search_space)
        if names not in self._models:
            self._models[names] = self._fit(study, trial, search_space)
        good, other = self._models[names]
        draws = good.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(draws, self._compute_acquisition_func(draws, good, other))
        return {name: kind.to_external_repr(chosen[name]) for name, kind in search_space.items()}

    def _fit(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> tuple[_ParzenEstimator, _ParzenEstimator]:
        if self._good_and_other is None:
            states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
            trials = [seen for seen in study._get_trials(states=states) if seen.number != trial.number]
            ended = sum(seen.state != TrialState.RUNNING for seen in trials)
            self._good_and_other = _split_trials(study, trials, default_gamma_multiobjective(ended))
        good, other = self._good_and_other
        return (
            self._build_parzen_estimator(study, search_space, good, handle_below=True),
            self._build_parzen_estimator(study, search_space, other, handle_below=False),
        )
