"""What a step of pruning was asked for, what it did, and by how much the two differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LayerCount:
    """Filters or weights of one layer: before, after, and after if the ratio could be met exactly (a fraction).

    `asked` is None where only the sum over the network was asked for (scope "global").
    """

    name: str
    before: int
    after: int
    asked: float | None


@dataclass(frozen=True)
class Report:
    """The outcome of one step.

    Attributes:
        granularity: "filters" or "weights": the unit of all counts.
        layers: Counts by layer.
        asked: How many should have been removed in all, unrounded.
        lump: How many can only go together: 1, or the largest number of filters that several layers lose at once.
        size: How many of one layer can only go together: 1, or the channels of a convolution's largest group.
        left: Layers of a network of the user's own whose filters cannot go, and why; they are in no count.
    """

    granularity: str
    layers: tuple[LayerCount, ...]
    asked: float
    lump: int = 1
    size: int = 1
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def before(self) -> int:
        """How many there were."""
        return sum(layer.before for layer in self.layers)

    @property
    def removed(self) -> int:
        """How many are gone."""
        return self.before - sum(layer.after for layer in self.layers)

    @property
    def ratio(self) -> float:
        """Share that is gone; 0 where there was nothing."""
        return self.removed / self.before if self.before else 0.0

    @property
    def asked_ratio(self) -> float:
        """Share that should have gone."""
        return self.asked / self.before if self.before else 0.0

    @property
    def met(self) -> bool:
        """Whether what was asked was done, to one weight, or to one filter a layer."""
        by_layer = [abs(layer.after - layer.asked) for layer in self.layers if layer.asked is not None]
        if by_layer:
            return max(by_layer) <= self.size
        return abs(self.removed - self.asked) <= self.lump

    @property
    def message(self) -> str:
        """One line for a reader."""
        unit = self.granularity
        text = (
            f"{self.removed:,} of {self.before:,} {unit} removed ({self.ratio:.2%}; asked for {self.asked_ratio:.2%})"
        )
        left = "".join(f" {name} is not cut: {reason}." for name, reason in self.left.items())
        if self.met:
            return f"{text}.{left}"
        kept = [layer.name for layer in self.layers if layer.after <= 1 and layer.before > layer.after]
        reason = f"; {len(kept)} of {len(self.layers)} layers are down to their last one" if kept else ""
        direction = "too few" if self.removed < self.asked else "too many"
        return f"{text}: {abs(self.asked - self.removed):,.0f} {direction}{reason}.{left}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        derived = {"before": self.before, "removed": self.removed, "ratio": self.ratio, "met": self.met}
        return {**asdict(self), **derived, "asked_ratio": self.asked_ratio, "message": self.message}


def rounded(value: float) -> int:
    """To the nearest whole number, halves up: at most half a weight off, and never falling where `value` rises."""
    return int(value + 0.5)


def compare(
    granularity: str,
    before: Mapping[str, int],
    after: Mapping[str, int],
    ratios: Mapping[str, float],
    *,
    by_layer: bool,
    lump: int = 1,
    size: int = 1,
) -> Report:
    """The report on a step.

    Args:
        granularity: "filters" or "weights".
        before: Counts by layer when the step began.
        after: Counts by layer now.
        ratios: Share asked of each layer.
        by_layer: Whether each layer had to give its own share, or only all of them together.
        lump: How many can only go together.
        size: How many of one layer.
    """

    def counts() -> Iterable[LayerCount]:
        for name, count in before.items():
            asked = count * (1 - ratios[name]) if by_layer else None
            yield LayerCount(name, count, after[name], asked)

    asked = sum(count * ratios[name] for name, count in before.items())
    return Report(granularity, tuple(counts()), asked, lump, size)
