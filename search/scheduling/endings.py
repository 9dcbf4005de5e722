"""How trials end: what is written of them, and what becomes of those that waited for the same candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from slimfront.evaluators.job import Failure, Result
from slimfront.evaluators.scoring.cost import over
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.early_stopping import MAX_COST, MAX_SCORE, Verdict
from slimfront.search.own_code import code_of
from slimfront.search.scheduling.work import Work
from slimfront.studies.details import CurvePoint
from slimfront.studies.environment import environment
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store.constraint import costs_of, judged_violation, refusal
from slimfront.studies.store.constraint import violation as miss
from slimfront.studies.store.ownership import NOBODY, Ownership
from slimfront.studies.store.study import StudyStore


@dataclass(frozen=True)
class Circumstances:
    """What is not a candidate's choice, and is noted with every trial.

    Attributes:
        data_digest: Hash of the data and of its split.
        device: Where trainings run.
        threads: Of each training.
        inherited: See TrialRecord.
    """

    data_digest: str
    device: str
    threads: int
    inherited: Mapping[str, str] = field(default_factory=dict)


class Endings:
    """Ends the trials of a study.

    Attributes:
        waiting: Trials whose candidate is in training for another one.
    """

    def __init__(
        self, store: StudyStore, ownership: Ownership, settings: Settings, circumstances: Circumstances
    ) -> None:
        self._store, self._ownership, self._settings = store, ownership, settings
        self._circumstances = circumstances
        self.waiting: list[Work] = []

    def record(self, work: Work, **known: Any) -> TrialRecord:
        """The record of a trial, with what is known of it besides."""
        rated = work.rated
        fixed = {
            "seed": self._settings.seed,
            "dataset": self._settings.dataset,
            "data_digest": self._circumstances.data_digest,
            "device": self._circumstances.device,
            "threads": self._circumstances.threads,
            "uncompressed_from": work.uncompressed_from,
            "inherited": self._circumstances.inherited,
            "starts": work.starts,
            "totals": _totals(rated.score),
            "score": work.score,
            "objective": "" if work.objective == SCORE.name else work.objective,
            "costs": {name: value for name, value in rated.costs.items() if name != SCORE.name},
            "code": code_of(work.candidate, self._settings),
        }
        record = TrialRecord.begin(work.number, work.candidate, **(fixed | known))
        return record.holding(layers=tuple(rated.score.get("layers", ())), environment=environment())

    def complete(self, work: Work, result: Result) -> bool:
        """It was trained to its end. False: another coordinator has taken it over, and this is dropped."""
        score = float(result.score["score"])
        record = self.record(
            work,
            accuracy=result.accuracy,
            totals=_totals(result.score),
            score=score,
            costs=result.costs,
            over=over({SCORE.name: score, **result.costs}, self._settings.max),
            phases=tuple({"stage": name, "accuracy": value} for name, value in result.accuracies.items()),
            seconds=result.seconds,
            notes=tuple(result.notes),
            account=result.facts.get("account"),  # of pruning: the measured score beside the closed formula's
        ).holding(curve=_points(result.curve), layers=tuple(result.score.get("layers", ())))
        return self._end(work, State.COMPLETE, record)

    def stopped(self, work: Work, verdict: Verdict, curve: Sequence[Epoch] = (), seconds: float = 0.0) -> bool:
        """It was stopped early, or is not trained at all. False: as in `complete`."""
        record = self.record(
            work,
            accuracy=curve[-1].accuracy if curve else None,
            seconds=seconds,
            reason=verdict.reason,
            bound=verdict.bound,
        )
        return self._end(work, State.STOPPED, record.holding(curve=_points(curve)))

    def failed(self, work: Work, failure: Failure, curve: Sequence[Epoch] = (), seconds: float = 0.0) -> bool:
        """It came to nothing. False: as in `complete`."""
        record = self.record(work, seconds=seconds, reason=failure.reason, text=failure.text)
        return self._end(work, State.FAILED, record.holding(curve=_points(curve)))

    def copied(self, work: Work, origin: TrialRecord) -> int:
        """It takes over how another trial with the same candidate ended; returns the number of the one trained."""
        number = origin.copied_from if origin.copied_from is not None else origin.number
        if origin.state == State.FAILED:
            failure = Failure("same_as_failed", f"the same candidate as trial {origin.number}")
            self.failed(work, failure)
        else:
            details = origin.details
            record = replace(
                self.record(work, **_taken(origin), copied_from=number, seconds=0.0), score=origin.score
            ).holding(curve=details.curve, layers=details.layers)
            self._end(work, origin.state, record)
        return number

    def given_up(self, number: int, reason: str, text: str) -> None:
        """A trial has failed before its training could begin."""
        self._store.end(number, State.FAILED, {"reason": reason, "text": text})
        self._ownership.drop(number)

    def _end(self, work: Work, state: State, record: TrialRecord) -> bool:
        """End a trial that we own; the database ends each but once, so two that believe to own it count it once."""
        values = record.point if state == State.COMPLETE else None
        violation = self._violation(state, record)
        kept = self._ownership.holds(work.number) and self._store.end(
            work.number, state, record.to_attributes(), values=values, violation=violation
        )
        self._ownership.drop(work.number)
        self._settle_waiting(work)
        return kept

    def _violation(self, state: State, record: TrialRecord) -> float | None:
        """By how much it misses the bar, as samplers are told."""
        bar, limits = self._settings.bar, self._settings.refused_above
        if state == State.COMPLETE:
            return judged_violation(record, record.point[0], bar)
        if state == State.FAILED:
            return None
        if record.reason in (MAX_SCORE, MAX_COST) and over(costs_of(record), limits):
            return refusal(costs_of(record), limits, bar)
        # What it could have reached at best takes the place of what it reached: a sampler then ranks it among the
        # infeasible by how far it fell short.
        return miss(min(1.0 if record.bound is None else record.bound, 1.0), bar)

    def _settle_waiting(self, work: Work) -> None:
        digest = work.candidate.digest
        waited = [other for other in self.waiting if other.candidate.digest == digest]
        self.waiting = [other for other in self.waiting if other.candidate.digest != digest]
        ended = self._store.trials[work.number]
        for other in waited:
            if ended.state.is_over:
                self.copied(other, ended)
            else:  # another coordinator has `work` now: it takes these over, too
                self._store.write(other.number, {"owner": NOBODY})
                self._ownership.drop(other.number)


def _totals(score: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in score.items() if key != "layers"}


def _taken(origin: TrialRecord) -> dict[str, Any]:
    """What a copy takes over of the trial that was trained."""
    names = ("accuracy", "totals", "costs", "over", "phases", "reason", "bound", "notes", "account")
    return {name: getattr(origin, name) for name in names}


def _points(curve: Sequence[Epoch]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(epoch.stage, epoch.epoch, epoch.epochs, epoch.loss, epoch.accuracy, epoch.seconds) for epoch in curve
    )
