"""What a constructor can be told, read from its signature: names, defaults, and which the data set decides."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slimfront.spaces.family import Axis
from slimfront.spaces.options import Options
from slimfront.spaces.part import CandidateError

# Names under which the field's libraries ask for what follows from the data; the first that a constructor has is it.
CLASSES = ("num_classes", "n_classes", "nclasses", "classes", "num_labels", "n_labels", "num_class")
CHANNELS = ("in_channels", "in_chans", "input_channels", "num_channels", "image_channels", "channels", "in_ch")

_NUMBER, _WORD, _TRUTH = "number", "word", "truth value"
_KINDS: Mapping[Any, str] = {int: _NUMBER, float: _NUMBER, str: _WORD, bool: _TRUTH}
_KINDS_BY_NAME = {kind.__name__: kind for kind in (int, float, str, bool)}


@dataclass(frozen=True, kw_only=True)
class Argument(Axis):
    """An argument of a constructor: an axis that takes any value of its kind.

    Attributes:
        takes: "number", "word", "truth value"; "": the signature does not say, so any of them.
    """

    takes: str = ""

    @property
    def kind(self) -> str:
        """What a value is; "": any of the three."""
        return self.takes

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        whole = "a whole number" if self.whole else "a number"
        return {_NUMBER: whole, _WORD: "a word", _TRUTH: "true or false"}.get(self.takes, "a plain value")

    @property
    def some(self) -> Any:
        """A value that it may be, as far as the signature says."""
        return {_WORD: "word", _TRUTH: False}.get(self.takes, 1)

    def allows(self, value: Any) -> bool:
        """Whether it may be that."""
        kind = _KINDS.get(type(value))
        return kind is not None and self.takes in ("", kind) and not (self.whole and isinstance(value, float))


@dataclass(frozen=True)
class Signature:
    """What a constructor can be told.

    Attributes:
        arguments: The plain ones, which a study may choose.
        others: Names of those that are not plain (a list, a class, None): they can be given, and have defaults.
        open: Whether it takes further names (`**kwargs`).
        classes: Name of the argument that takes the number of classes; None: it has none.
        channels: Name of the argument that takes an image's channels; None: it has none.
    """

    arguments: tuple[Argument, ...]
    others: tuple[str, ...]
    open: bool
    classes: str | None
    channels: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """All that can be told by name."""
        return (*(argument.key for argument in self.arguments), *self.others)


def signature_of(maker: Callable[..., Any]) -> Signature:
    """Read the signature of a class or a function. Raises ValueError where it has none."""
    parameters = inspect.signature(maker).parameters.values()
    named = {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    is_open = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    classes = next((name for name in CLASSES if name in named), CLASSES[0] if is_open else None)
    channels = next((name for name in CHANNELS if name in named), None)
    arguments, others = [], []
    for name, parameter in named.items():
        if name in (classes, channels):
            continue
        argument = _argument(name, parameter)
        if argument is None:
            others.append(name)
        else:
            arguments.append(argument)
    return Signature(tuple(arguments), tuple(others), is_open, classes, channels)


def _argument(name: str, parameter: inspect.Parameter) -> Argument | None:
    """The argument as an axis; None where its default is no plain value."""
    required = parameter.default is inspect.Parameter.empty
    default = None if required else parameter.default
    annotated = parameter.annotation
    written = _KINDS_BY_NAME.get(annotated) if isinstance(annotated, str) else annotated
    if not required:
        try:
            Options({name: default})
        except CandidateError:
            return None
        if type(default) not in _KINDS:
            return None
    kind = written if written in _KINDS else type(default)
    return Argument(key=name, default=default, takes=_KINDS.get(kind, ""), whole=written is int)


def parse(text: str) -> tuple[str, Any]:
    """An argument as a command line gives it: "width=32" -> ("width", 32).

    A value is JSON where it is such (32, 0.5, true, [2, 2]), else a word. Raises CandidateError.

    >>> parse("width=32"), parse("norm=batch")
    (('width', 32), ('norm', 'batch'))
    """
    name, equals, written = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise CandidateError(f"--arg must be NAME=VALUE, but got {text[:100]!r}.")
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        value = {"True": True, "False": False}.get(written.strip(), written.strip())
    return name.strip(), value
