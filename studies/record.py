"""A trial as everybody but Optuna's storages and samplers sees it: typed, and cheap to list.

The only module that knows how a trial is written into an Optuna trial: state and values, and the rest in user
attributes under few and short keys, as JSON. That format is read for ever: keys are added, and never change their
meaning. Everything may be missing, as in trials of other programs: what is unknown is None, or empty.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from slimfront.spaces.candidate import Candidate, CandidateError
from slimfront.studies.details import CurvePoint, Details
from slimfront.studies.foreign import values
from slimfront.studies.foreign.parameters import ordinary_parameters
from slimfront.studies.foreign.values import Row, finite

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

REASONS = {
    "below_bar": "could no longer reach the bar",
    "dominated": "could no longer be better than a cheaper or equally cheap network",
    "max_score": "its score is above the study's limit",
    "max_cost": "one of its costs is above the study's bound",
    "impossible": "no network can be built from what was sampled",
    "loss_not_finite": "its training diverged: the loss was not finite",
    "pruning": "pruning left no network that works",
    "cost": "one of its costs could not be measured",
    "out_of_memory": "out of memory",
    "files": "a file could not be read or written",
    "error": "an error in the code",
    "worker_died": "its worker process died",
    "same_as_failed": "the same candidate as a trial that failed",
}
"""Why a trial was stopped or failed: the word in a record, and what it means."""

REPEATABLE = frozenset({"impossible", "loss_not_finite", "pruning", "cost", "error", "same_as_failed"})
"""Reasons for which the same candidate would fail again; the others lie with the machine."""


class State(StrEnum):
    """Where a trial stands. What Optuna calls pruned is stopped here: pruning is what is done to networks."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing about the trial will change any more."""
        return self in (State.COMPLETE, State.STOPPED, State.FAILED)


OPTUNA_STATES = {
    State.WAITING: "WAITING",
    State.RUNNING: "RUNNING",
    State.COMPLETE: "COMPLETE",
    State.STOPPED: "PRUNED",
    State.FAILED: "FAIL",
}
"""Names of the members of Optuna's TrialState."""

_STATES = {name: state for state, name in OPTUNA_STATES.items()}


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: In its study, from 0 on.
        state: Where it stands.
        parameters: What was sampled, by name.
        distributions: What each parameter was sampled from.
        accuracy: Share of the validation images: final for a complete trial, else as it was last measured, which for a
            stopped one is where it stopped, not what it could have become; None before the first measurement.
        score: By the formula; final for a complete trial, else as it was known before training.
        objective: Name of the cost that its study keeps low; "": the score.
        costs: That were measured besides the score, by name; before its end those that are known before training.
        over: The study's bounds that it breaks, by the cost's name.
        begun: When it began; None: it waits.
        ended: When it ended.
        digest: Of its candidate; trials with the same one are the same network, trained in the same way.
        candidate_dict: What was decided, as JSON; see `candidate`.
        seed: Of the training.
        dataset: Name of the data set.
        data_digest: Hash of the data and of its split.
        totals: The score and what it is made of: all of `evaluators.scoring.score.Score.to_dict` but the layers.
        phases: A row for each phase of the pipeline, with what was measured after it.
        seconds: Time spent on this trial.
        device: Where it was trained, "cpu" or "cuda:0".
        threads: Of the training; part of what makes numbers repeat. 0: unknown.
        reason: Why it was stopped or failed, one of REASONS; None for a trial that ran to its end.
        text: More about why it failed, for people.
        bound: Upper bound of the final accuracy when it was stopped.
        copied_from: Number of the trial whose result was taken over, instead of training the same candidate again.
        uncompressed_from: Number of the trial that had trained its uncompressed network already.
        inherited: The supernet that its weights were cut out of; {}: it had an uncompressed training.
        spared: What it would have been stopped for, had it not been chosen to run to its end all the same.
        preset: Name of the preset that it was enqueued as.
        imported_from: The study and trial that it was taken from.
        starts: How often its training was begun.
        owner: Which search runs it.
        beat: The owner's last sign of life.
        notes: Remarks of its pipeline.
        account: What pruning was asked for, and what it removed.
        sampler: What the sampler wants to find again with the trial.
        code: Hash of the source of each reference to a user's own code that the trial used.
        violation: By how much it misses the bar, as samplers are told: at most 0 is feasible; None: it is not known.
        load: Gives the details: called once, where they are first looked at.
    """

    number: int
    state: State
    parameters: Mapping[str, Any] = field(default_factory=dict)
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    accuracy: float | None = None
    score: float | None = None
    objective: str = ""
    costs: Row = field(default_factory=dict)
    over: Row = field(default_factory=dict)
    begun: datetime | None = None
    ended: datetime | None = None
    digest: str | None = None
    candidate_dict: Mapping[str, Any] | None = None
    seed: int | None = None
    dataset: str = ""
    data_digest: str = ""
    totals: Row = field(default_factory=dict)
    phases: tuple[Row, ...] = ()
    seconds: float | None = None
    device: str = ""
    threads: int = 0
    reason: str | None = None
    text: str = ""
    bound: float | None = None
    copied_from: int | None = None
    uncompressed_from: int | None = None
    inherited: Row = field(default_factory=dict)
    spared: Row | None = None
    preset: str | None = None
    imported_from: str | None = None
    starts: int = 0
    owner: str | None = None
    beat: int | None = None
    notes: tuple[str, ...] = ()
    account: Row | None = None
    sampler: Row = field(default_factory=dict)
    code: Row = field(default_factory=dict)
    violation: float | None = None
    load: Callable[[], Details] = field(default=Details, compare=False, repr=False)

    @classmethod
    def of(cls, frozen: FrozenTrial, load: Callable[[], Details] | None = None) -> TrialRecord:
        """What Optuna keeps of a trial.

        Args:
            frozen: As Optuna gives it.
            load: Where the details come from; None: from the trial's attributes.
        """
        attributes = frozen.user_attrs
        totals = values.entries(attributes.get("score"), _TOTALS)
        data, run = (values.mapping(attributes.get(key)) for key in ("data", "run"))
        parameters, distributions = ordinary_parameters(frozen)
        simple = {name: read(attributes.get(key)) for key, (name, read) in _SIMPLE.items()}
        accuracy, score = attributes.get("accuracy"), totals.get("score")
        if frozen.values is not None and len(frozen.values) == 2:
            accuracy, told = frozen.values
            if simple["objective"]:
                simple["costs"] = values.costs({**simple["costs"], simple["objective"]: told})
            else:
                score = told
        return cls(
            number=frozen.number,
            state=_STATES[frozen.state.name],
            parameters=parameters,
            distributions=distributions,
            begun=frozen.datetime_start,
            ended=frozen.datetime_complete,
            totals=totals,
            dataset=values.text(data.get("name")) or "",
            data_digest=values.text(data.get("digest")) or "",
            device=values.text(run.get("device")) or "",
            threads=values.whole(run.get("threads")) or 0,
            load=load or functools.partial(Details.of, attributes),
            **{name: value for name, value in simple.items() if value is not None},
            accuracy=values.share(accuracy),
            score=values.score(score),
            violation=_violation(frozen.system_attrs.get("constraints")),
        )

    @classmethod
    def begin(cls, number: int, candidate: Candidate, **known: Any) -> TrialRecord:
        """The record of a running trial that has just been given its candidate, with other fields as far as known."""
        begun = {"state": State.RUNNING, "digest": candidate.digest, "candidate_dict": candidate.to_dict()}
        return cls(number, **(begun | known))

    def to_attributes(self) -> dict[str, Any]:
        """User attributes of an Optuna trial: JSON-able, without what is unknown."""
        totals = {key: finite(value) for key, value in self.totals.items()}
        heavy = self.details.to_attributes()
        found = {key: _plain(getattr(self, name)) for key, (name, _) in _SIMPLE.items()} | {
            "data": _known({"name": self.dataset, "digest": self.data_digest}),
            "accuracy": finite(self.accuracy),
            "score": totals,
            "strict_score": totals.get("strict_score"),  # apart, because the dashboard sorts by numbers only
            "stages": values.to_columns(self.phases),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "starts": self.starts or None,  # noted when training begins, not before
            **heavy,
            "run": _known({"device": self.device, "threads": self.threads or None, **heavy["run"]}),
        }
        return _known(found)

    def holding(self, **details: Any) -> TrialRecord:
        """The same record with some of its details replaced; these are kept in memory."""
        held = replace(self.details, **details)
        return replace(self, load=lambda: held)

    def result(self) -> TrialRecord:
        """What would hold for any trial with the same candidate: nothing of how this one was chosen and run."""
        return replace(
            self,
            uncompressed_from=None,
            spared=None,
            preset=None,
            imported_from=None,
            starts=0,
            owner=None,
            beat=None,
        )

    @functools.cached_property
    def candidate(self) -> Candidate | None:
        """What was decided; None where there is none that this version can read. Parsed when first asked for."""
        if self.candidate_dict is None:
            return None
        try:
            return Candidate.from_dict(self.candidate_dict)
        except (CandidateError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return None

    @property
    def own_candidate(self) -> Candidate | None:
        """The candidate, if the trial has trained it itself; None for one that copied another's result."""
        return self.candidate if self.copied_from is None else None

    @property
    def cost(self) -> float | None:
        """What its study keeps low; final for a complete trial, else as far as it was known before training."""
        return self.costs.get(self.objective) if self.objective else self.score

    @property
    def point(self) -> tuple[float, float]:
        """(accuracy, cost). Raises ValueError where one of them is unknown: see `is_located`."""
        if self.accuracy is None or self.cost is None:
            raise ValueError(f"Trial {self.number} has no accuracy, or no cost.")
        return self.accuracy, self.cost

    @property
    def is_located(self) -> bool:
        """Whether accuracy, a share in [0, 1], and a positive cost are known, so that it has a place among others.

        Another program may have added trials to a study, and meant percent or seconds by them.
        """
        return self.accuracy is not None and 0 <= self.accuracy <= 1 and self.cost is not None and self.cost > 0

    @property
    def why(self) -> str:
        """Why it was stopped or failed, for people."""
        return REASONS.get(self.reason or "", self.reason or "no reason noted")

    @functools.cached_property
    def details(self) -> Details:
        """The heavy part of the record, loaded when first asked for."""
        return self.load()

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """An entry an epoch, over all phases."""
        return self.details.curve

    @property
    def measured(self) -> list[tuple[int, float]]:
        """(epoch over all phases, accuracy) of each epoch whose accuracy is known."""
        return [(place, p.accuracy) for place, p in enumerate(self.curve, start=1) if p.accuracy is not None]

    @property
    def layers(self) -> tuple[Row, ...]:
        """The score table, a row a layer."""
        return self.details.layers


def uncompressed_epochs(record: TrialRecord) -> int | None:
    """Epochs of its uncompressed training: none where its weights were inherited; None: there is no candidate."""
    return None if record.candidate is None else 0 if record.inherited else record.candidate.recipe.epochs


def is_scored(layer: Row) -> bool:
    """Whether a row of the score table holds all that the layer's part of the score is made of."""
    there = all(layer.get(key) is not None for key in ("name", "weights", "macs", "weight_bits", "activation_bits"))
    return there and layer.get("stored_weights", 0) is not None


def _violation(constraints: Any) -> float | None:
    one = isinstance(constraints, list | tuple) and len(constraints) == 1
    return values.number(constraints[0]) if one else None


def _table(value: Any) -> Row | None:
    return value if isinstance(value, Mapping) else None


def _remarks(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple) or len(value) > values.MOST_ENTRIES:
        return None
    return tuple(text for text in map(values.long_text, value) if text is not None)


def _amounts(value: Any) -> Row | None:
    return values.amounts(value) if isinstance(value, Mapping) else None


def _labels(value: Any) -> Row | None:
    return values.labels(value) if isinstance(value, Mapping) else None


def _tree(value: Any) -> Row | None:
    return values.tree(value) if isinstance(value, Mapping) else None


def _phases(value: Any) -> tuple[Row, ...]:
    return values.table(value, _PHASE)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else finite(value)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value not in ({}, [], "")}


_TOTALS: Mapping[str, values.Reader] = {
    **dict.fromkeys(("parameters", "weights", "stored_weights", "macs", "strict_bits"), values.whole),
    **dict.fromkeys(("score", "score_params", "score_ops", "strict_score"), values.total),
}
_PHASE: Mapping[str, values.Reader] = {"stage": values.text, "accuracy": values.share, "seconds": values.amount}

_SIMPLE: Mapping[str, tuple[str, values.Reader]] = {
    "digest": ("digest", values.text),
    "candidate": ("candidate_dict", _table),  # as it is: whoever reads one checks it as a whole
    "seed": ("seed", values.seed),
    "objective": ("objective", values.text),
    "costs": ("costs", values.costs),
    "over": ("over", values.costs),
    "stages": ("phases", _phases),
    "seconds": ("seconds", values.amount),
    "reason": ("reason", values.text),
    "text": ("text", values.long_text),
    "bound": ("bound", values.number),
    "copied_from": ("copied_from", values.whole),
    "dense_of": ("uncompressed_from", values.whole),
    "inherited": ("inherited", _labels),
    "spared": ("spared", _labels),
    "preset": ("preset", values.text),
    "imported_from": ("imported_from", values.text),
    "starts": ("starts", values.whole),
    "owner": ("owner", values.text),
    "beat": ("beat", values.whole),
    "notes": ("notes", _remarks),
    "account": ("account", _amounts),
    "sampler": ("sampler", _tree),
    "code": ("code", _labels),
}
"""By attribute, where its value goes in a record, and how it is read."""
