"""What the seeds of retrained networks come to: mean, confidence limit, verdict, and how the search's promise held.

Pure functions on numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

CONFIDENCE = 0.95

CLEARS, ON_AVERAGE, MISSES = "clears the bar", "clears it on average only", "misses it"


def lower_limit(accuracies: Sequence[float]) -> float | None:
    """Lower end of the two-sided 95 % confidence interval of the mean, by Student's t; None for fewer than two."""
    from scipy.stats import t  # type: ignore[import-untyped]  # comes with scikit-learn; takes a second to import

    count = len(accuracies)
    if count < 2:
        return None
    deviation = statistics.stdev(accuracies)
    return statistics.fmean(accuracies) - float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)


def verdict(accuracies: Sequence[float], bar: float) -> str:
    """In words: whether even the lower confidence limit reaches the bar, only the mean does, or not even that.

    A single seed has no confidence limit and clears nothing for certain.
    """
    if not accuracies:
        return "has no result"
    lower = lower_limit(accuracies)
    if lower is not None and lower >= bar:
        return CLEARS
    return ON_AVERAGE if statistics.fmean(accuracies) >= bar else MISSES


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's: 1 where both order the networks alike, -1 where they order them the other way round.

    None for fewer than three networks, or where one side is the same for all of them.
    """
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def summarise(accuracies: Sequence[float], bar: float, searched: float | None) -> dict[str, Any]:
    """Mean, deviation, limit, verdict; and `gap`, search validation accuracy minus mean test accuracy."""
    mean = statistics.fmean(accuracies) if accuracies else None
    return {
        "mean": mean,
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "lower": lower_limit(accuracies),
        "bar": bar,
        "verdict": verdict(accuracies, bar),
        "validation_accuracy": searched,
        "gap": searched - mean if searched is not None and mean is not None else None,
    }
