"""Studies and trials between Optuna and our records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.record import OPTUNA_STATES, State, TrialRecord
from slimfront.studies.store.constraint import CONSTRAINTS, judged_violation
from slimfront.studies.store.identity import bar_of


@dataclass(frozen=True)
class StudyRecord:
    """A study as it stands, for those who read it.

    Attributes:
        name: Of the study.
        storage: Its URL, without passwords; "memory" for one that is not stored.
        trials: All of them, by number.
        identity: Settings that the study was begun with; empty for a study of another program.
        seconds: That searches have worked on it.
        cost: What it keeps low, in words.
        cloud: (accuracy, cost) of cuts of its supernet, before any training of their own.
    """

    name: str
    storage: str
    trials: tuple[TrialRecord, ...]
    identity: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cost: CostAxis = SCORE_AXIS
    cloud: tuple[tuple[float, float], ...] = ()

    @property
    def bar(self) -> float:
        """Accuracy that the study demands, a share in (0, 1]. Raises StudyError where it says another."""
        return bar_of(self.name, self.identity)


def read_trials(study: Study) -> list[TrialRecord]:
    """All trials of a study, by number."""
    return [TrialRecord.of(frozen) for frozen in study.get_trials(deepcopy=False)]


def to_frozen(record: TrialRecord, bar: float) -> FrozenTrial:
    """A trial that `Study.add_trial` takes; the study gives it a number and, where it is over, the time of now.

    Args:
        record: Of any state; a complete one needs its accuracy and its cost.
        bar: Of the study that the trial is added to: complete and stopped trials are judged by it.
    """
    bound = record.accuracy if record.bound is None else min(record.bound, 1.0)
    judged = {State.COMPLETE: record.accuracy, State.STOPPED: bound}.get(record.state)
    return create_trial(
        state=TrialState[OPTUNA_STATES[record.state]],
        values=record.point if record.state is State.COMPLETE else None,
        params=dict(record.parameters),
        distributions=dict(record.distributions),
        user_attrs=record.to_attributes(),
        system_attrs={} if judged is None else {CONSTRAINTS: [judged_violation(record, judged, bar)]},
    )
