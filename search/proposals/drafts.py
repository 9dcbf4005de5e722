"""Asking samplers what they would choose, as often as one likes, without a trace in the study."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from slimfront.spaces import Candidate, CandidateError, Space
from slimfront.studies.window import WindowedTPE

Parameters = Mapping[str, Any]

REMEMBERED = 5000  # candidates


class Quiet:
    """A study to samplers that draw and leave no trace: TPE would note every draw in the trial."""

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._storage = study, _QuietStorage(study._storage)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


class _QuietStorage:
    def __init__(self, storage: Any) -> None:
        self._kept = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if not key.startswith("tpe:"):
            self._kept.set_trial_system_attr(trial_id, key, value)


def drawn(kind: BaseDistribution, chance: random.Random) -> Any:
    """A value at random, as Optuna's RandomSampler draws, whose preparations take longer than the drawing.

    >>> drawn(IntDistribution(16, 64, step=16), random.Random(0)) in (16, 32, 48, 64)
    True
    """
    match kind:
        case CategoricalDistribution():
            return chance.choice(kind.choices)
        case IntDistribution(log=False):
            return chance.randrange(kind.low, kind.high + 1, kind.step)
        case IntDistribution():
            near = round(math.exp(chance.uniform(math.log(kind.low - 0.5), math.log(kind.high + 0.5))))
            return min(max(near, kind.low), kind.high)
        case FloatDistribution(step=None):
            low, high = (math.log(kind.low), math.log(kind.high)) if kind.log else (kind.low, kind.high)
            value = chance.uniform(low, high)
            return min(max(math.exp(value) if kind.log else value, kind.low), kind.high)
        case FloatDistribution():
            assert kind.step is not None
            return min(
                kind.low + kind.step * chance.randrange(round((kind.high - kind.low) / kind.step) + 1), kind.high
            )
    raise TypeError(f"A distribution of kind {type(kind).__name__} cannot be drawn from.")


@dataclass
class Known:
    """What stays the same in one space, whoever asks.

    Attributes:
        candidates: By what was drawn: small spaces propose the same again and again.
        distributions: Of the parameters, by name.
    """

    candidates: dict[str, Candidate] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)


class Asking:
    """Asks samplers for parameters without storing anything."""

    def __init__(self, study: Any, trial: FrozenTrial, space: Space, known: Known, chance: random.Random) -> None:
        self._study, self._trial, self._space, self._known, self._chance = study, trial, space, known, chance
        self._spaces: dict[int, dict[str, BaseDistribution]] = {}

    def __call__(self, sampler: BaseSampler | None, fixed: Parameters) -> tuple[Parameters, Candidate] | None:
        """Parameters and their candidate, those in `fixed` as they are; None: they make no candidate.

        Without a sampler the others are drawn at random.
        """
        together: Callable[[str], Parameters] | None = None
        independent: Callable[[str, BaseDistribution], Any] = self._draw
        if sampler is not None:
            together = self._together(sampler, fixed)
            independent = partial(sampler.sample_independent, self._study, self._trial)
        draft = _Draft(fixed, together, independent, self._known.distributions)
        met = self._known.candidates
        try:
            written = json.dumps(self._space.draw(draft))
            if written not in met:
                if len(met) >= REMEMBERED:
                    met.clear()
                met[written] = Candidate.from_dict(json.loads(written))
            candidate = met[written]
        except CandidateError:
            return None
        return draft.parameters, candidate

    def _together(self, sampler: BaseSampler, fixed: Parameters) -> Callable[[str], Parameters]:
        """Gives values for all parameters that the sampler models together with one, for that one at least."""
        if isinstance(sampler, WindowedTPE):  # group by group, as a candidate has parameters of few of them
            return partial(sampler.sample_group, self._study, self._trial)
        if id(sampler) not in self._spaces:
            self._spaces[id(sampler)] = sampler.infer_relative_search_space(self._study, self._trial)
        wanted = {name: kind for name, kind in self._spaces[id(sampler)].items() if name not in fixed}
        found = sampler.sample_relative(self._study, self._trial, wanted) if wanted else {}
        return lambda _: found

    def _draw(self, name: str, kind: BaseDistribution) -> Any:
        return drawn(kind, self._chance)


@dataclass
class _Draft:
    """Stands in for a trial while a space samples (`slimfront.spaces.space.Trial`)."""

    fixed: Parameters
    together: Callable[[str], Parameters] | None  # what the sampler gives at once, by one of the names
    independent: Callable[[str, BaseDistribution], Any]
    distributions: dict[str, BaseDistribution]  # that are known already
    parameters: dict[str, Any] = field(default_factory=dict)
    relative: dict[str, Any] = field(default_factory=dict)

    def _suggest(self, name: str, make: Callable[[], BaseDistribution]) -> Any:
        kind = self.distributions.get(name)
        if kind is None:
            kind = self.distributions[name] = make()
        if name in self.fixed and kind._contains(kind.to_internal_repr(self.fixed[name])):
            value = self.fixed[name]
        else:
            if self.together is not None and name not in self.relative:
                self.relative |= self.together(name)
            value = self.relative[name] if name in self.relative else self.independent(name, kind)
        self.parameters[name] = value
        return value

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._suggest(name, lambda: CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._suggest(name, lambda: IntDistribution(low, high, log=log, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._suggest(name, lambda: FloatDistribution(low, high, log=log, step=step)))
