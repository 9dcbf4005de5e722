"""The table of blocks in Markdown: a line for each block and size at equal epochs, then those at equal core-hours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmarks.rows_journal import Line

COLUMNS = (
    "block",
    "multiply-adds",
    "weights",
    "epochs, float + 3 bits",
    "seeds",
    "float, %",
    "W3A3, %",
    "gap, points",
    "score at W3A3",
    "core-hours",
)
IMAGES = 5000  # of CIFAR-10's validation part


def standard_error(accuracy: float, images: int = IMAGES) -> float:
    """Of an accuracy, in points, as far as it comes from which images were held out: binomial.

    >>> round(standard_error(0.9), 2)
    0.42
    """
    return 100 * math.sqrt(accuracy * (1 - accuracy) / images)


def table(rows: Sequence[Line]) -> str:
    """Markdown of a summary's rows; several seeds of one network share a line, each with its own accuracy."""
    groups: dict[tuple[bool, int, str, str], list[Line]] = {}
    for row in rows:
        equal = row["equal_core_hours"]
        groups.setdefault((equal is not None, row["size"], row["block"], equal or ""), []).append(row)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(_cells(groups[key])) + " |" for key in sorted(groups)]
    accuracies = [row["accuracy"] for row in rows]
    error = max(map(standard_error, accuracies), default=0.0)
    lines += [
        "",
        f"Standard error of one accuracy, from which {IMAGES:,} images were held out: {error:.2f} points at most.",
    ]
    return "\n".join(lines) + "\n"


def _cells(rows: Sequence[Line]) -> list[str]:
    first = rows[0]
    floats = [row for row in rows if row["bits"] == "float"]
    low = [row for row in rows if row["bits"] != "float"]
    equal = first["equal_core_hours"]
    name = first["block"] if equal is None else f"{first['block']}, core-hours of {equal}"
    # Rows at equal core-hours may have other epochs with every seed.
    epochs = {row["epochs"] for row in floats}, {row["low_bit_epochs"] for row in low}
    return [
        name,
        f"{first['macs'] / 1e6:.1f} M",
        f"{first['weights']:,}",
        " + ".join("/".join(map(str, sorted(found))) or "open" for found in epochs),
        str(len(floats)),
        _each(100 * row["accuracy"] for row in floats),
        _each(100 * row["accuracy"] for row in low),
        _each(row["gap_points"] for row in low),
        f"{low[0]['score']:.4f}" if low else "open",
        _each((row["core_seconds"] + _low_cost(row, low)) / 3600 for row in floats),
    ]


def _low_cost(row: Line, low: Sequence[Line]) -> float:
    return float(sum(other["core_seconds"] for other in low if other["seed"] == row["seed"]))


def _each(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values) or "open"
