"""What the parts of a candidate share: checked values, exact JSON, and a digest that is the same on every machine.

A part is a frozen dataclass. Its canonical JSON holds every field, except the `added` ones that have their default: a
part can be given new fields, and the digests of candidates that do not use them stay.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any, Self

from slimfront.spaces import references

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")  # of a layer or a preset: the only text that is not one of a few words
_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]-]{1,100}")
_LONGEST = 200  # characters of a refused value that are shown


class CandidateError(ValueError):
    """A candidate that cannot be: the text names the field, the value and what is allowed."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise CandidateError unless `condition` holds."""
    if not condition:
        shown = repr(value)
        shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
        raise CandidateError(f"{name} must be {allowed}, but got {shown}.")


def one_of(name: str, value: object, allowed: tuple[Any, ...]) -> None:
    """Raise CandidateError unless `value` is among `allowed`."""
    if value not in allowed:  # the sentence takes longer than the question
        require(False, name, value, "one of " + ", ".join(str(item) for item in allowed))


def plain_name(name: str, value: object) -> None:
    """Raise CandidateError unless `value` is a plain name: names end up in tables, notes and error texts."""
    require(isinstance(value, str) and _NAME.fullmatch(value) is not None, name, value, "a name of letters and digits")


def layer_pattern(name: str, value: object) -> None:
    """Raise CandidateError unless `value` is a layer's name, or a pattern of such names: "features.*"."""
    require(isinstance(value, str) and _PATTERN.fullmatch(value) is not None, name, value, "a layer's name or pattern")


def _float(value: float) -> float:
    """Infinite for a whole number that no float holds."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


_KINDS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
_parts: dict[str, type[Part]] = {}  # by the name of their class


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a part: its declared type, and its default (MISSING: it must be given)."""

    name: str
    declared: str
    default: Any
    added: bool

    def is_written(self, value: object) -> bool:
        """Whether the field is in the JSON when it has this value."""
        return not self.added or value != self.default

    @property
    def part(self) -> type[Part] | None:
        """The class of the part that it holds, if it holds one."""
        return _parts.get(self.declared.removesuffix(" | None"))


def added(default: Any) -> Any:
    """A field that older candidates did not have; left out of the JSON, and so of the digest, while it is `default`."""
    return dataclasses.field(default=default, metadata={"added": True})


def _read_fields(part: Any) -> tuple[_Field, ...]:
    return tuple(
        _Field(
            item.name,
            str(item.type),
            item.default if item.default_factory is MISSING else item.default_factory(),
            bool(item.metadata.get("added")),
        )
        for item in dataclasses.fields(part)
    )


# Asked for at every trial of a long study, several times.
_fields: Callable[[Any], tuple[_Field, ...]] = functools.cache(_read_fields)


def _name_field(part: Any, name: str) -> str:
    return f"{part.__name__.lower()}.{name}"


_label: Callable[[Any, str], str] = functools.cache(_name_field)  # asked for as often

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _plain(value: Any) -> Any:
    """A part, or a value in one, as JSON would give it back."""
    if value is None or type(value) in (int, float, str, bool):
        return value
    if isinstance(value, Part):
        return {name: _plain(entry) for name, entry in value._written()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return value


class Part:
    """Shared by the parts: exact dictionaries and JSON, a canonical digest, and coercion of the JSON types."""

    def __init_subclass__(cls) -> None:
        _parts.setdefault(cls.__name__, cls)

    def __post_init__(self) -> None:
        # JSON knows lists, and writes 1.0 as 1 in some hands: a tuple stays a tuple, a float a float, so that
        # equal candidates have equal digests.
        for field in _fields(type(self)):
            name, declared = field.name, field.declared
            value = given = getattr(self, name)
            kind = _KINDS.get(declared)
            if type(value) is kind and (type(value) is not float or abs(value) < float("inf")):
                continue  # as nearly all are; the sentences below cost time even where they are not said
            if isinstance(value, list):
                value = tuple(tuple(entry) if isinstance(entry, list) else entry for entry in value)
            if isinstance(value, bool):
                require("bool" in declared, self._label(name), value, f"a {declared}")
            elif isinstance(value, int) and declared == "float":
                value = _float(value)
            if declared.startswith("tuple[float") and isinstance(value, tuple):
                numbers = all(type(entry) in (int, float) for entry in value)
                require(numbers, self._label(name), value, "a list of numbers")
                value = tuple(_float(entry) for entry in value)
            if kind is not None:
                require(type(value) is kind, self._label(name), value, f"a {declared}")
            if declared == "float":
                require(abs(value) < float("inf"), self._label(name), value, "a finite number")
            if declared.startswith("tuple"):
                require(isinstance(value, tuple), self._label(name), value, "a list")
            if declared == "tuple[int, ...]":
                whole = all(type(entry) is int for entry in value)
                require(whole, self._label(name), value, "a list of whole numbers")
            if value is not given:
                object.__setattr__(self, name, value)
        self._validate()

    def _validate(self) -> None:
        raise NotImplementedError

    def _label(self, name: str) -> str:
        return _label(type(self), name)

    def _written(self) -> list[tuple[str, Any]]:
        """Names and values of the fields that are in the JSON."""
        values = ((field, getattr(self, field.name)) for field in _fields(type(self)))
        return [(field.name, value) for field, value in values if field.is_written(value)]

    def to_dict(self) -> dict[str, Any]:
        """What the JSON holds: nested plain dictionaries, lists, strings, numbers, booleans and None."""
        result: dict[str, Any] = _plain(self)
        return result

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, no spaces, shortest exact floats."""
        return self._json

    @functools.cached_property
    def _json(self) -> str:
        # Part by part, as candidates share parts, and a search asks for the digests of thousands.
        entries = (
            f'"{name}":{value._json if isinstance(value, Part) else _encode(_plain(value))}'
            for name, value in sorted(self._written())
        )
        return "{" + ",".join(entries) + "}"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises CandidateError for unknown, missing or impossible fields."""
        require(isinstance(data, Mapping), cls.__name__.lower(), data, "an object with named fields")
        known = {field.name: field for field in _fields(cls)}
        for key in data:
            if key not in known:
                raise CandidateError(
                    f"{cls.__name__.lower()}.{str(key)[:_LONGEST]} is unknown; known are {', '.join(known)}."
                )
        for key, field in known.items():
            if key not in data and field.default is MISSING:
                raise CandidateError(f"{_label(cls, key)} must be given.")
        values = {}
        for key, value in data.items():
            part = known[key].part
            values[key] = value if value is None or part is None else _read_part(part, value)
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`. Raises CandidateError for text that is not JSON, too."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CandidateError(f"{cls.__name__.lower()} is not valid JSON: {error}.") from None
        try:
            return cls.from_dict(data)
        except RecursionError:  # few frames were left when it was read, and fewer are for saying what is wrong
            raise CandidateError(f"{cls.__name__.lower()} is nested too deeply.") from None

    @functools.cached_property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def _read_part(part: type[Part], value: Any) -> Part:
    kind: Any = part
    try:
        return _same_part(kind, json.dumps(value), references.sources_key(value))
    except (TypeError, ValueError, RecursionError):  # not JSON, or no such part: its own words, about what was given
        return part.from_dict(value)


@functools.lru_cache(maxsize=4096)
def _same_part(part: Any, written: str, _sources: tuple[str | None, ...]) -> Part:
    """One object for parts that are written alike: thousands of candidates have a few hundred of them.

    What a user's own code makes of it is another one where that code is given, is not given, or has changed.
    """
    found: Part = part.from_dict(json.loads(written))
    return found
