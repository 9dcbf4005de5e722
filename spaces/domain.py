"""A domain: what one parameter of a space may be. A value, a choice among some, or a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Value = int | float | str | bool


class SpaceError(ValueError):
    """A space that cannot be, or a candidate outside of it: the text names the key."""


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
        """From TOML. Raises SpaceError naming `key`."""
        if isinstance(written, list):
            if not written:
                raise SpaceError(f"{key} has no choices: give at least one.")
            if len(set(map(repr, written))) < len(written):
                raise SpaceError(f"{key} names a choice twice: {written}.")
            if not all(isinstance(item, bool | int | float | str) for item in written):
                raise SpaceError(f"{key} must list numbers, words or booleans, but got {written}.")
            return cls(choices=tuple(written))
        if isinstance(written, Mapping):
            return cls._parse_range(key, written)
        if isinstance(written, bool | int | float | str):
            return cls(choices=(written,))
        raise SpaceError(f"{key} must be a value, a list or a table with low and high, but got {written!r}.")

    @classmethod
    def _parse_range(cls, key: str, written: Mapping[str, Any]) -> Domain:
        unknown = set(written) - {"low", "high", "step", "log"}
        if unknown:
            raise SpaceError(f"{key}.{min(unknown)} is unknown: a range has low, high, step, log.")
        for name in ("low", "high"):
            value = written.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SpaceError(f"{key}.{name} must be a number, but got {value!r}.")
        low, high, step = written["low"], written["high"], written.get("step")
        log = written.get("log", False)
        if low > high:
            raise SpaceError(f"{key} has its bounds reversed: low {low} is above high {high}.")
        if not isinstance(log, bool):
            raise SpaceError(f"{key}.log must be true or false, but got {log!r}.")
        if log and low <= 0:
            raise SpaceError(f"{key}.low must be above 0 on a log scale, but got {low}.")
        if step is not None and (isinstance(step, bool) or not isinstance(step, int | float) or step <= 0):
            raise SpaceError(f"{key}.step must be a number above 0, but got {step!r}.")
        if step is not None and log:
            raise SpaceError(f"{key} cannot have both step and log.")
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
    def most(self) -> Value:
        """The largest number; of words the last."""
        numbers = [item for item in self.extremes if isinstance(item, int | float) and not isinstance(item, bool)]
        return max(numbers, default=self.extremes[-1])
