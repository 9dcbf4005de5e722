"""What is wrong with settings, in lines: each says the key, what is allowed, and the nearest name that is known."""

from __future__ import annotations

import contextlib
import difflib
import functools
import typing
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from slimfront.spaces.domain import LONGEST, MOST_FAULTS, shown
from slimfront.spaces.space import known_keys
from slimfront.studies.foreign.text import visible

_LONGEST_LINE = 1000  # characters
_LARGE = 1e12  # a limit from here on is there for the machine's sake, and nobody is told of it
_KINDS = {"integer": "a whole number", "number": "a number", "string": "a text", "object": "a table"}
_SELDOM = ("supernet.",)  # tables that most studies lack
# Errors of a value that is of the right type: the limits alone are told.
_OUTSIDE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


class SettingsError(ValueError):
    """Settings that cannot be.

    Attributes:
        faults: All that is wrong, a line each that names its key; the text of the error is as many as one can read.
    """

    def __init__(self, *faults: str) -> None:
        self.faults = tuple(visible(fault, most=_LONGEST_LINE) for fault in faults)
        more = len(faults) - MOST_FAULTS
        told = [f"and {more:,} more."] if more > 0 else []
        super().__init__("\n".join([*self.faults[:MOST_FAULTS], *told]))

    def of(self, place: object) -> SettingsError:
        """The same, with the file in every line."""
        return SettingsError(*(f"{place}: {fault}" for fault in self.faults))


@contextlib.contextmanager
def refused(model: type[BaseModel], place: str = "") -> Iterator[None]:
    """Raise what pydantic finds as a SettingsError.

    Args:
        model: The settings that are made inside.
        place: In front of every key: the table, with a dot behind it.
    """
    try:
        yield
    except ValidationError as error:
        lines: list[str] = []
        for found in error.errors(include_url=False):  # sentences are written for as many as are shown
            lines += _lines(found, model, place) if len(lines) <= MOST_FAULTS else [""]
        raise SettingsError(*lines) from None


def _lines(error: Mapping[str, Any], model: type[BaseModel], place: str) -> Iterable[str]:
    names = [part for part in error["loc"] if isinstance(part, str)]  # a number is the place in a list
    key = place + ".".join(names)
    table = _table(model, tuple(names[:-1]))
    if error["type"] == "missing":
        return [f"{key} is missing: it must be {allowed(table[names[-1]])}."]
    if error["type"] == "extra_forbidden":
        hint = (_elsewhere(names[0], model) if len(names) == 1 else "") or nearest(names[-1], table)
        return [f"{key[:LONGEST]} is unknown: {hint}known are {', '.join(table)}."]
    own = error.get("ctx", {}).get("error")
    if isinstance(own, ValueError):  # raised by a check of ours
        faults = getattr(own, "faults", None) or str(own).split("\n")
        return [f"{key} {text}" if text.startswith("must ") else f"{key}: {text}" for text in faults]
    words = allowed(table[names[-1]], with_kind=error["type"] not in _OUTSIDE)
    return [f"{key} must be {words}, but got {shown(error['input'])}."]


def _table(model: type[BaseModel], names: tuple[str, ...]) -> Mapping[str, Any]:
    """The schemas of a table's keys: of the settings themselves, or of a table in them."""
    for name in names:
        kind = _model_in(model.model_fields[name].annotation)
        if kind is None:
            inside = _schema(model)["properties"][name].get("additionalProperties", {})
            return defaultdict(functools.partial(dict, inside if isinstance(inside, dict) else {}))  # of any key
        model = kind
    return _schema(model)["properties"]  # type: ignore[no-any-return]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings that a key holds, perhaps or always; None: it holds none."""
    for kind in typing.get_args(annotation) or (annotation,):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


@functools.cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def nearest(word: str, known: Iterable[str]) -> str:
    """The beginning of a sentence that goes on with what is known: "did you mean trials? ", or nothing."""
    close = difflib.get_close_matches(word[:LONGEST], list(known), 1)
    return f"did you mean {close[0]}? " if close else ""


def _elsewhere(word: str, model: type[BaseModel]) -> str:
    """The same for a key that stands in no table, but should."""
    keys = [f"space.{key}" for key in known_keys()]
    keys += [f"{table}.{key}" for table in model.model_fields for key in _table(model, (table,))]
    tables = {key.rpartition(".")[0] for key in keys}
    found = [key for key in (*keys, *sorted(tables)) if key.endswith(f".{word}")]
    found.sort(key=lambda key: (key.startswith(_SELDOM), key.count(".")))
    return f"did you mean {found[0]}? " if found else ""


def allowed(schema: Mapping[str, Any], *, with_kind: bool = True) -> str:
    """What a value may be, in words, from its JSON schema.

    >>> allowed({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
    'a number in (0, 1]'
    >>> allowed({"type": "integer", "minimum": 1}, with_kind=False)
    '1 or more'
    """
    one, *_ = [entry for entry in schema.get("anyOf", [schema]) if entry.get("type") != "null"]
    if one.get("type") == "array":
        return f"a list of {_KINDS[one['items']['type']].removeprefix('a ')}s"
    kind = _KINDS.get(one.get("type", ""), "a table")
    if "maxLength" in one:
        return f"{kind} of {one.get('minLength', 0)} to {one['maxLength']} letters"
    limits = _limits(one)
    if not limits:
        return kind
    comma = "," if limits.endswith("more") else ""
    return f"{kind}{comma} {limits}" if with_kind else limits


def _limits(schema: Mapping[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = next((value for value in (schema.get("maximum"),) if value is not None and value < _LARGE), None)
    if high is None:
        return f"above {above:g}" if above is not None else f"{low:g} or more" if low is not None else ""
    if schema["type"] == "integer":
        return f"in {low}..{high}"
    return f"in {'[' if above is None else '('}{low if above is None else above:g}, {high:g}]"
