"""A network's class, or a function that makes one, as a family: its options are the constructor's arguments.

    [space.architecture]
    family = "my_nets.py:MyNet"
    [space.architecture.mynet]
    width = [16, 32]

The number of classes and an image's channels are told by the data set, under the names that constructors have for
them (`slimfront.spaces.own.arguments`). What a study or a command line leaves out has the constructor's default, and
stands in the candidate all the same: the network can be built again where the default is another one by then.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from slimfront.spaces.family import FIXED_OF_WHOLE, Axis, Family
from slimfront.spaces.options import Options
from slimfront.spaces.own.arguments import Signature, signature_of
from slimfront.spaces.part import CandidateError, require
from slimfront.spaces.references import CodeReferenceError

if TYPE_CHECKING:
    from slimfront.spaces.candidate import Architecture

_NO_LETTERS = re.compile(r"[^a-z0-9_]+")


def _no_blocks(_architecture: Architecture) -> NoReturn:
    raise TypeError("a network's class is built whole")


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkClass(Family):
    """A family that builds whole networks.

    Attributes:
        reference: By which the user gave it.
        maker: The class, or a function that returns a network.
        signature: What it can be told.
    """

    reference: str
    maker: Callable[..., Any]
    signature: Signature

    def __post_init__(self) -> None:
        """Its axes have no fields of `Architecture` to collide with."""

    @property
    def keys(self) -> dict[str, Axis]:
        """Its arguments."""
        return {argument.key: argument for argument in self.signature.arguments}

    def walk(self, choose: Callable[[str], Any]) -> dict[str, Any]:
        """Choose every argument."""
        return {**FIXED_OF_WHOLE, "options": {key: choose(key) for key in self.keys}}

    def chosen(self, architecture: Architecture, key: str, stage: int | None) -> Any:
        """What the constructor is told."""
        return architecture.options[key]

    def value(self, architecture: Architecture, axis: Axis) -> Any:
        """What the constructor is told."""
        return architecture.options[axis.key]

    def fitted(self, options: Options) -> Options:
        """The arguments with the constructor's defaults for those that are absent.

        Raises CandidateError for one that must be given, and for one that the constructor does not take.
        """
        filled: dict[str, Any] = {}
        for argument in self.signature.arguments:
            if argument.key not in options and argument.default is None:
                raise CandidateError(f"{self.reference} must be told {argument.key}.")
            value = options.get(argument.key, argument.default)
            is_float = isinstance(argument.default, float) and type(value) is int
            filled[argument.key] = float(value) if is_float else value
        for name in options:
            if name in filled:
                continue
            if name in (self.signature.classes, self.signature.channels):
                raise CandidateError(f"{self.reference}: {name} follows from the data set; leave it out.")
            if name not in self.signature.others and not self.signature.open:
                close = difflib.get_close_matches(name, self.signature.names, 1)
                hint = (
                    f"did you mean {close[0]}?" if close else f"it takes {', '.join(self.signature.names) or 'none'}."
                )
                raise CandidateError(f"{self.reference} takes no argument {name}: {hint}")
            filled[name] = options[name]
        return Options(filled)

    def validate(self, architecture: Architecture) -> None:
        """Raise CandidateError unless its arguments are of their kinds, and all else is absent."""
        for name, absent in FIXED_OF_WHOLE.items():
            value = getattr(architecture, name)
            fixed = tuple(absent) if isinstance(absent, list) else absent
            require(value == fixed, f"architecture.{name}", value, f"{absent} for a network's class")
        for argument in self.signature.arguments:
            value = architecture.options[argument.key]
            require(argument.allows(value), f"architecture.options.{argument.key}", value, argument.allowed)

    def call_arguments(self, architecture: Architecture, classes: int, channels: int) -> dict[str, Any]:
        """All arguments of the constructor's call."""
        told: dict[str, Any] = dict(architecture.options)
        if self.signature.classes is not None:
            told[self.signature.classes] = classes
        if self.signature.channels is not None:
            told[self.signature.channels] = channels
        return told


def is_network_class(found: object) -> bool:
    """Whether it is a class of networks (torch.nn.Module, asked for without importing torch) or a function."""
    if isinstance(found, type):
        return any((base.__module__, base.__name__) == ("torch.nn.modules.module", "Module") for base in found.__mro__)
    return inspect.isroutine(found)


@functools.lru_cache(maxsize=256)
def as_family(reference: str, maker: Callable[..., Any]) -> NetworkClass:
    """The family of a class or function that the user gave. Raises CodeReferenceError."""
    try:
        signature = signature_of(maker)
    except (ValueError, TypeError):
        raise CodeReferenceError(f"{reference} does not say what it can be told.") from None
    called = reference.rpartition(":")[2].rpartition(".")[2]
    name = _NO_LETTERS.sub("_", called.lower()).strip("_0123456789") or "network"
    return NetworkClass(
        name=_free(name[:40]),
        build=_no_blocks,
        title=called,
        words="a network of the user's own",
        axes=signature.arguments,
        staged=False,
        reference=reference,
        maker=maker,
        signature=signature,
    )


def _free(name: str) -> str:
    """The name, or another where the product has a family that is called so."""
    from slimfront.spaces.family import FAMILIES

    return f"own_{name}" if name in FAMILIES.own else name
