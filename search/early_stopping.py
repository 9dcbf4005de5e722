"""Early stopping with two objectives: a pure function that decides from what is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Why a trial stops.

    Attributes:
        reason: One of a fixed set of words.
        text: The reason in a sentence for people.
        bound: Upper bound of the accuracy that it could have reached.
    """

    reason: str
    text: str
    bound: float
