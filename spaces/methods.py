"""Pruning methods by name: well-known points on the four axes of `Sparsity`, and the random control of each kind.

name             granularity  criterion     scope    schedule    source
global_l1        weights      L1            global   once        the lab's baseline; magnitude pruning
han              weights      L1            global   iterative   Han et al. 2015, arXiv:1506.02626
gradual          weights      L1            global   gradual     Zhu and Gupta 2017, arXiv:1710.01878
taylor_weights   weights      Taylor        global   iterative   Molchanov et al. 2019, arXiv:1906.10771, on weights
random           weights      random        global   once        the control that every method has to beat
li_filters       filters      L1            layer    layerwise   Li et al. 2016, arXiv:1608.08710
thinet           filters      feature map   layer    layerwise   Luo et al. 2017, arXiv:1707.06342
slimming         filters      batch norm    global   once        Liu et al. 2017, arXiv:1708.06519
taylor           filters      Taylor        global   iterative   Molchanov et al. 2016, arXiv:1611.06440
random_filters   filters      random        layer    once        the control of the filter methods
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from slimfront.spaces.candidate import CandidateError, Sparsity


def _axes(granularity: str, criterion: str, scope: str, schedule: str, **other: Any) -> MappingProxyType[str, Any]:
    axes = {"granularity": granularity, "criterion": criterion, "scope": scope, "schedule": schedule}
    return MappingProxyType(axes | other)


METHODS: MappingProxyType[str, MappingProxyType[str, Any]] = MappingProxyType(
    {
        "global_l1": _axes("weights", "l1", "global", "once"),
        "han": _axes("weights", "l1", "global", "iterative", rounds=3),
        "gradual": _axes("weights", "l1", "global", "gradual"),
        "taylor_weights": _axes("weights", "taylor", "global", "iterative", rounds=3),
        "random": _axes("weights", "random", "global", "once"),
        "li_filters": _axes("filters", "l1", "layer", "layerwise"),
        "thinet": _axes("filters", "feature_map", "layer", "layerwise"),
        "slimming": _axes("filters", "batch_norm", "global", "once", penalty=1e-4),
        "taylor": _axes("filters", "taylor", "global", "iterative", rounds=3),
        "random_filters": _axes("filters", "random", "layer", "once"),
    }
)


def sparsity(method: str, ratio: float, epochs: int = 0) -> Sparsity:
    """The step of pruning that `method` names, at `ratio`, with `epochs` of fine-tuning.

    Raises CandidateError for an unknown method or a ratio outside [0, 1).
    """
    if method not in METHODS:
        raise CandidateError(f"pruning method must be one of {', '.join(METHODS)}, but got {method!r}.")
    return Sparsity(**METHODS[method], ratio=ratio, epochs=epochs)


def method_name(step: Sparsity) -> str:
    """The name of a step's axes; "custom" where no method has them."""
    for name, axes in METHODS.items():
        if step.scope != "stage" and step == Sparsity(**axes, ratio=step.ratio, epochs=step.epochs):
            return name
    return "custom"
