"""What the default sampler learns from: the best trials and the latest, at most five hundred of them.

TPE models good trials and all others apart, in our conditional space once for each group of parameters, and every model
takes in every trial: seconds for each proposal where a study has ten thousand. What it calls good are never more than
25 trials, and of the others it gives old ones little weight. So nothing is lost by showing it the best trials and the
latest, and a proposal takes the same time from the five hundredth trial on. (benchmarks/sampler_window.py compares
both.)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from slimfront.studies.store.constraint import CONSTRAINTS

Distributions = dict[str, BaseDistribution]

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)  # what groups of parameters are worked out from, as Optuna does

MOST = 500  # finished trials that the sampler is shown
BEST = 0.1  # share of them that is chosen for being good; TPE calls a tenth good, and never more than 25


Rows = NDArray[np.float64]
"""(trials, 5): place, violation, whether it is complete, accuracy, score."""


class Window:
    """Chooses the trials to learn from, of a study that grows: an ended trial is looked at once.

    Args:
        most: Finished trials in the window; MOST where None.
        best: Share of them that is there for being good; the others are the latest.
    """

    def __init__(self, most: int | None = None, best: float = BEST) -> None:
        self._most, self._best = MOST if most is None else most, best
        self._known = 0  # trials before this place have all ended, and are taken in
        self._beyond: set[int] = set()  # places of later ones that are taken in
        self._rows: Rows = np.empty((0, 5))  # by place
        self._kinds: frozenset[frozenset[str]] = frozenset()
        self._groups: Mapping[str, Distributions] = {}
        self._values: dict[Hashable, dict[int, tuple[Any, ...]]] = defaultdict(dict)

    def of(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """All that run, the best and the latest finished ones, in the order of `trials`.

        Args:
            trials: Of a study whose values are (accuracy, score), by number; those of the last call, and new ones.
                Failed and waiting ones are left out.
        """
        running = self._look(trials)
        places = self._rows[:, 0].astype(int)
        latest = places[-self._most :].tolist()
        chosen = set(latest if len(places) <= self._most else _best(self._rows, math.ceil(self._best * self._most)))
        for place in reversed(latest):
            if len(chosen) >= self._most:
                break
            chosen.add(place)
        return [trials[place] for place in sorted([*chosen, *running])]

    def _look(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """Take in what has ended; returns the places of the running ones."""
        running, ended, fresh = [], [], []
        for place in range(self._known, len(trials)):
            trial = trials[place]
            if trial.state == TrialState.RUNNING:
                running.append(place)
            elif trial.state.is_finished() and place not in self._beyond:
                ended.append(place)
                if trial.state != TrialState.FAIL:
                    missed = sum(max(0.0, value) for value in trial.system_attrs.get(CONSTRAINTS, ()))
                    complete = trial.state == TrialState.COMPLETE
                    accuracy, score = trial.values if complete else (0.0, 0.0)
                    fresh.append((place, missed, complete, accuracy, score))
        if fresh:
            rows = np.concatenate([self._rows, np.array(fresh, float)])
            self._rows = rows[np.argsort(rows[:, 0], kind="stable")]
        self._beyond.update(ended)
        while self._known in self._beyond:
            self._beyond.remove(self._known)
            self._known += 1
        return running

    def groups(
        self, kinds: Collection[frozenset[str]], find: Callable[[], Iterable[Distributions]]
    ) -> Mapping[str, Distributions]:
        """Parameters by the group that they are modelled in, each of `find()`; asked again when other kinds are there.

        Args:
            kinds: Sets of parameters that trials of the window have: the groups follow from them.
            find: Gives the groups.
        """
        if self._kinds != frozenset(kinds):
            self._groups = {name: group for group in find() for name in group}
            self._kinds = frozenset(kinds)
        return self._groups

    def values(self, names: Hashable) -> dict[int, tuple[Any, ...]]:
        """A place to keep the values that ended trials have for some parameters, by number; emptied now and then."""
        kept = self._values[names]
        if len(kept) > 4 * self._most:
            kept.clear()
        return kept


def window(trials: Sequence[FrozenTrial], most: int | None = None, best: float = BEST) -> list[FrozenTrial]:
    """`Window.of` for trials that are looked at once."""
    return Window(most, best).of(trials)


def _best(rows: Rows, count: int) -> list[int]:
    """Places as TPE ranks: feasible and complete ones front by front, then feasible stopped ones, then by violation."""
    place, missed, complete, accuracy, score = rows.T
    place = place.astype(int)
    feasible = missed <= 0
    left = np.flatnonzero(feasible & (complete > 0))
    left = left[np.lexsort((left, -accuracy[left], score[left]))]  # by ascending score
    found: list[int] = []
    while len(left) and len(found) < count:
        # Not dominated: more accurate than all that are cheaper.
        before = np.concatenate(([-np.inf], np.maximum.accumulate(accuracy[left])[:-1]))
        in_front = accuracy[left] > before
        found += sorted(place[left[in_front]].tolist())
        left = left[~in_front]
    found += place[feasible & (complete == 0)][: max(0, count - len(found))].tolist()
    others = np.flatnonzero(~feasible)
    others = others[np.argsort(missed[others], kind="stable")]
    return [*found, *place[others][: max(0, count - len(found))].tolist()][:count]


class Shown:
    """A study as a sampler sees it: everything is the study's own, but for its trials, which are those given here.

    Args:
        study: The study.
        trials: By number.
    """

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

    _shown: Shown | None = None
    _by_name: Mapping[str, Distributions] | None = None  # groups of parameters

    def __init__(self, *, window: Window | None = None, **options: Any) -> None:
        """`window`: the study's, where several samplers follow each other; the other options are TPESampler's."""
        super().__init__(**options)
        self._window = window if window is not None else Window()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """See optuna.samplers.BaseSampler."""
        self._shown = None
        super().before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See optuna.samplers.BaseSampler."""
        shown = self._look(study)
        # Which groups there are follows from which parameters occur together; one trial of each kind tells.
        kinds = {frozenset(seen.distributions): seen for seen in reversed(shown._get_trials(states=_ENDED))}
        some: Any = Shown(study, list(reversed(kinds.values())))
        return super().infer_relative_search_space(some, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See optuna.samplers.BaseSampler."""
        shown: Any = self._look(study)
        return super().sample_relative(shown, trial, search_space)

    def sample_group(self, study: Study, trial: FrozenTrial, name: str) -> dict[str, Any]:
        """Values for the parameters that are modelled together with `name`; {} where it is in no group, or too early.

        What `sample_relative` gives for all groups, whether or not a candidate has such parameters.
        """
        shown: Any = self._look(study)
        wanted = self._groups(study, trial).get(name)
        return self._sample_relative(shown, trial, wanted) if wanted else {}

    def _groups(self, study: Study, trial: FrozenTrial) -> Mapping[str, Distributions]:
        shown = self._look(study)
        if self._by_name is None:

            def find() -> Iterable[Distributions]:
                self.infer_relative_search_space(study, trial)
                assert self._search_space_group is not None
                for space in self._search_space_group.search_spaces:
                    yield {name: kind for name, kind in sorted(space.items()) if not kind.single()}

            ended = shown._get_trials(states=_ENDED)
            self._by_name = self._window.groups({frozenset(seen.distributions) for seen in ended}, find)
        return self._by_name

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See optuna.samplers.BaseSampler."""
        shown: Any = self._look(study)
        return super().sample_independent(shown, trial, param_name, param_distribution)

    def _look(self, study: Study) -> Shown:
        if self._shown is None:
            self._shown = Shown(study, self._window.of(study._get_trials(deepcopy=False)))
            self._good_and_other: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None
            self._models: dict[frozenset[str], tuple[_ParzenEstimator, _ParzenEstimator]] = {}
            self._by_name = None
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

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, NDArray[Any]]:
        """As Optuna's, which reads every trial of the window anew each time; here an ended one is read once."""
        known = self._window.values(tuple(search_space))
        rows = []
        for trial in trials:
            row = known.get(trial.number)
            if row is None:
                own = super()._get_internal_repr([trial], search_space, study)
                row = tuple(value for values in own.values() for value in values.tolist())  # (): it lacks one
                if trial.state.is_finished():
                    known[trial.number] = row
            if row:
                rows.append(row)
        return {name: np.asarray([row[place] for row in rows]) for place, name in enumerate(search_space)}

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
