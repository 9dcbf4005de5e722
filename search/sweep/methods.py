"""What a sweep shows of its methods, and those that it has by default.

A method that says nothing of its colour or title has one all the same, and so has one that is only known by its name:
a user's own, of which the journal has points, but which was not given to this command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from slimfront.spaces.criteria import METHODS
from slimfront.spaces.methods import control_of

# Colours of Okabe and Ito, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("v", "P", "X", "D", "^", "s", "o")


@dataclass(frozen=True)
class Shown:
    """A method in pictures and tables.

    Attributes:
        title: In a legend.
        granularity: "weights" or "filters".
        colour: Of its line.
        marker: Of its points.
        control: Name of the method that it has to beat; None for a control.
    """

    title: str
    granularity: str
    colour: str
    marker: str
    control: str | None


def default_methods() -> tuple[str, ...]:
    """Names of the methods of a sweep that is told none: the controls last."""
    return tuple(method.name for method in sorted(METHODS, key=lambda method: method.is_control) if method.in_sweep)


def shown(points: Iterable[Mapping[str, Any]]) -> dict[str, Shown]:
    """The methods of a sweep's points by name: the product's own in their order, then the others as they come."""
    kinds = {str(point["method"]): str(point.get("granularity", "")) for point in points}
    names = [name for name in METHODS.names if name in kinds]
    return {name: _shown(name, kinds[name], number) for number, name in enumerate(dict.fromkeys([*names, *kinds]))}


def _shown(name: str, granularity: str, number: int) -> Shown:
    method = METHODS.find(name)
    if method is not None:
        granularity = method.granularity
    is_control = method is not None and method.is_control
    return Shown(
        title=(method.title if method is not None else "") or name,
        granularity=granularity,
        colour=(method.colour if method is not None else "") or COLOURS[number % len(COLOURS)],
        marker=(method.marker if method is not None else "") or MARKERS[number % len(MARKERS)],
        control=None if is_control else control_of(granularity).name,
    )
