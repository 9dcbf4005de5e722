"""A cost: a number of a finished network that a search keeps low, or within a bound. One registered object each.

The product's own are in `slimfront.evaluators.scoring.costs`, a file each; a user's own is a reference to a `Cost` in
her file. The score is the default.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slimfront.spaces.registry import Registry

if TYPE_CHECKING:
    from slimfront.evaluators.scoring.score import Score

SMALLEST, LARGEST = 1e-12, 1e12  # of a cost: the axis is logarithmic
LONGEST = 60  # characters of its words on an axis


class CostError(ValueError):
    """A cost that cannot be measured, or is no cost: the text says which, and why."""


@dataclass(frozen=True)
class Subject:
    """What a cost is measured on.

    Attributes:
        network: The finished network (torch.nn.Module), in evaluation mode on the CPU; costs leave it as it is. Before
            training the same network with random weights, pruned and with its bits as far as that can be known.
        input_shape: (channels, height, width) of one image.
        score: What its weights and multiply-adds come to (`slimfront.evaluators.scoring.score.Score`).
    """

    network: Any
    input_shape: tuple[int, int, int]
    score: Score


@dataclass(frozen=True)
class Rating:
    """What is known of a candidate before it is trained.

    Attributes:
        score: `Score.to_dict()` of its network.
        costs: By name: the score, and of the costs that were asked for those that are known by now.
    """

    score: Mapping[str, Any]
    costs: Mapping[str, float]


@dataclass(frozen=True)
class CostAxis:
    """A cost as pictures, pages and tables tell it: words, no code.

    Attributes:
        name: Of the cost; a user's own is called by its reference.
        title: A noun for a sentence: "file size".
        unit: Of its values: "bytes"; "" where there is none.
        note: How to read a value, in a few words; "" where that is clear.
        corner: Where the front's area ends: networks that cost as much or more add nothing to the hypervolume.
    """

    name: str
    title: str
    unit: str
    note: str
    corner: float

    @property
    def metric(self) -> str:
        """As Optuna calls the objective."""
        return self._with(self.unit, self.note)

    @property
    def label(self) -> str:
        """Of a logarithmic axis."""
        return self._with(self.unit, "log scale", self.note, "less is better")

    @property
    def head(self) -> str:
        """Of a column."""
        return self._with(self.unit)

    def told(self, value: float, digits: int = 4) -> str:
        """A value with its unit: "0.0241", "1.25 ms", "12,345 bytes"."""
        return f"{in_figures(value, digits)} {self.unit}".rstrip()

    def _with(self, *parts: str) -> str:
        known = "; ".join(part for part in parts if part)
        return f"{self.title} ({known})" if known else self.title


@dataclass(frozen=True)
class Cost:
    """A cost.

    Attributes:
        name: What study files call it.
        title: A noun for a sentence: "file size".
        words: What is measured, in a sentence: for docs and reports.
        corner: Where the front's area ends, above 0: a value that is just too much to be of interest. It weighs what
            more accuracy is worth against less cost.
        measure: The value of a subject, in [1e-12, 1e12].
        unit: Of its values: "bytes"; "" where there is none.
        note: How to read a value, in a few words.
        before_training: Whether `measure` says the same of a network that is not trained yet. Then candidates that
            cannot matter are not trained; otherwise a trial is stopped early for its accuracy alone.
        packages: Python packages that it needs beyond the product's own.
        paper: Where it comes from.
    """

    name: str
    title: str
    words: str
    corner: float
    measure: Callable[[Subject], float]
    unit: str = ""
    note: str = ""
    before_training: bool = False
    packages: tuple[str, ...] = ()
    paper: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.corner, int | float) and SMALLEST < self.corner <= LARGEST):
            raise CostError(f"The corner of a cost must be in ({SMALLEST:g}, {LARGEST:g}], but got {self.corner!r}.")
        for key in ("name", "title", "unit", "note"):
            text = getattr(self, key)
            if not isinstance(text, str) or not text.isprintable() or len(text) > LONGEST:
                raise CostError(f"The {key} of a cost must be at most {LONGEST} characters of text, but got {text!r}.")

    def axis(self, called: str) -> CostAxis:
        """Its words, under the name by which the study calls it."""
        return CostAxis(called, self.title, self.unit, self.note, float(self.corner))


COSTS: Registry[Cost] = Registry("cost", Cost, "slimfront.evaluators.scoring.costs")


def measure(names: Iterable[str], subject: Subject) -> dict[str, float]:
    """The value of each cost, by name.

    Raises:
        CostError: One cannot be measured, or comes to no number in [SMALLEST, LARGEST].
        references.CodeReferenceError: One is a user's own that was not given.
    """
    return {name: _measured(name, COSTS[name], subject) for name in names}


def _measured(name: str, cost: Cost, subject: Subject) -> float:
    try:
        value = cost.measure(subject)
        found = float(value)
    except (Exception, SystemExit) as error:  # whatever a user's function raises
        text = " ".join(str(error).split()) or type(error).__name__
        raise CostError(f"the cost {name} cannot be measured: {type(error).__name__}: {text}") from None
    if not SMALLEST <= found <= LARGEST:  # NaN is not
        raise CostError(f"the cost {name} must be in [{SMALLEST:g}, {LARGEST:g}], but comes to {found!r}.")
    return found


def check(name: str) -> None:
    """Make sure that a cost is known, and that what it needs is installed, before any long work.

    Raises:
        UnknownMemberError, references.CodeReferenceError: There is no such cost, or it was not given.
        CostError: A package is missing.
    """
    for package in COSTS[name].packages:
        if not _is_installed(package):
            hint = "pip install 'slimfront[onnx]'" if name in COSTS.own else "install it"
            raise CostError(f"{name} needs the package {package}: {hint}.")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # of "a.b" where there is no a
        return False


def named(name: str) -> str:
    """A cost in a sentence: its title where it may be asked, else its name."""
    cost = COSTS.find(name)
    return name if cost is None else cost.title


def known_before(names: Iterable[str]) -> tuple[str, ...]:
    """Those that are known before training."""
    return tuple(name for name in names if COSTS[name].before_training)


def over(costs: Mapping[str, float], bounds: Mapping[str, float]) -> dict[str, float]:
    """The bounds that these values break, by the cost's name; of what is not known, none."""
    return {name: limit for name, limit in bounds.items() if name in costs and costs[name] > limit}


def excess(costs: Mapping[str, float], broken: Mapping[str, float]) -> float:
    """By how many decades in all the values lie above the bounds that they break: above 0 where there is one."""
    return math.fsum(math.log10(costs[name] / limit) for name, limit in broken.items())


def in_figures(value: float, digits: int = 4) -> str:
    """A value with that many digits that count: 0.02413, 1.25, 12,345; never 1.234e+04."""
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:.{digits}g}"
