"""What a family of networks is told beyond the fields that all families share: plain values by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from slimfront.spaces.part import plain_name, require

Plain = bool | int | float | str | tuple[int | float, ...]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")  # of an argument, where it is a class of a user's own
_MOST = 50  # entries of a table or of a list


class Options(Mapping[str, Plain]):
    """A table that does not change, sorted by name: equal tables are equal parts of a candidate, and have one digest.

    A value is a truth value, a finite number, a short word, or a list of finite numbers, such as one a stage.

    Raises:
        CandidateError: Something else.

    >>> Options({"groups": [1, 2], "alpha": 0.5})["groups"]
    (1, 2)
    """

    def __init__(self, entries: Any = MappingProxyType({})) -> None:
        require(isinstance(entries, Mapping) and len(entries) <= _MOST, "architecture.options", entries, "a table")
        self._entries = {name: _plain(name, entries[name]) for name in sorted(entries, key=str)}
        self._hash = hash(tuple(self._entries.items()))

    def __getitem__(self, name: str) -> Plain:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._entries == other._entries

    def __repr__(self) -> str:
        return f"Options({self._entries!r})"


def _plain(name: Any, value: Any) -> Plain:
    require(isinstance(name, str) and _NAME.fullmatch(name) is not None, "architecture.options", name, "named plainly")
    label = f"architecture.options.{name}"
    if isinstance(value, list | tuple):
        require(len(value) <= _MOST and all(map(_is_number, value)), label, value, "a list of finite numbers")
        return tuple(value)
    if isinstance(value, str):
        plain_name(label, value)
    else:
        require(isinstance(value, bool) or _is_number(value), label, value, "a number, a word or a truth value")
    return value  # type: ignore[no-any-return]


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) < 2**53
    return type(value) is float and math.isfinite(value)
