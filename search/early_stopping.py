"""Early stopping with two objectives: a pure function that decides from what is known.

The score is known before training; only the accuracy is open. So a trial can matter only if its accuracy can still
reach the bar, and can still exceed that of every finished feasible trial that is no more expensive. What it can still
reach is bounded from finished trials, in two ways, of which the lower one counts:

    accuracy now + quantile of (accuracy at the stage's end - accuracy at the same epoch, with the same schedule)
                 + quantile of (final accuracy - accuracy at the stage's end)
    accuracy of the dense network + upper confidence limit of a regression of (final accuracy - the same) on the
                 settings of the compression and on what it has lost by the same epoch

The first is for dense training and for what has recovered from its dip. The second compares like with like, knows dips
for what they are, and so judges a compression before its first epoch of fine-tuning, and after each one. What is unlike
everything known is expected to lose nothing.

Unfinished trials are never ranked against each other by both objectives: the cheapest is never dominated there, however
useless it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from slimfront.search.proposals.regression import Regression, encode
from slimfront.spaces.candidate import UNCOMPRESSED
from slimfront.studies.report.page import percent_number

Position = tuple[str, int]
"""(stage, epoch within the stage, from 1; 0 is before its first)"""

BELOW_BAR = "below_bar"
DOMINATED = "dominated"
MAX_SCORE = "max_score"
REASONS = (BELOW_BAR, DOMINATED, MAX_SCORE)

MOST = 400  # trials that a regression learns from, the latest


class RulesError(ValueError):
    """Rules that cannot be: the text names the key, the value and what is allowed."""


@dataclass(frozen=True)
class Verdict:
    """Why a trial stops.

    Attributes:
        reason: One of REASONS.
        text: The reason in a sentence for people.
        bound: Upper bound of the accuracy that it could have reached, in [0, 1].
    """

    reason: str
    text: str
    bound: float


@dataclass(frozen=True)
class Rules:
    """How bold the stops are.

    Attributes:
        quantile: Of the gains of finished trials; higher is more careful.
        least_finished: Finished curves that compare, of different networks, before any trial is stopped on a bound.
        least_share: Share of the dense stage's epochs before which nothing is stopped on a bound.
        recovery: Share of any later stage's epochs that it is given to recover from its dip.
        spared: Share of the would-be-stopped that run to the end, so that false stops can be counted.
        max_score: Candidates above are not trained; None: no limit.
    """

    quantile: float = 0.95
    least_finished: int = 8
    least_share: float = 0.2
    recovery: float = 0.5
    spared: float = 0.05
    max_score: float | None = None

    def __post_init__(self) -> None:
        for name in ("quantile", "least_share", "recovery", "spared"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise RulesError(f"early_stopping.{name} must be in [0, 1], but got {value!r}.")
        if self.least_finished < 1:
            raise RulesError(f"early_stopping.least_finished must be at least 1, but got {self.least_finished!r}.")

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Rules:
        """From the table [early_stopping] of a study file. Raises RulesError."""
        known = {item.name for item in dataclasses.fields(cls)} - {"max_score"}
        for key, value in written.items():
            if key not in known:
                raise RulesError(f"early_stopping.{key} is unknown (known: {', '.join(sorted(known))}).")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RulesError(f"early_stopping.{key} must be a number, but got {value!r}.")
        return cls(**written)


@dataclass(frozen=True)
class Finished:
    """A trial that is over.

    Attributes:
        trial: Its number.
        accuracy: Final, on the validation images; of no meaning where it is not complete.
        score: Final.
        schedule: What has to be equal for two curves of a stage to compare, by stage: data, epochs, decay, warm-up.
        curve: Accuracy at each position of those stages that came to their end.
        traits: Settings of the compression, by name.
        network: Name of its dense network: trials that share one have one dense curve.
        complete: False for one that was stopped after its dense training.
    """

    trial: int
    accuracy: float
    score: float
    schedule: Mapping[str, str] = field(default_factory=dict)
    curve: Mapping[Position, float] = field(default_factory=dict)
    traits: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""
    complete: bool = True

    @cached_property
    def ends(self) -> dict[str, float]:
        """Accuracy at the end of each stage."""
        last: dict[str, tuple[int, float]] = {}
        for (stage, epoch), value in self.curve.items():
            last[stage] = max(last.get(stage, (-1, 0.0)), (epoch, value))
        return {stage: value for stage, (_, value) in last.items()}


@dataclass(frozen=True)
class Running:
    """A trial before or in training.

    Attributes:
        score: Known before training.
        schedule: Of the current stage; see Finished.
        position: Of the last epoch; None before training.
        accuracy: After that epoch.
        share: Of the current stage's epochs that is done, in [0, 1].
        traits: See Finished; None: not known, nothing is concluded from them.
        dense: Accuracy at the end of the dense training; None: not there yet.
        last: Whether no stage follows.
        ceiling: What is certain about the final accuracy without any curve; 1 where nothing is.
    """

    score: float
    schedule: str
    position: Position | None = None
    accuracy: float = 0.0
    share: float = 0.0
    traits: Mapping[str, Any] | None = None
    dense: float | None = None
    last: bool = False
    ceiling: float = 1.0


def decide(running: Running, finished: Sequence[Finished], bar: float, rules: Rules) -> Verdict | None:
    """Stop, and why; None: go on.

    Args:
        running: What is known of the trial.
        finished: All complete trials of the study.
        bar: Accuracy that the front demands.
        rules: How bold the stops are.
    """
    if rules.max_score is not None and running.score > rules.max_score:
        text = f"its score {running.score:.4g} is above {rules.max_score:g}"
        return Verdict(MAX_SCORE, text, running.ceiling)
    bound = min(running.ceiling, _curve_bound(running, finished, rules), _regressed_bound(running, finished, rules))
    if bound < bar:
        text = f"at most {percent_number(bound)}% are in reach, the bar is {percent_number(bar)}%"
        return Verdict(BELOW_BAR, text, bound)
    for other in finished:
        if other.complete and other.accuracy >= bar and other.accuracy >= bound and other.score <= running.score:
            text = (
                f"at most {percent_number(bound)}% are in reach at score {running.score:.4g}; "
                f"trial {other.trial} has {percent_number(other.accuracy)}% at {other.score:.4g}"
            )
            return Verdict(DOMINATED, text, bound)
    return None


def _curve_bound(running: Running, finished: Sequence[Finished], rules: Rules) -> float:
    """Upper bound from the curves of finished trials; 1 where it is too early, or there are too few of them."""
    if running.position is None:
        return 1.0
    stage = running.position[0]
    if running.share < (rules.least_share if stage == UNCOMPRESSED else rules.recovery):
        return 1.0
    gains: dict[object, float] = {}
    changes = []
    for other in finished:
        if running.position not in other.curve:
            continue
        end = other.ends[stage]
        if other.schedule.get(stage) == running.schedule:
            curve = other.network if stage == UNCOMPRESSED and other.network else other.trial
            gains[curve] = end - other.curve[running.position]
        if other.complete:
            changes.append(other.accuracy - end)
    if len(gains) < rules.least_finished or (not running.last and not changes):
        return 1.0
    gain = upper_quantile(list(gains.values()), rules.quantile)
    change = 0.0 if running.last else upper_quantile(changes, rules.quantile)
    return min(1.0, max(0.0, running.accuracy + gain + change))


def _regressed_bound(running: Running, finished: Sequence[Finished], rules: Rules) -> float:
    """Upper bound from similar compressions at the same epoch; 1 in dense training, or where too few are known."""
    if running.position is None or running.traits is None or running.dense is None or rules.quantile >= 1:
        return 1.0
    similar = [other for other in finished if other.complete and running.position in other.curve][-MOST:]
    if len(similar) < rules.least_finished:
        return 1.0
    rows = [{**other.traits, "lost": other.curve[running.position] - other.ends[UNCOMPRESSED]} for other in similar]
    features = encode([*rows, {**running.traits, "lost": running.accuracy - running.dense}])
    changes = np.array([other.accuracy - other.ends[UNCOMPRESSED] for other in similar])
    mean, deviation = Regression(features[:-1], changes, center=0.0).predict(features[-1:])
    limit = float(mean[0] + NormalDist().inv_cdf(max(rules.quantile, 0.5)) * deviation[0])
    return min(1.0, max(0.0, running.dense + limit))


def upper_quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed; of few values the largest, on purpose."""
    ordered = sorted(values)
    return ordered[min(len(ordered), max(1, math.ceil(share * len(ordered)))) - 1]


def is_spared(trial: int, seed: int, share: float) -> bool:
    """Whether this trial is one of the `share` that run to the end whatever is decided; the same at every call."""
    drawn = hashlib.sha256(f"{seed} {trial}".encode()).digest()
    return int.from_bytes(drawn[:8]) / 2**64 < share
