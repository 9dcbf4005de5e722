"""What a trial leaves behind: everything needed to understand it, and to build it again.

A Record lives in the user attributes of its Optuna trial, under few and short keys, as JSON; tables (curve, layers,
stages) are kept by column, which takes a third of the room. A record can be written as soon as the candidate is known,
and again when the trial ends: only what changed is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, Trial
from slimfront.spaces.candidate import Candidate, CandidateError

REASONS = {
    "below_bar": "could no longer reach the bar",
    "dominated": "could no longer be better than a cheaper or equally cheap network",
    "max_score": "its score is above the study's limit",
    "impossible": "no network can be built from what was sampled",
    "loss_not_finite": "its training diverged: the loss was not finite",
    "pruning": "pruning left no network that works",
    "out_of_memory": "out of memory",
    "files": "a file could not be read or written",
    "error": "an error in the code",
    "worker_died": "its worker process died",
    "same_as_failed": "the same candidate as a trial that failed",
}
"""Why a trial was stopped or failed: the word in a record, and what it means."""

REPEATABLE = frozenset({"impossible", "loss_not_finite", "pruning", "error", "same_as_failed"})
"""Reasons for which the same candidate would fail again; the others lie with the machine."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        candidate: What was decided.
        seed: Seed of the training.
        dataset: Name of the data set.
        data_digest: Hash of the data and of its split.
        accuracy: Share of the validation images, of the network as it was last measured; None before the first
            measurement. For a stopped trial it is where it stopped, not what it could have become.
        score: Totals and `layers` as `evaluators.scoring.score.Score.to_dict` gives them; empty before it is known.
        curve: A row an epoch: stage, epoch, epochs, loss, accuracy, seconds.
        stages: A row a stage, with whatever its author measured (stage, accuracy, seconds, ...).
        seconds: Time spent on this trial.
        device: Where it was trained, "cpu" or "cuda:0".
        threads: Threads of the training; part of what makes numbers repeat.
        environment: Versions, machine and commit, from `environment()`.
        reason: Why it was stopped or failed, one of REASONS; None for a trial that ran to its end.
        bound: Upper bound of the final accuracy when it was stopped.
        copied_from: Number of the trial whose result was taken over, instead of training the same candidate again.
        artifacts: Files that it left, relative to the study's folder.
    """

    candidate: Candidate
    seed: int = 0
    dataset: str = ""
    data_digest: str = ""
    accuracy: float | None = None
    score: Row = field(default_factory=dict)
    curve: tuple[Row, ...] = ()
    stages: tuple[Row, ...] = ()
    seconds: float = 0.0
    device: str = ""
    threads: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    bound: float | None = None
    copied_from: int | None = None
    artifacts: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The candidate's digest, by which one that was met before is found."""
        return self.candidate.digest

    def to_attributes(self) -> dict[str, Any]:
        """User attributes of an Optuna trial: JSON-able, without what is unknown."""
        totals = {key: _number(value) for key, value in self.score.items() if key != "layers"}
        found: dict[str, Any] = {
            "digest": self.digest,
            "candidate": self.candidate.to_dict(),
            "seed": self.seed,
            "data": _known({"name": self.dataset, "digest": self.data_digest}),
            "accuracy": _number(self.accuracy),
            "score": totals,
            "strict_score": totals.get("strict_score"),  # apart, because the dashboard sorts by numbers only
            "layers": _columns(self.score.get("layers") or ()),
            "curve": _columns(self.curve),
            "stages": _columns(self.stages),
            "seconds": round(self.seconds, 3),
            "run": _known({"device": self.device, "threads": self.threads or None, **self.environment}),
            "reason": self.reason,
            "bound": _number(self.bound),
            "copied_from": self.copied_from,
            "artifacts": list(self.artifacts),
        }
        return _known(found)

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Record:
        """The inverse of `to_attributes`. Absent keys become defaults.

        Raises:
            KeyError: There is no candidate.
            CandidateError: The candidate is not one that this version knows.
        """
        data = _mapping(attributes.get("data"))
        run = dict(_mapping(attributes.get("run")))
        score = dict(_mapping(attributes.get("score")))
        layers = _rows(attributes.get("layers"))
        if layers:
            score["layers"] = [dict(layer) for layer in layers]
        return cls(
            candidate=Candidate.from_dict(attributes["candidate"]),
            seed=int(attributes.get("seed", 0)),
            dataset=str(data.get("name", "")),
            data_digest=str(data.get("digest", "")),
            accuracy=_number(attributes.get("accuracy")),
            score=score,
            curve=_rows(attributes.get("curve")),
            stages=_rows(attributes.get("stages")),
            seconds=float(attributes.get("seconds", 0.0)),
            device=str(run.pop("device", "")),
            threads=int(run.pop("threads", 0)),
            environment={key: str(value) for key, value in run.items()},
            reason=attributes.get("reason"),
            bound=_number(attributes.get("bound")),
            copied_from=attributes.get("copied_from"),
            artifacts=tuple(attributes.get("artifacts", ())),
        )


def write(trial: Trial, record: Record) -> None:
    """Store the record in a running trial. What is stored already and has not changed is not written again."""
    known = trial.user_attrs
    for key, value in record.to_attributes().items():
        if key not in known or known[key] != value:
            trial.set_user_attr(key, value)


def candidate_of(trial: FrozenTrial) -> Candidate | None:
    """The candidate that a trial has trained itself; None: it copied another's result, or has none that can be read."""
    attributes = trial.user_attrs
    if "candidate" not in attributes or "copied_from" in attributes:
        return None
    try:
        return Candidate.from_dict(attributes["candidate"])
    except CandidateError:
        return None


def read(trial: FrozenTrial) -> Record | None:
    """The record of a trial; None where there is none that this version can read, as in a study of another program."""
    try:
        return Record.from_attributes(trial.user_attrs)
    except (KeyError, CandidateError, TypeError, ValueError):
        return None


def accuracy_and_score(trial: FrozenTrial) -> tuple[float | None, float | None]:
    """Where the trial lies in the plane: its values, or for an unfinished one what its record says; None if unknown.

    Cheap: the candidate is not parsed.
    """
    if trial.values and len(trial.values) == 2:
        return _number(trial.values[0]), _number(trial.values[1])
    return _number(trial.user_attrs.get("accuracy")), _number(_mapping(trial.user_attrs.get("score")).get("score"))


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value not in ({}, [], "")}


def _number(value: Any) -> Any:
    """None for NaN and infinities, which JSON does not know; what is not a float as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _columns(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """[{"a": 1, "b": 2}, {"a": 3}] becomes {"a": [1, 3], "b": [2, None]}."""
    table = list(rows)
    names = list(dict.fromkeys(name for row in table for name in row))
    return {name: [_number(row.get(name)) for row in table] for name in names}


def _rows(columns: Any) -> tuple[Row, ...]:
    names = list(_mapping(columns))
    values: Sequence[Sequence[Any]] = [columns[name] for name in names]
    return tuple(dict(zip(names, row, strict=True)) for row in zip(*values, strict=True))
