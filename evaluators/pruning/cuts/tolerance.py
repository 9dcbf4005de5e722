"""torch-pruning follows reshapes and slices by rules, and some networks break a rule: that must not stop the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch_pruning


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
    """Within it a rule that raises is passed over: what it would have said is then found out by trying."""
    holder = _holder()
    kept = {name: rule for name, rule in vars(holder).items() if _is_rule(name, rule)}
    try:
        for name, rule in kept.items():
            setattr(holder, name, _passing_over(rule))
        yield
    finally:
        for name, rule in kept.items():
            setattr(holder, name, rule)


def _holder() -> Any:
    """Where the rules are: a module, or in releases before 1.6 the graph's class."""
    module = getattr(getattr(torch_pruning, "dependency", None), "index_mapping", None)
    return torch_pruning.DependencyGraph if module is None else module


def _is_rule(name: str, rule: object) -> bool:
    return name.strip("_").startswith("update_") and name.endswith("_index_mapping") and callable(rule)


def _passing_over(rule: Callable[..., Any]) -> Callable[..., Any]:
    def tried(graph: Any, *node: Any) -> Any:
        if not node:  # the loop over all of them
            return rule(graph)
        with contextlib.suppress(ArithmeticError, LookupError, AttributeError, TypeError, ValueError):
            return rule(graph, *node)

    return tried
