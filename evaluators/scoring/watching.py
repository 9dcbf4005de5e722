"""Watches a network run: who multiplies, how often, and with which weights.

Whatever an input is multiplied by and does not follow from that input is a weight, whatever it is called: a parameter,
a buffer, or a tensor that was computed from some. So a matrix product in somebody's forward pass counts like a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import torch
from slimfront.evaluators.scoring import operations
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

Key: TypeAlias = tuple[int, int, int]


class UnknownOperationError(Exception):
    """An operation that no rule counts; its name."""


def key_of(tensor: Tensor) -> Key:
    """The same for two tensors that are the same numbers in memory: a parameter and its `.data`, say."""
    place = 0 if tensor.device.type == "meta" or tensor.layout != torch.strided else tensor.untyped_storage().data_ptr()
    return (place, int(tensor.storage_offset()), tensor.numel()) if place else (id(tensor), 0, tensor.numel())


@dataclass
class Work:
    """What a module did itself, and not in modules within it.

    Attributes:
        macs: Multiply-adds.
        weights: Numbers of every tensor that it multiplied by and that does not follow from the input.
    """

    macs: int = 0
    weights: dict[Key, int] = field(default_factory=dict)


class _Watching:
    """Follows every operation that passes.

    A class beside the mode: torch wraps the method of a class that is itself a dispatch mode, so that torch.compile
    leaves it alone, and imports the whole compiler for it at the first operation. That takes seconds, of a command that
    takes two.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.work: dict[nn.Module | None, Work] = {}
        self.running: list[nn.Module] = []  # the innermost last
        self._follows: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # from the input
        self._follows[image] = True
        self._made_of: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # other results: of which tensors
        self._kept: list[Tensor] = []  # so that no other tensor gets their place in memory

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, taken apart into those that are in the table where it is not there itself."""
        kwargs = kwargs or {}
        rule = operations.rule_of(func)
        if rule is None:
            with cast(TorchDispatchMode, self):
                taken_apart = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
            if not operations.is_cheap(func):
                raise UnknownOperationError(operations.name_of(func))
        out = func(*args, **kwargs)
        given = list(_tensors((args, kwargs)))
        if rule is not None:
            done = self.work.setdefault(self.running[-1] if self.running else None, Work())
            done.macs += rule(*args, **{**kwargs, "out": out})  # also where that was given, to be written into
            done.weights |= self._weights(list(_tensors(operations.factors(func, args))))
        self._note(given, list(_tensors(out)))
        return out

    def _weights(self, given: Sequence[Tensor]) -> dict[Key, int]:
        found: dict[Key, int] = {}
        for tensor in given:
            if tensor not in self._follows:
                found |= self._sources(tensor)
        return found

    def _sources(self, tensor: Tensor) -> dict[Key, int]:
        if tensor in self._made_of:
            return cast(dict[Key, int], self._made_of[tensor])
        self._kept.append(tensor)
        return {key_of(tensor): tensor.numel()}

    def _note(self, given: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        if any(tensor in self._follows for tensor in given):
            for tensor in made:
                self._follows[tensor] = True
            return
        sources: dict[Key, int] = {}
        for tensor in given:
            sources |= self._sources(tensor)
        for tensor in made:
            if not any(tensor is one for one in given):
                self._made_of[tensor] = sources


class Watch(_Watching, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`with` it, every operation is followed. `image` is the input."""


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _tensors(entry)
