"""Several writes to a trial in one transaction: what a trial is, or came to, is in the database whole or not at all.

A trial is some forty writes: parameters, attributes, its end. Each by itself would be a transaction of its own, which
waits for the disk, and for the network where the database is elsewhere.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from slimfront.search.patience import PatientStorage
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass
class Writes:
    """What is to be written to a trial.

    Attributes:
        params: (value as Optuna stores it, distribution) by name; what is in the database already stays.
        user: User attributes; what is in the database already is replaced.
        system: System attributes, likewise.
        end: (state, values) that the trial is told with; None: it goes on.
    """

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    end: tuple[TrialState, Sequence[float] | None] | None = None

    def seen_in(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as it will be."""
        seen = copy.copy(trial)
        told = {name: kind.to_external_repr(value) for name, (value, kind) in self.params.items()}
        seen.params = told | trial.params
        seen._distributions = {name: kind for name, (_, kind) in self.params.items()} | trial.distributions
        seen.user_attrs = trial.user_attrs | self.user
        seen.system_attrs = trial.system_attrs | self.system
        if self.end is not None:
            seen.state = self.end[0]
            seen.values = None if self.end[1] is None else list(self.end[1])
        return seen


class StudyStorage(PatientStorage):
    """A patient storage that can collect what is written to trials.

    Attributes:
        begun: Trials that we have made, or taken from the queue.
        ended: Trials that we have told, or added as ended.
    """

    begun = 0
    ended = 0
    _held: dict[int, Writes] | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is written to trials inside at its end, one transaction a trial; nothing where it fails.

        Inside, `get_trial` shows what is collected, and lists of trials do not. For one thread.
        """
        if self._held is not None:
            yield
            return
        held: dict[int, Writes] = {}
        self._held = held
        try:
            yield
        finally:
            self._held = None
        for trial_id, writes in held.items():
            self._write(trial_id, writes)

    def _writes(self, trial_id: int) -> Writes | None:
        return None if self._held is None else self._held.setdefault(trial_id, Writes())

    def _write(self, trial_id: int, writes: Writes) -> None:
        study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
        known = self._studies[study_id].param_distribution

        def attempt(number: int) -> None:
            try:
                write(self.backend, trial_id, writes, known)
            except UpdateFinishedTrialError:
                # The answer to an earlier attempt may have been lost on its way: then it is told as we wanted it.
                told = self.backend.get_trial(trial_id).state
                if not number or writes.end is None or told != writes.end[0]:
                    raise

        self.ended += writes.end is not None
        self.patiently(attempt)
        known.update({name: distribution for name, (_, distribution) in writes.params.items()})

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See optuna.storages.BaseStorage."""
        state = TrialState.RUNNING if template_trial is None else template_trial.state
        self.begun += state == TrialState.RUNNING
        self.ended += state.is_finished()
        return super().create_new_trial(study_id, template_trial)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """See optuna.storages.BaseStorage."""
        writes = self._writes(trial_id)
        if writes is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        else:
            writes.params.setdefault(param_name, (param_value_internal, distribution))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See optuna.storages.BaseStorage."""
        writes = self._writes(trial_id)
        if writes is None:
            super().set_trial_user_attr(trial_id, key, value)
        else:
            writes.user[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See optuna.storages.BaseStorage."""
        writes = self._writes(trial_id)
        if writes is None:
            super().set_trial_system_attr(trial_id, key, value)
        else:
            writes.system[key] = value

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See optuna.storages.BaseStorage."""
        writes = self._writes(trial_id) if state.is_finished() else None
        if writes is None:
            self.ended += state.is_finished()
            changed = super().set_trial_state_values(trial_id, state, values)
            self.begun += changed and state == TrialState.RUNNING
            return changed
        writes.end = state, values
        return True

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See optuna.storages.BaseStorage."""
        trial = super().get_trial(trial_id)
        held = None if self._held is None else self._held.get(trial_id)
        return trial if held is None else held.seen_in(trial)


def write(backend: RDBStorage, trial_id: int, writes: Writes, known: Mapping[str, BaseDistribution]) -> None:
    """Write everything in one transaction.

    Args:
        backend: On SQLite or PostgreSQL.
        trial_id: Of a trial that has not ended.
        writes: What to write.
        known: Distributions that the study is known to have; those of other parameters are looked up.

    Raises:
        UpdateFinishedTrialError: The trial has ended.
        ValueError: A parameter has another distribution in this study.
    """
    with _create_scoped_session(backend.scoped_session) as session:
        trial: Any = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
        backend.check_trial_is_updatable(trial_id, trial.state)
        _write_params(session, trial, writes, known)
        for model, attributes in (
            (models.TrialUserAttributeModel, writes.user),
            (models.TrialSystemAttributeModel, writes.system),
        ):
            _write_attributes(session, trial_id, model, attributes)
        if writes.end is not None:
            state, values = writes.end
            for objective, value in enumerate(values or ()):
                backend._set_trial_value_without_commit(session, trial, objective, value)
            session.flush()  # values are refused once the trial has ended
            trial.state = state
            trial.datetime_complete = datetime.datetime.now()


def _write_params(session: Session, trial: Any, writes: Writes, known: Mapping[str, BaseDistribution]) -> None:
    rows = []
    for name, (value, distribution) in writes.params.items():
        before = known.get(name) or _distribution(session, trial.study_id, name)
        if before is not None:
            check_distribution_compatibility(before, distribution)
        kept = {"param_name": name, "param_value": value, "distribution_json": distribution_to_json(distribution)}
        rows.append({"trial_id": trial.trial_id, **kept})
    if rows:
        session.execute(_insert(session, models.TrialParamModel).values(rows).on_conflict_do_nothing())


def _distribution(session: Session, study_id: int, name: str) -> BaseDistribution | None:
    """What the study has a parameter as; None: it has none of this name."""
    params, trials = models.TrialParamModel, models.TrialModel
    query = sqlalchemy.select(params.distribution_json).join(trials, trials.trial_id == params.trial_id)
    text = session.execute(query.where(trials.study_id == study_id, params.param_name == name).limit(1)).scalar()
    return None if text is None else json_to_distribution(text)


def _write_attributes(session: Session, trial_id: int, model: Any, attributes: Mapping[str, Any]) -> None:
    if not attributes:
        return
    rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    statement = _insert(session, model).values(rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[model.trial_id, model.key], set_={"value_json": statement.excluded.value_json}
        )
    )


def _insert(session: Session, model: Any) -> Any:
    return _INSERT[session.get_bind().dialect.name](model)
