"""Was it right to stop? What the trials that were spared say about those that were stopped.

A share of the trials that a bound would have stopped runs to its end all the same (`search.early_stopping`). Where
such a trial stands on the front, stopping it would have been false. The share of false stops among the spared is an
estimate of their share among all stopped ones: with few spared it is a rough one, so both numbers are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.studies.front import front, hypervolume
from slimfront.studies.record import State, TrialRecord

ON_A_BOUND = ("below_bar", "dominated")  # reasons that rest on an estimate; a score above its limit is a fact


@dataclass(frozen=True)
class FalseStops:
    """How early stopping fared.

    Attributes:
        stopped: Trials that were stopped on a bound.
        spared: Trials that would have been, and ran to their end.
        wrong: Those of the spared that stand on the front.
        cost: Share of the hypervolume that the front would have without the wrong ones' points, missing from it.
    """

    stopped: int
    spared: int
    wrong: int
    cost: float

    @property
    def rate(self) -> float | None:
        """Share of false stops among the spared; None where none was spared."""
        return self.wrong / self.spared if self.spared else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "stopped": self.stopped,
            "spared": self.spared,
            "false": self.wrong,
            "false_stop_rate": self.rate,
            "hypervolume_lost": self.cost,
        }

    def __str__(self) -> str:
        if not self.stopped and not self.spared:
            return "early stopping: no trial was stopped"
        text = f"early stopping: {self.stopped} stopped"
        if self.rate is None:
            return f"{text}; none was spared yet, so false stops are not known"
        shown = f"of {self.spared} spared, stopping {self.wrong} would have been false ({self.rate:.0%}"
        return f"{text}; {shown}, {self.cost:.1%} of the hypervolume)"


def false_stops(trials: Sequence[TrialRecord], bar: float, corner: float = SCORE.corner) -> FalseStops:
    """Count them in all trials of a study; `corner` is that of its hypervolume. Copies of others are left out."""
    own = [trial for trial in trials if trial.copied_from is None]
    stopped = [t for t in own if t.state is State.STOPPED and t.reason in ON_A_BOUND]
    spared = [t for t in own if t.state is State.COMPLETE and t.spared is not None]
    on_front = {trial.number for trial in front(own, bar)}
    wrong = {trial.number for trial in spared if trial.number in on_front}
    whole = hypervolume(own, bar, corner)
    without = hypervolume([trial for trial in own if trial.number not in wrong], bar, corner)
    return FalseStops(len(stopped), len(spared), len(wrong), (whole - without) / whole if whole else 0.0)
