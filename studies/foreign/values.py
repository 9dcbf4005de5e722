"""Values out of JSON that anybody may have written: as they may be used, or None.

A database may come from anybody. So what is read from one has the type and range that a search writes, or counts as if
it had never been written; text is short and printable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from slimfront.evaluators.scoring.cost import LARGEST, SMALLEST
from slimfront.studies.foreign.text import LONGEST, visible

LARGEST_COUNT = 2**53  # whole numbers up to here are exact as floats, too
LARGEST_NUMBER = 1e18
LARGEST_SCORE = 1e9  # the widest network that a candidate can describe comes to a millionth of it
SMALLEST_SCORE = 1e-10  # one weight of one bit comes to fifty times that
LARGEST_SEED = 2**31 - 1
LONGEST_TEXT = 2000  # characters of an error's text or of a remark
MOST_ROWS = 200_000  # epochs of a trial, or layers of a network
MOST_ENTRIES = 10_000  # of a table
DEEPEST = 10  # tables within tables

Row = Mapping[str, Any]
Reader = Callable[[Any], Any]
"""Gives a value as it may be used; None for one that is none of its kind."""


def number(value: Any, low: float = -LARGEST_NUMBER, high: float = LARGEST_NUMBER) -> float | None:
    """A number in this range, which NaN is in none of."""
    right = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    return float(value) if right else None


def whole(value: Any, low: int = 0, high: int = LARGEST_COUNT) -> int | None:
    """A whole number in this range."""
    return value if type(value) is int and low <= value <= high else None


def share(value: Any) -> float | None:
    """A number in [0, 1], such as an accuracy."""
    return number(value, 0, 1)


def amount(value: Any) -> float | None:
    """A number from 0 on, such as seconds."""
    return number(value, 0)


def score(value: Any) -> float | None:
    """A score that a network can have."""
    return number(value, SMALLEST_SCORE, LARGEST_SCORE)


def cost(value: Any) -> float | None:
    """A cost of any kind that a network can have."""
    return number(value, SMALLEST, LARGEST)


def costs(value: Any) -> dict[str, float]:
    """Costs by their names."""
    return {str(text(key)): float(entry) for key, entry in mapping(value).items() if cost(entry) is not None}


def points(value: Any) -> tuple[tuple[float, float], ...]:
    """(accuracy, cost) of networks, from a list of pairs."""
    rows = value[:MOST_ENTRIES] if isinstance(value, list) else []
    pairs = [row for row in rows if isinstance(row, list) and len(row) == 2]
    return tuple((row[0], row[1]) for row in pairs if share(row[0]) is not None and cost(row[1]) is not None)


def total(value: Any) -> float | None:
    """A score, or a part of one, which may be nothing."""
    return number(value, 0, LARGEST_SCORE)


def bits(value: Any) -> int | None:
    """The width of a number in bits."""
    return whole(value, 1, 32)


def seed(value: Any) -> int | None:
    """Of a training."""
    return whole(value, 0, LARGEST_SEED)


def text(value: Any) -> str | None:
    """A name or a few words. The same ones stand in every trial of a study."""
    if not isinstance(value, str):
        return None
    return _shared(value) if len(value) <= LONGEST else visible(value, most=LONGEST)


_shared = lru_cache(maxsize=4096)(visible)


def long_text(value: Any) -> str | None:
    """An error's text, or a remark."""
    return visible(value, most=LONGEST_TEXT) if isinstance(value, str) else None


def label(value: Any) -> Any:
    """Text, a number, a truth value or nothing."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    return value if number(value) is not None else None


def mapping(value: Any) -> Row:
    """A table as it is; an empty one for everything else, and for one of immense length."""
    return value if isinstance(value, Mapping) and len(value) <= MOST_ENTRIES else {}


def labels(value: Any) -> dict[str, Any]:
    """A table of labels under any names."""
    return {str(text(key)): label(entry) for key, entry in mapping(value).items()}


def amounts(value: Any) -> dict[str, float]:
    """The numbers of a table, under any names."""
    return {str(text(key)): entry for key, entry in mapping(value).items() if number(entry) is not None}


def entries(value: Any, known: Mapping[str, Reader]) -> dict[str, Any]:
    """Entries of a table that are `known` and fit, and no others."""
    table = mapping(value)
    found = {key: read(table[key]) for key, read in known.items() if key in table}
    return {key: entry for key, entry in found.items() if entry is not None}


def tree(value: Any, depth: int = 0) -> Any:
    """Tables, lists and labels within each other, as a space is written."""
    if depth > DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {str(text(key)): tree(entry, depth + 1) for key, entry in mapping(value).items()}
    if isinstance(value, list):
        return [tree(entry, depth + 1) for entry in value[:MOST_ENTRIES]]
    return label(value)


def table(columns: Any, known: Mapping[str, Reader]) -> tuple[Row, ...]:
    """Rows of a table that is kept by column, {"a": [1, 3], "b": [2, None]}; nothing where it is no such table.

    Cells of `known` columns that do not fit are None; other columns hold labels.
    """
    given = mapping(columns)
    lists: list[Sequence[Any]] = [values for values in given.values() if isinstance(values, list)]
    lengths = {len(values) for values in lists}
    if len(lists) != len(given) or len(lengths) != 1 or max(lengths) > MOST_ROWS:
        return ()
    names = [str(text(name)) for name in given]
    readers = [known.get(name, label) for name in given]
    cells = [[read(cell) for cell in values] for read, values in zip(readers, lists, strict=True)]
    return tuple(dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True))


def to_columns(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """The inverse of `table`; numbers that JSON does not know become None.

    >>> to_columns([{"a": 1, "b": 2}, {"a": 3}])
    {'a': [1, 3], 'b': [2, None]}
    """
    kept = list(rows)
    names = list(dict.fromkeys(name for row in kept for name in row))
    return {name: [finite(row.get(name)) for row in kept] for name in names}


def finite(value: Any) -> Any:
    """None for NaN and infinities; what is not a float as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
