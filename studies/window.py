"""What the default sampler learns from: the best trials and the latest, at most a thousand of them.

TPE models good trials and all others apart, in our conditional space once for each group of parameters, and every model
takes in every trial: seconds for each proposal where a study has ten thousand. What it calls good are never more than
25 trials, and of the others it gives old ones little weight. So nothing is lost by showing it the best trials and the
latest, and a proposal takes the same time from the thousandth trial on. (benchmarks/NOTES.md has the measurement.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from studies.constraint import CONSTRAINTS
from studies.front import non_dominated

MOST = 1000  # finished trials that the sampler is shown
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
    """Optuna's TPE sampler, shown the window of a study as it is when a trial begins to be sampled."""

    _shown: _Shown | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See optuna.samplers.BaseSampler."""
        self._shown = None
        super().before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See optuna.samplers.BaseSampler."""
        return super().infer_relative_search_space(self._look(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See optuna.samplers.BaseSampler."""
        return super().sample_relative(self._look(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See optuna.samplers.BaseSampler."""
        return super().sample_independent(self._look(study), trial, param_name, param_distribution)

    def _look(self, study: Study) -> Study:
        if self._shown is None:
            self._shown = _Shown(study, window(study._get_trials(deepcopy=False)))
        return self._shown  # type: ignore[return-value]
