"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from slimfront.evaluators.scoring.cost import in_figures


def decimals(values: Iterable[float | None], digits: int = 4) -> int:
    """How many decimals a column needs so that its smallest number shows `digits` significant ones, at most 8."""
    smallest = min((abs(value) for value in values if value), default=1.0)
    return max(0, min(8, digits - 1 - math.floor(math.log10(smallest))))


def number(value: float | None, places: int = 0) -> str:
    """With that many decimals and a comma between thousands; a dash where there is none."""
    return "–" if value is None else f"{value:,.{places}f}"


def figures(value: float | None) -> str:
    """With four digits that count; a dash where there is none."""
    return "–" if value is None else in_figures(value)


def counted(number: int, word: str) -> str:
    """The number with its noun.

    >>> counted(1, "network"), counted(3, "network")
    ('1 network', '3 networks')
    """
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def percent_number(share: float | None, places: int = 2) -> str:
    """A share in percent without the sign, never rounded up; a dash where there is none."""
    if share is None:
        return "–"
    scale = 10**places
    return f"{math.floor(share * 100 * scale + 1e-7) / scale:.{places}f}"


def unbroken(text: str) -> str:
    """The text with each percent sign kept on the line of its number."""
    return text.replace(" %", "\u00a0%")


def signed_points(share: float | None) -> str:
    """A difference of shares in percentage points, with its sign; a dash where there is none."""
    return "–" if share is None else f"{100 * share:+.2f}".replace("-", "−")


def duration(seconds: float) -> str:
    """ "3.2 hours", "14 minutes" or "48 seconds"."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
