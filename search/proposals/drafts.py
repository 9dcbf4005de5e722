"""Candidates of a space without a study: drawn at random, with some parameters fixed, or asked of a sampler."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from slimfront.spaces import Candidate, CandidateError, Space
from slimfront.spaces.domain import Trial

Parameters = Mapping[str, Any]

REMEMBERED = 5000  # candidates


@dataclass(frozen=True)
class Draft:
    """A trial before it exists.

    Attributes:
        parameters: By name.
        distributions: Of the parameters, by name.
        candidate: What they come to.
        sampler: What the sampler wants to find again with the trial; {} for most.
    """

    parameters: Parameters
    distributions: Mapping[str, BaseDistribution]
    candidate: Candidate
    sampler: Mapping[str, Any] = field(default_factory=dict)


class Drafts:
    """Makes drafts of one space.

    Attributes:
        space: What can be chosen.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._candidates: dict[str, Candidate] = {}  # by what was drawn: small spaces propose the same again and again

    def drawn(self, chance: random.Random, fixed: Parameters | None = None) -> Draft | None:
        """Those in `fixed` as they are, where their distribution allows it, and the others at random.

        None: they make no candidate.
        """
        return self._draft(_Answers(fixed or {}, chance))

    def asked(self, trial: Trial) -> Draft | None:
        """What a trial of Optuna's, and so its sampler, chooses; None: that makes no candidate."""
        return self._draft(_Asking(trial))

    def given(self, parameters: Parameters) -> Draft:
        """Of these parameters and no others. Raises CandidateError, and KeyError for one that is missing."""
        answers = _Answers(parameters, None)
        candidate = Candidate.from_dict(self.space.draw(answers))
        return Draft(answers.parameters, answers.distributions, candidate)

    def _draft(self, answers: _Answers | _Asking) -> Draft | None:
        try:
            written = json.dumps(self.space.draw(answers))
            if written not in self._candidates:
                if len(self._candidates) >= REMEMBERED:
                    self._candidates.clear()
                self._candidates[written] = Candidate.from_dict(json.loads(written))
        except CandidateError:
            return None
        return Draft(answers.parameters, answers.distributions, self._candidates[written])


class _Noting:
    """Stands in for a trial while a space samples (`slimfront.spaces.space.Trial`), and notes what was chosen."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def _choose(self, name: str, kind: BaseDistribution) -> Any:
        raise NotImplementedError

    def _noted(self, name: str, kind: BaseDistribution) -> Any:
        value = self._choose(name, kind)
        self.parameters[name], self.distributions[name] = value, kind
        return value

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._noted(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._noted(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._noted(name, FloatDistribution(low, high, log=log, step=step)))


class _Answers(_Noting):
    """Given values, others at random; without `chance` there are no others."""

    def __init__(self, given: Parameters, chance: random.Random | None) -> None:
        super().__init__()
        self._given, self._chance = given, chance

    def _choose(self, name: str, kind: BaseDistribution) -> Any:
        if self._chance is None:
            return self._given[name]
        if name in self._given and allows(kind, self._given[name]):
            return self._given[name]
        return drawn(kind, self._chance)


class _Asking(_Noting):
    """Another trial's choices."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self._trial = trial

    def _choose(self, name: str, kind: BaseDistribution) -> Any:
        match kind:
            case CategoricalDistribution():
                return self._trial.suggest_categorical(name, kind.choices)
            case IntDistribution():
                return self._trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log)
            case FloatDistribution():
                return self._trial.suggest_float(name, kind.low, kind.high, step=kind.step, log=kind.log)
        raise TypeError(f"A distribution of kind {type(kind).__name__} cannot be asked for.")


def allows(kind: BaseDistribution, value: Any) -> bool:
    """Whether a parameter of this kind may have the value.

    >>> allows(IntDistribution(16, 64, step=16), 48), allows(CategoricalDistribution(["a", "b"]), "c")
    (True, False)
    """
    match kind:
        case CategoricalDistribution():
            return value in kind.choices
        case IntDistribution() | FloatDistribution():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return number and kind.low <= value <= kind.high
    return False


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
