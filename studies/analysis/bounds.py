"""Where the front presses against the space: values of its networks that lie on a bound, which may be worth widening.

From "Deep Learning Tuning Playbook" (Godbole et al. 2023): best points near a boundary call for a larger space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from slimfront.studies.record import TrialRecord

LEAST_SHARE = 0.5  # of the front's networks that have the parameter
NEAR = 0.02  # of a range of real numbers counts as its end
# What these mean is no matter of more or less: a wider space would not hold anything new.
_CLOSED = ("distillation", "bits.edges")


@dataclass(frozen=True)
class Edge:
    """A parameter that the front holds at its bound.

    Attributes:
        parameter: Its name in the trials.
        bound: The value.
        upper: Whether it is the largest that the space has.
        networks: Of the front, that lie on it.
        of: Networks of the front that have the parameter.
    """

    parameter: str
    bound: float
    upper: bool
    networks: int
    of: int

    def __str__(self) -> str:
        return f"widen {spoken(self.parameter)}: {self.networks} of {self.of} front networks at {self.bound:g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "parameter": self.parameter,
            "bound": self.bound,
            "upper": self.upper,
            "networks": self.networks,
            "of": self.of,
        }


def edges(networks: Sequence[TrialRecord]) -> list[Edge]:
    """Bounds that at least half, and at least two, of the front's networks lie on; the most frequent first."""
    values: dict[str, list[float]] = {}
    kinds: dict[str, BaseDistribution] = {}
    for trial in networks:
        for name, value in trial.parameters.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(name, []).append(value)
                kinds[name] = trial.distributions[name]
    found = []
    for name, some in values.items():
        limits = None if name.startswith(_CLOSED) else _limits(kinds[name])
        if limits is None:
            continue
        low, high = limits
        slack = NEAR * (high - low) if isinstance(kinds[name], FloatDistribution) else 0.0
        for bound, upper in ((high, True), (low, False)):
            if not upper and bound <= _least(name):
                continue  # there is nothing beyond it
            count = sum(abs(value - bound) <= slack for value in some)
            if count >= max(2, LEAST_SHARE * len(some)):
                found.append(Edge(name, bound, upper, count, len(some)))
    return sorted(found, key=lambda edge: (-edge.networks / edge.of, -edge.networks, edge.parameter))


def spoken(name: str) -> str:
    """A parameter's name for people: "residual.width.1" becomes "residual stage 2 width"."""
    *words, last = name.split(".")
    if last.isdigit():
        stage = f"stage {int(last) + 1}"
        return f"{stage} bits of {words[-1]}" if words[0] == "bits" else f"{words[0]} {stage} {words[-1]}"
    return name.replace(".", " ").replace("_", " ")


def _limits(kind: BaseDistribution) -> tuple[float, float] | None:
    """Smallest and largest value; None where there is no order, or no more than two values: a choice, not a range."""
    if isinstance(kind, CategoricalDistribution):
        numbers = [c for c in kind.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        return (min(numbers), max(numbers)) if len(numbers) == len(kind.choices) > 2 else None
    if isinstance(kind, IntDistribution | FloatDistribution) and kind.low < kind.high:
        return kind.low, kind.high
    return None


_LEAST: Mapping[str, float] = {"depth": 1, "weights": 1, "activations": 1, "head_width": 0, "expansion": 1, "stages": 1}


def _least(name: str) -> float:
    """The smallest value that any space could hold."""
    words = [word for word in name.split(".") if not word.isdigit()]
    return _LEAST.get(words[-1], 0.0)
