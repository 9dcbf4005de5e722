"""What report and slides tell: everything about a study, gathered once. Reading only."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from slimfront.evaluators.scoring.cost import COSTS, CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.spaces import Candidate
from slimfront.studies.analysis.spending import Ending, endings
from slimfront.studies.foreign.text import visible
from slimfront.studies.front import front, hypervolume, nearest
from slimfront.studies.record import TrialRecord, is_scored
from slimfront.studies.report import methods_used
from slimfront.studies.report.final_numbers import Retrained, final_numbers
from slimfront.studies.store.identity import bar_of
from slimfront.studies.store.records import StudyRecord

# (training, validation, test) images of the sets that come with the project
SPLITS = {
    "digits": (997, 300, 500),
    "cifar10": (45_000, 5_000, 10_000),
    "cifar100": (45_000, 5_000, 10_000),
    "fashion-mnist": (54_000, 6_000, 10_000),
}


@dataclass(frozen=True)
class Network:
    """A trial that is shown, whose candidate, accuracy and cost are known."""

    trial: TrialRecord
    candidate: Candidate

    @property
    def accuracy(self) -> float:
        """Share of the validation images."""
        return self.trial.point[0]

    @property
    def cost(self) -> float:
        """What the study keeps low."""
        return self.trial.point[1]

    @property
    def score(self) -> float | None:
        """By the formula."""
        return self.trial.score

    @property
    def choices(self) -> Mapping[str, str]:
        """What was chosen, in words, by kind."""
        return methods_used.choices(self.candidate)

    @property
    def bits(self) -> str:
        """In words."""
        return methods_used.bits(self.candidate)

    @property
    def layers(self) -> list[Mapping[str, Any]]:
        """The score's table; empty where it was not kept as a whole."""
        return list(self.trial.layers) if all(map(is_scored, self.trial.layers)) else []


@dataclass(frozen=True)
class Story:
    """A study as report and slides tell it.

    Attributes:
        name: Of the study.
        storage: Its URL, without passwords.
        bar: Accuracy that the front demands.
        dataset: Name of the data set; "" where nobody noted it.
        data_digest: Of data and split.
        split: (training, validation, test) images; None where they are not known.
        space: The space as it was written.
        seed: Of the search.
        trials: All of them.
        axis: What it keeps low, in words.
        bounds: On costs, by name.
        front: Its networks by ascending cost.
        nearest: The most accurate ones, where the front is empty.
        hypervolume: Of the front.
        endings: What was spent, by how trials ended.
        seconds: That searches worked on the study.
        environment: Versions, machine and commit of the newest record.
        retrained: Networks of retraining summaries that belong to this study.
        rank_correlation: Of validation and test accuracy over the retrained networks.
        test_evaluations: How often the test set was read for them.
        commands: That retrained them, as they were typed.
    """

    name: str
    storage: str
    bar: float
    dataset: str
    data_digest: str
    split: tuple[int, int, int] | None
    space: Mapping[str, Any]
    seed: int | None
    trials: tuple[TrialRecord, ...]
    axis: CostAxis
    bounds: Mapping[str, float]
    front: tuple[Network, ...]
    nearest: tuple[Network, ...]
    hypervolume: float
    endings: tuple[Ending, ...]
    seconds: float
    environment: Mapping[str, str]
    retrained: tuple[Retrained, ...] = ()
    rank_correlation: float | None = None
    test_evaluations: int = 0
    commands: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Network | None:
        """The cheapest network on the front; without a front the most accurate one."""
        return next(iter(self.shown), None)

    @property
    def shown(self) -> tuple[Network, ...]:
        """The front; without a front the nearest networks."""
        return self.front or self.nearest

    @property
    def by_score(self) -> bool:
        """Whether the score is what it keeps low."""
        return self.axis == SCORE_AXIS

    @property
    def cost_words(self) -> str:
        """What the cost measures; "" where it is a user's own that this command was not given."""
        cost = COSTS.find(self.axis.name)
        return "" if cost is None else cost.words

    @property
    def recorded(self) -> tuple[str, ...]:
        """Costs of the shown networks that were recorded besides the axis, the score and what it is made of."""
        known = {self.axis.name, *(name for network in self.shown for name in network.trial.totals)}
        names = dict.fromkeys(name for network in self.shown for name in network.trial.costs)
        return tuple(name for name in names if name not in known)

    @property
    def trained(self) -> int:
        """Trials that were trained, to their end or until they were stopped."""
        return sum(ending.trials for ending in self.endings if ending.kind in ("complete", "stopped"))

    @property
    def epochs(self) -> int:
        """Trained in all."""
        return sum(ending.epochs for ending in self.endings)

    @property
    def planned(self) -> int:
        """Epochs that all trials would have trained had they run to their end."""
        return sum(ending.planned for ending in self.endings)

    @property
    def saved(self) -> float:
        """Share of the planned epochs that were not trained."""
        return 1 - self.epochs / self.planned if self.planned > self.epochs else 0.0

    @property
    def place(self) -> str:
        """`--storage URL --name NAME` for commands."""
        return f"--storage {shlex.quote(visible(self.storage))} --name {shlex.quote(visible(self.name))}"


def gather(study: StudyRecord, bar: float | None = None, summaries: Sequence[Path] = ()) -> Story:
    """Everything that there is to tell about a study.

    Args:
        study: The study.
        bar: Instead of its own.
        summaries: `summary.json` files of retraining; networks of other studies in them are left out.

    Raises:
        StudyError: A summary that was named cannot be read.
    """
    identity = study.identity
    bar = bar_of(study.name, study.identity, bar)
    trials = study.trials
    own = [trial for trial in trials if trial.candidate_dict is not None]
    newest = own[-1] if own else None
    dataset = str(identity.get("dataset") or (newest.dataset if newest else ""))
    final = final_numbers(summaries, {trial.digest for trial in own if trial.digest})
    found = front(trials, bar)
    return Story(
        name=study.name,
        storage=study.storage,
        bar=bar,
        dataset=dataset,
        data_digest=str(identity.get("data") or (newest.data_digest if newest else "")),
        split=SPLITS.get(dataset),
        space=identity.get("space") or {},
        seed=identity.get("seed"),
        trials=trials,
        axis=study.cost,
        bounds=identity.get("max") or {},
        front=_networks(found),
        nearest=() if found else _networks(nearest(trials)),
        hypervolume=hypervolume(found, bar, study.cost.corner),
        endings=tuple(endings(trials)),
        seconds=study.seconds,
        environment=newest.details.environment if newest else {},
        retrained=final.networks,
        rank_correlation=final.rank_correlation,
        test_evaluations=sum(network.test_evaluations or 0 for network in final.networks),
        commands=final.commands,
    )


def _networks(trials: Iterable[TrialRecord]) -> tuple[Network, ...]:
    return tuple(Network(trial, trial.candidate) for trial in trials if trial.candidate is not None)


class Parameter(NamedTuple):
    """An entry of the space: its name, what it may be, and whether that is one value."""

    name: str
    values: str
    fixed: bool


def parameters(space: Mapping[str, Any], prefix: str = "") -> list[Parameter]:
    """Every entry of the space, in its order."""
    rows: list[Parameter] = []
    for key, value in space.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and not {"low", "high"} <= set(value):
            rows += parameters(value, f"{name}.")
        else:
            rows.append(Parameter(name, _domain(value), not isinstance(value, Mapping | list)))
    return rows


def _domain(value: Any) -> str:
    if isinstance(value, Mapping):
        step = f", steps of {_plain(value['step'])}" if "step" in value else ""
        return f"{_plain(value['low'])} to {_plain(value['high'])}" + (", log scale" if value.get("log") else "") + step
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
