"""A trial on its way."""

from __future__ import annotations

from dataclasses import dataclass

from slimfront.evaluators.scoring.cost import Rating
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.spaces import Candidate
from slimfront.studies.report.methods_used import describe


@dataclass
class Work:
    """A trial that has its candidate and has not ended.

    Attributes:
        number: Of the trial.
        candidate: What it decided.
        rated: What is known of it before training.
        objective: Name of the cost that the study keeps low.
        uncompressed_from: Number of the trial that has trained its uncompressed network already; None: none has.
        starts: How often its training was begun and not left on purpose.
        spared: Whether it runs to its end although it should have been stopped.
    """

    number: int
    candidate: Candidate
    rated: Rating
    objective: str
    uncompressed_from: int | None = None
    starts: int = 0
    spared: bool = False

    @property
    def score(self) -> float:
        """Known before training."""
        return self.rated.costs[SCORE.name]

    @property
    def cost(self) -> float | None:
        """What the study keeps low; None: that is not known before training."""
        return self.rated.costs.get(self.objective)

    @property
    def what(self) -> str:
        """The network in a few words."""
        origin = self.uncompressed_from
        return describe(self.candidate) + (f", uncompressed network of trial {origin}" if origin is not None else "")
