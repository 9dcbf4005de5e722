"""A storage that reads studies of ten thousand trials in seconds.

Optuna's own builds an object of SQLAlchemy for every parameter and attribute, and parses every distribution anew: some
forty for each trial, a minute and a gigabyte for ten thousand. This one reads plain rows, and trials share their
distributions and names. Writing, and everything else, is Optuna's.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Select, select

_AT_ONCE = 1000  # trials that are read by one set of queries

_SHORT = 500  # characters: what is longer is hardly ever the same in two trials

# The same object for the same text: nobody changes what a storage gives without being asked for a copy.
_shared_distribution = lru_cache(maxsize=4096)(json_to_distribution)
_shared_value = lru_cache(maxsize=1024)(json.loads)


class PlainStorage(RDBStorage):
    """Optuna's storage, with a reader of plain rows."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """As Optuna's: trials above a number, and some below it, in the order of their numbers in the database."""
        trials = models.TrialModel
        wanted: sqlalchemy.ColumnElement[bool] = trials.trial_id > trial_id_greater_than
        below = [number for number in included_trial_ids if number <= trial_id_greater_than]
        if below:
            wanted = sqlalchemy.or_(wanted, trials.trial_id.in_(below))
        condition = sqlalchemy.and_(trials.study_id == study_id, wanted)
        if states is not None:
            assert isinstance(states, Iterable)
            condition = sqlalchemy.and_(condition, trials.state.in_(list(states)))
        with self.engine.connect() as connection:
            study = select(models.StudyModel.study_id).where(models.StudyModel.study_id == study_id)
            if connection.execute(study).first() is None:
                raise KeyError(f"No study with study_id {study_id} exists.")
            rows = connection.execute(_trial_rows().where(condition).order_by(trials.trial_id)).all()
            found: list[FrozenTrial] = []
            for begin in range(0, len(rows), _AT_ONCE):
                found.extend(_built(connection, rows[begin : begin + _AT_ONCE]))
        return found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial, by its number in the database. Raises KeyError."""
        with self.engine.connect() as connection:
            rows = connection.execute(_trial_rows().where(models.TrialModel.trial_id == trial_id)).all()
            for found in _built(connection, rows):
                return found
        raise KeyError(f"No trial with trial_id {trial_id} exists.")


def _trial_rows() -> Select[Any]:
    trials = models.TrialModel
    return select(
        trials.trial_id, trials.number, trials.state, trials._datetime_start_utc, trials._datetime_complete_utc
    )


def _built(connection: Connection, rows: Sequence[Any]) -> Iterator[FrozenTrial]:
    """Trials from their rows, with all that hangs on them."""
    ids = [row[0] for row in rows]
    params: dict[int, dict[str, Any]] = {trial_id: {} for trial_id in ids}
    distributions: dict[int, dict[str, BaseDistribution]] = {trial_id: {} for trial_id in ids}
    for trial_id, name, value, text in _children(connection, ids, models.TrialParamModel):
        distribution = _shared_distribution(text)
        name = sys.intern(name)
        distributions[trial_id][name] = distribution
        params[trial_id][name] = distribution.to_external_repr(value)
    values: dict[int, dict[int, float]] = {trial_id: {} for trial_id in ids}
    for trial_id, objective, value, kind in _children(connection, ids, models.TrialValueModel):
        values[trial_id][objective] = models.TrialValueModel.stored_repr_to_value(value, kind)
    attributes: list[dict[int, dict[str, Any]]] = []
    for model in (models.TrialUserAttributeModel, models.TrialSystemAttributeModel):
        attributes.append({trial_id: {} for trial_id in ids})
        for trial_id, key, text in _children(connection, ids, model):
            value = _shared_value(text) if len(text) < _SHORT else json.loads(text)
            attributes[-1][trial_id][sys.intern(key)] = value
    steps: dict[int, dict[int, float]] = {trial_id: {} for trial_id in ids}
    for trial_id, step, value, kind in _children(connection, ids, models.TrialIntermediateValueModel):
        steps[trial_id][step] = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(value, kind)
    for trial_id, number, state, begun, ended in rows:
        told = values[trial_id]
        yield FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=[told[objective] for objective in sorted(told)] or None,
            datetime_start=_local(begun),
            datetime_complete=_local(ended),
            params=params[trial_id],
            distributions=distributions[trial_id],
            user_attrs=attributes[0][trial_id],
            system_attrs=attributes[1][trial_id],
            intermediate_values=steps[trial_id],
            trial_id=trial_id,
        )


_COLUMNS: dict[Any, tuple[str, ...]] = {
    models.TrialParamModel: ("param_name", "param_value", "distribution_json"),
    models.TrialValueModel: ("objective", "value", "value_type"),
    models.TrialUserAttributeModel: ("key", "value_json"),
    models.TrialSystemAttributeModel: ("key", "value_json"),
    models.TrialIntermediateValueModel: ("step", "intermediate_value", "intermediate_value_type"),
}


def _children(connection: Connection, ids: list[int], model: Any) -> Sequence[Any]:
    """(trial_id, and the table's columns) of all rows that hang on these trials, oldest first."""
    columns = [model.trial_id, *(getattr(model, name) for name in _COLUMNS[model])]
    (own,) = model.__table__.primary_key
    return connection.execute(select(*columns).where(model.trial_id.in_(ids)).order_by(own)).all()


def _local(moment: datetime.datetime | None) -> datetime.datetime | None:
    """Kept as UTC without saying so; given as local time without saying so, as Optuna does."""
    return None if moment is None else moment.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)
