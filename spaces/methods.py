"""Pruning methods by name: what a method's name stands for, and the name of what stands there.

>>> sparsity("global_l1", 0.7).criterion
'l1'
>>> method_name(sparsity("han", 0.3, epochs=2))
'han'
"""

from __future__ import annotations

from typing import Any

from slimfront.spaces.candidate import Sparsity
from slimfront.spaces.criteria import METHODS, Method
from slimfront.spaces.part import CandidateError
from slimfront.spaces.references import is_reference

CUSTOM = "custom"  # the name of axes that no method has


def sparsity(method: str, ratio: float, epochs: int = 0, **other: Any) -> Sparsity:
    """The step of pruning that a method's name stands for.

    Args:
        method: One of METHODS, or a user's own that was given to this command.
        ratio: Share to remove, in [0, 1): of the weights, or of each layer's filters.
        epochs: Fine-tuning in all.
        other: More fields of Sparsity that differ from the method's own (rounds, say).

    Raises:
        CandidateError: Unknown method, or a value that Sparsity does not take.
        references.CodeReferenceError: A user's own that was not given.
    """
    if method not in METHODS and not is_reference(method):
        raise CandidateError(METHODS.unknown(method))
    found = METHODS[method]
    # A user's own criterion is found by her method alone.
    criterion = method if is_reference(method) else found.criterion.name
    return Sparsity(**{**found.axes, "criterion": criterion, "ratio": ratio, "epochs": epochs, **other})


def method_name(step: Sparsity) -> str:
    """The name of the method that has a step's axes; of a user's own, its reference; CUSTOM where none has them."""
    if is_reference(step.criterion):
        return step.criterion
    for method in METHODS:
        if step.scope != "stage" and step == sparsity(method.name, step.ratio, step.epochs):
            return method.name
    return CUSTOM


def control_of(granularity: str) -> Method:
    """The method that the others of a granularity have to beat."""
    return next(method for method in METHODS if method.is_control and method.granularity == granularity)
