"""What a command leaves on standard output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from slimfront.search.status import STATUS

_results: list[TextIO] = []  # standard output, while nothing but results may be written there


@contextlib.contextmanager
def results_alone(asked: bool) -> Iterator[None]:
    """Keep standard output for programs that read it: what a user's own code prints goes to standard error.

    Args:
        asked: Whether a program reads it; otherwise everything is written where it always is.
    """
    if not asked:
        yield
        return
    _results.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()


def results() -> TextIO:
    """Where results for programs are written."""
    return _results[-1] if _results else sys.stdout


def print_json(value: dict[str, Any]) -> None:
    """One JSON object."""
    STATUS.take_away()
    results().write(json.dumps(value, indent=2, allow_nan=False) + "\n")
