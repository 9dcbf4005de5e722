"""A domain: what one parameter of a space may be. A value, a choice among some, or a range."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

Value = int | float | str | bool

LARGEST = 1e18  # no number of a range is larger, nor infinite, nor none at all


# Each is tried before a search begins, and what has more is a range.
MOST_CHOICES, MOST_IN_ALL = 1000, 5000  # of one key, of all keys
MOST_FAULTS = 50  # lines that a user reads; of what is beyond, she is told how many there are
LONGEST = 100  # characters of a refused value that are shown


class SpaceError(ValueError):
    """A space that cannot be, or a candidate outside of it.

    Attributes:
        faults: What is wrong, a line each that names its key; the text of the error is all of them.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Faults:
    """What is wrong with a space, and with which of its keys, as far as it has been looked at."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}  # in the order in which they were found, each once
        self.keys: set[str] = set()

    def add(self, key: str, *lines: str) -> None:
        """Note a key's faults."""
        self.keys.add(key)
        for line in lines:  # a key may have any letters, and is one line
            self.lines[line if line.isprintable() else repr(line)[1:-1]] = None

    @contextlib.contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Note what is raised inside as the key's faults."""
        try:
            yield
        except SpaceError as error:
            self.add(key, *error.faults)

    @property
    def many(self) -> bool:
        """Whether there are as many as are shown."""
        return len(self.lines) >= MOST_FAULTS

    def check(self) -> None:
        """Raise SpaceError where anything was found."""
        if self.lines:
            raise SpaceError(*self.lines)


def shown(value: object) -> str:
    """A refused value, as far as it has room in a line.

    >>> shown("a" * 200)[-3:]
    'aa…'
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no whole number of thousands of digits
        text = "a number of thousands of digits" if isinstance(value, int) else "what is too deep or too long"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


RANGE = ("low", "high", "step", "log")
_SHORT = 64


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


class Trial(Protocol):
    """What a space needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number."""


@dataclass(frozen=True)
class Domain:
    """What one parameter may be: `choices` (a single one: fixed), or a range `low`..`high`."""

    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, key: str, written: object) -> Domain:
        """From TOML. Raises SpaceError naming `key`, with all that is wrong."""
        if isinstance(written, list):
            return cls._parse_choices(key, written)
        if isinstance(written, Mapping):
            return cls._parse_range(key, written)
        if isinstance(written, bool | int | float | str):
            return cls._parse_choices(key, [written])
        raise SpaceError(f"{key} must be a value, a list or a table with low and high, but got {shown(written)}.")

    @classmethod
    def _parse_choices(cls, key: str, written: list[Any]) -> Domain:
        if not written:
            raise SpaceError(f"{key} has no choices: give at least one.")
        if len(written) > MOST_CHOICES:
            raise SpaceError(f"{key} has {len(written):,} choices: give at most {MOST_CHOICES:,}, or low and high.")
        if not all(isinstance(item, bool | int | float | str) for item in written):
            raise SpaceError(f"{key} must list numbers, words or booleans, but got {shown(written)}.")
        if len({(type(item), item) for item in written}) < len(written):
            raise SpaceError(f"{key} names a choice twice: {shown(written)}.")
        faults = [
            f"{key} must be a number between -{LARGEST:g} and {LARGEST:g}, but got {shown(item)}."
            for item in written
            if not isinstance(item, bool | str) and not _is_number(item)
        ]
        if faults:
            raise SpaceError(*faults)
        return cls(choices=tuple(written))

    @classmethod
    def _parse_range(cls, key: str, written: Mapping[str, Any]) -> Domain:
        faults = []
        for name in written:
            if name not in RANGE:
                close = difflib.get_close_matches(name[:LONGEST], RANGE, 1)
                hint = f"did you mean {close[0]}? " if close else ""
                faults.append(f"{key}.{name[:LONGEST]} is unknown: {hint}a range has {', '.join(RANGE)}.")
        low: Any = written.get("low")
        high: Any = written.get("high")
        step = written.get("step")
        log = written.get("log", False)
        for name, value in {"low": low, "high": high}.items():
            if name not in written:
                faults.append(f"{key}.{name} is missing: a range has {', '.join(RANGE)}.")
            elif not _is_number(value):
                faults.append(f"{key}.{name} must be a number, but got {shown(value)}.")
        if _is_number(low) and _is_number(high) and low > high:
            faults.append(f"{key} has its bounds reversed: low {shown(low)} is above high {shown(high)}.")
        if not isinstance(log, bool):
            faults.append(f"{key}.log must be true or false, but got {shown(log)}.")
        if log is True and _is_number(low) and low <= 0:
            faults.append(f"{key}.low must be above 0 on a log scale, but got {shown(low)}.")
        if step is not None and (not _is_number(step) or step <= 0):
            faults.append(f"{key}.step must be a number above 0, but got {shown(step)}.")
        if step is not None and log is True:
            faults.append(f"{key} cannot have both step and log.")
        if faults:
            raise SpaceError(*faults)
        whole = all(isinstance(item, int) for item in (low, high) + (() if step is None else (step,)))
        return cls(low=low, high=high, step=step, log=log, whole=whole)

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.choices) == 1

    def suggest(self, trial: Trial, name: str) -> Value:
        """Let `trial` choose."""
        if self.fixed:
            return self.choices[0]
        if self.choices:
            return trial.suggest_categorical(name, self.choices)  # type: ignore[no-any-return]
        if self.whole:
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def __contains__(self, value: object) -> bool:
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices) or (
                isinstance(value, int | float) and not isinstance(value, bool) and value in self.choices
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return (not self.whole or value == int(value)) and abs(steps - round(steps)) < 1e-9

    @property
    def extremes(self) -> tuple[Value, ...]:
        """All choices; of a range both ends."""
        if self.choices:
            return self.choices
        ends = (self.low, self.high)
        return tuple(int(end) for end in ends) if self.whole else ends

    @property
    def tried(self) -> tuple[Value, ...]:
        """What is tried before a search begins: the extremes, and then of a short range of whole numbers all.

        Some numbers are allowed at both ends of a range and not between them: kernels are odd.
        """
        if self.choices or not self.whole or self.high - self.low > _SHORT:
            return self.extremes
        step = int(self.step or 1)
        return tuple(dict.fromkeys((*self.extremes, *range(int(self.low), int(self.high) + 1, step))))

    @property
    def least(self) -> Value:
        """The smallest number; of words the first."""
        return min(self._numbers, default=self.extremes[0])

    @property
    def most(self) -> Value:
        """The largest number; of words the last."""
        return max(self._numbers, default=self.extremes[-1])

    @property
    def _numbers(self) -> list[int | float]:
        return [item for item in self.extremes if isinstance(item, int | float) and not isinstance(item, bool)]
