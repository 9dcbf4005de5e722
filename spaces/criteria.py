"""Pruning criteria and pruning methods: how much a weight or a filter matters, and a criterion put to use.

The product's own are the files of `slimfront.evaluators.pruning.criteria` and `slimfront.evaluators.pruning.methods`.
A user's own criterion comes with her method: candidates name it by the method's reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slimfront.spaces import references
from slimfront.spaces.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_METHOD = "none"  # what study files say where nothing is pruned


@dataclass(frozen=True)
class Criterion:
    """How much a weight or a filter matters; the least important go first.

    Samples are `slimfront.evaluators.pruning.importance.Sample`, groups `slimfront.evaluators.pruning.groups.Group`.

    Attributes:
        name: Small letters, digits, underscores.
        weights: (network, sample, seed) -> importance of every weight of the convolutions and linear layers, by layer,
            in the weight's shape; None: it does not judge single weights.
        filters: (network, groups, sample, seed) -> importance of every channel of every group of filters that can only
            go together, by the group's name: (channels,); None: it does not judge filters.
        make_up: (network, groups, gone, sample, seed), called before the channels that are `gone` of each group are
            removed: changes the weights that stay, to make up for what goes.
        words: What it looks at, in a few words.
        paper: Where it was published.
    """

    name: str
    weights: Callable[[nn.Module, Any, int], dict[str, Tensor]] | None = None
    filters: Callable[[nn.Module, tuple[Any, ...], Any, int], dict[str, Tensor]] | None = None
    make_up: Callable[[nn.Module, tuple[Any, ...], Mapping[str, Tensor], Any, int], None] | None = None
    words: str = ""
    paper: str = ""

    def judges(self, granularity: str) -> bool:
        """Whether it knows how much these ("weights" or "filters") matter."""
        return getattr(self, granularity) is not None


@dataclass(frozen=True)
class Method:
    """A pruning method: one combination of choices on the four axes of `Sparsity`.

    Attributes:
        name: Small letters, digits, underscores.
        granularity: "weights" or "filters".
        criterion: What goes first.
        scope: "global" or "layer".
        schedule: "once", "iterative", "gradual" or "layerwise".
        rounds: Of the schedules that repeat.
        penalty: L1 on the scales of batch norm during the uncompressed training.
        is_control: Whether the other methods of its granularity have to beat it.
        in_sweep: Whether a sweep that is told no methods has it.
        title: In legends; "": the name.
        words: What goes, in a few words.
        paper: Where it was published.
        colour: Of its lines, such as "#0072B2"; "": one that is free in the picture.
        marker: Of its points, one of matplotlib's; "": one that is free in the picture.
    """

    name: str
    granularity: str
    criterion: Criterion
    scope: str
    schedule: str
    rounds: int = 1
    penalty: float = 0.0
    is_control: bool = False
    in_sweep: bool = False
    title: str = ""
    words: str = ""
    paper: str = ""
    colour: str = ""
    marker: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.criterion, Criterion):
            raise TypeError(f"the criterion of the method {self.name} must be a Criterion, but is {self.criterion!r}")

    @property
    def axes(self) -> dict[str, Any]:
        """The fields of a `Sparsity` that it decides, but for the criterion."""
        names = ("granularity", "scope", "schedule", "rounds", "penalty")
        return {name: getattr(self, name) for name in names}


CRITERIA: Registry[Criterion] = Registry("pruning criterion", Criterion, "slimfront.evaluators.pruning.criteria")
METHODS: Registry[Method] = Registry("pruning method", Method, "slimfront.evaluators.pruning.methods")


def criterion_named(name: str) -> Criterion:
    """The criterion that a `Sparsity` names: one of CRITERIA, or that of a user's own method.

    Raises UnknownMemberError, or CodeReferenceError where it is a user's own that was not given to this command.
    """
    return METHODS[name].criterion if references.is_reference(name) else CRITERIA[name]
