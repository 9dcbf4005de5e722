"""The pruning methods by name: what each is called in a legend, where it was published, what it has to beat.

Their axes (granularity, criterion, scope, schedule) are in `spaces.methods`, where the search samples them: a name
from the literature is one combination of choices and nothing more.

>>> method("global_l1", 0.7).criterion
'l1'
>>> control("thinet")
'random_filters'
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from slimfront.spaces.candidate import CandidateError, Sparsity
from slimfront.spaces.methods import METHODS, sparsity


class PruningError(ValueError):
    """Pruning that cannot be done: the text names what, the value, and what is allowed."""


CONTROLS = MappingProxyType({"weights": "random", "filters": "random_filters"})

LAB_METHODS = ("global_l1", "han", "li_filters", "thinet")


@dataclass(frozen=True)
class Description:
    """A method for readers: title in a legend, and its source."""

    title: str
    source: str


DESCRIPTIONS: Mapping[str, Description] = MappingProxyType(
    {
        "global_l1": Description("global L1", "smallest weights of the whole network (torch.nn.utils.prune)"),
        "han": Description("Han", "Han et al. 2015, arXiv:1506.02626"),
        "gradual": Description("gradual", "Zhu and Gupta 2017, arXiv:1710.01878"),
        "taylor_weights": Description("Taylor weights", "Molchanov et al. 2019, arXiv:1906.10771, on single weights"),
        "random": Description("random weights", "control"),
        "li_filters": Description("Li filters", "Li et al. 2016, arXiv:1608.08710"),
        "thinet": Description("ThiNet", "Luo et al. 2017, arXiv:1707.06342"),
        "slimming": Description("slimming", "Liu et al. 2017, arXiv:1708.06519"),
        "taylor": Description("Taylor filters", "Molchanov et al. 2016 and 2019, arXiv:1611.06440, arXiv:1906.10771"),
        "random_filters": Description("random filters", "control"),
    }
)


def method(name: str, ratio: float, epochs: int = 0, **other: Any) -> Sparsity:
    """The named method as a step of pruning.

    Args:
        name: One of METHODS.
        ratio: Share to remove, in [0, 1): of the weights, or of each layer's filters.
        epochs: Fine-tuning in all.
        other: More fields of Sparsity that differ from the method's own (rounds, say).

    Raises:
        PruningError: Unknown method, or a value that Sparsity does not take.
    """
    if name not in METHODS:
        raise PruningError(f"Pruning method must be one of {', '.join(METHODS)}, but got {name!r}.")
    try:
        return dataclasses.replace(sparsity(name, ratio, epochs), **other)
    except CandidateError as error:
        raise PruningError(f"Pruning method {name}: {error}") from None
    except TypeError:
        known = ", ".join(item.name for item in dataclasses.fields(Sparsity))
        raise PruningError(f"Pruning method {name}: fields must be among {known}, but got {sorted(other)}.") from None


def control(name: str) -> str | None:
    """The random method of the same granularity, which `name` has to beat; None for a control itself."""
    if name not in METHODS:
        raise PruningError(f"Pruning method must be one of {', '.join(METHODS)}, but got {name!r}.")
    return None if name in CONTROLS.values() else CONTROLS[METHODS[name]["granularity"]]
