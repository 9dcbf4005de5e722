"""Early stopping with two objectives: a pure function that decides from what is known.

The cost is known before training, or is not; the accuracy is open. So a trial can matter only if its accuracy can still
reach the bar, and, where its cost is known, can still exceed that of every finished feasible trial that is no more
expensive. What it can still reach is bounded from finished trials, in two ways, of which the lower one counts:

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

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from pydantic import Field
from slimfront.evaluators.scoring.cost import in_figures, named, over
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.search.proposals.regression import Regression, encode
from slimfront.spaces.candidate import UNCOMPRESSED
from slimfront.studies.report.numbers import percent_number
from slimfront.studies.settings import EarlyStopping
from slimfront.studies.settings.faults import refused

Position = tuple[str, int]
"""(stage, epoch within the stage, from 1; 0 is before its first)"""

BELOW_BAR = "below_bar"
DOMINATED = "dominated"
MAX_SCORE = "max_score"
MAX_COST = "max_cost"  # another cost than the score
REASONS = (BELOW_BAR, DOMINATED, MAX_SCORE, MAX_COST)

MOST = 400  # trials that a regression learns from, the latest


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


class Rules(EarlyStopping):
    """How bold the stops are: a study's rules, and its limit of the score."""

    bounds: dict[str, float] = Field(default_factory=dict)
    """By the costs' names: candidates that are known to lie above one are not trained."""

    def __init__(self, /, **values: Any) -> None:
        """Raises SettingsError naming the rule."""
        with refused(type(self), "early_stopping."):
            super().__init__(**values)


@dataclass(frozen=True)
class Finished:
    """A trial that is over.

    Attributes:
        trial: Its number.
        accuracy: Final, on the validation images; of no meaning where it is not complete.
        cost: Final.
        schedule: What has to be equal for two curves of a stage to compare, by stage: data, epochs, decay, warm-up.
        curve: Accuracy at each position of those stages that came to their end.
        traits: Settings of the compression, by name.
        network: Name of its dense network: trials that share one have one dense curve.
        complete: False for one that was stopped after its dense training.
        within: Whether it keeps to all bounds of the study.
    """

    trial: int
    accuracy: float
    cost: float
    schedule: Mapping[str, str] = field(default_factory=dict)
    curve: Mapping[Position, float] = field(default_factory=dict)
    traits: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""
    complete: bool = True
    within: bool = True

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
        cost: What the study keeps low; None: it is not known before training.
        schedule: Of the current stage; see Finished.
        position: Of the last epoch; None before training.
        accuracy: After that epoch.
        share: Of the current stage's epochs that is done, in [0, 1].
        traits: See Finished; None: not known, nothing is concluded from them.
        dense: Accuracy at the end of the dense training; None: not there yet.
        last: Whether no stage follows.
        ceiling: What is certain about the final accuracy without any curve; 1 where nothing is.
        costs: All that are known before training, by name.
    """

    cost: float | None
    schedule: str
    position: Position | None = None
    accuracy: float = 0.0
    share: float = 0.0
    traits: Mapping[str, Any] | None = None
    dense: float | None = None
    last: bool = False
    ceiling: float = 1.0
    costs: Mapping[str, float] = field(default_factory=dict)


def decide(running: Running, finished: Sequence[Finished], bar: float, rules: Rules) -> Verdict | None:
    """Stop, and why; None: go on.

    Args:
        running: What is known of the trial.
        finished: All complete trials of the study.
        bar: Accuracy that the front demands.
        rules: How bold the stops are.
    """
    for name, limit in over(running.costs, rules.bounds).items():
        text = f"its {named(name)} {in_figures(running.costs[name])} is above {in_figures(limit, 6)}"
        return Verdict(MAX_SCORE if name == SCORE.name else MAX_COST, text, running.ceiling)
    bound = min(running.ceiling, _curve_bound(running, finished, rules), _regressed_bound(running, finished, rules))
    if bound < bar:
        text = f"at most {percent_number(bound)}% are in reach, the bar is {percent_number(bar)}%"
        return Verdict(BELOW_BAR, text, bound)
    if running.cost is None:
        return None
    for other in finished:
        feasible = other.complete and other.within and other.accuracy >= bar
        if feasible and other.accuracy >= bound and other.cost <= running.cost:
            text = (
                f"at most {percent_number(bound)}% are in reach at a cost of {in_figures(running.cost)}; "
                f"trial {other.trial} has {percent_number(other.accuracy)}% at {in_figures(other.cost)}"
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
