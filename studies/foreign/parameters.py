"""Parameters of a trial that anybody may have written, as far as they are such as a search samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimfront.studies.foreign import values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MOST_CHOICES = 1000  # of a parameter; one with more is left out, like one with numbers beyond all use


def ordinary_parameters(frozen: FrozenTrial) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Parameters with ordinary values, and what they were sampled from, under printable names."""
    params, kinds = frozen.params, frozen.distributions
    ordinary = [name for name, value in params.items() if name in kinds and _is_ordinary(value, kinds[name])]
    return (
        {str(values.text(name)): params[name] for name in ordinary},
        {str(values.text(name)): kinds[name] for name in ordinary},
    )


def _is_ordinary(value: Any, kind: BaseDistribution) -> bool:
    choices = getattr(kind, "choices", None)
    if choices is not None:
        return len(choices) <= MOST_CHOICES and (not isinstance(value, int | float) or _is_number(value))
    low, high, log = kind.low, kind.high, kind.log  # type: ignore[attr-defined]
    return all(map(_is_number, (value, low, high))) and (value > 0 or not log)


def _is_number(value: float) -> bool:
    return -values.LARGEST_NUMBER <= value <= values.LARGEST_NUMBER  # NaN is not
