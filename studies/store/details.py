"""What is heavy in a trial's record, in a table of its own: whoever lists trials does not have to load it.

A row a trial, in the database of the study: JSON with the learning curve, the table of layers, and the versions and
machine that it was trained with. Studies written before there was this table have these in the trials' attributes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy
import sqlalchemy.exc
from optuna.storages import RDBStorage
from slimfront.studies.foreign import values

DETAILS = "slimfront_details"  # the table's name
TABLE = sqlalchemy.Table(
    DETAILS,
    sqlalchemy.MetaData(),
    sqlalchemy.Column("study_id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("number", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("json", sqlalchemy.Text, nullable=False),
)


class DetailsTable:
    """The details of one study's trials, as the attributes that `slimfront.studies.record` writes and reads.

    Args:
        storage: The database; it stays open as long as there is somebody who may want details.
        study_id: The study's in it.
    """

    def __init__(self, storage: RDBStorage, study_id: int) -> None:
        self._storage, self._engine, self._study_id = storage, storage.engine, study_id
        self._exists = sqlalchemy.inspect(self._engine).has_table(TABLE.name)
        self._at_once: dict[int, Mapping[str, Any]] = {}  # read with all others, and not looked at yet

    def create(self) -> None:
        """Make the table where there is none; others may make it at the same time."""
        try:
            TABLE.create(self._engine, checkfirst=True)
        except sqlalchemy.exc.DBAPIError:
            if not sqlalchemy.inspect(self._engine).has_table(TABLE.name):
                raise
        self._exists = True

    def read(self, number: int) -> Mapping[str, Any]:
        """Of one trial; {} where there is nothing."""
        if not self._exists or number in self._at_once:
            return self._at_once.pop(number, {})
        query = sqlalchemy.select(TABLE.c.json).where(TABLE.c.study_id == self._study_id, TABLE.c.number == number)
        with self._engine.connect() as connection:
            text = connection.execute(query).scalar()
        return _parsed(text)

    def read_ahead(self, numbers: Collection[int]) -> None:
        """Read those of many trials at once, for somebody who is about to look at each.

        They have ended: those of a running trial change, and would be looked at as they are now.
        """
        if self._exists:
            query = sqlalchemy.select(TABLE.c.number, TABLE.c.json).where(TABLE.c.study_id == self._study_id)
            with self._engine.connect() as connection:
                rows = connection.execute(query)
                self._at_once = {number: _parsed(text) for number, text in rows if number in numbers}

    def write(self, number: int, details: Mapping[str, Any]) -> None:
        """Replace those of one trial."""
        here = (TABLE.c.study_id == self._study_id, TABLE.c.number == number)
        row = {"study_id": self._study_id, "number": number, "json": json.dumps(details, allow_nan=False)}
        with self._engine.begin() as connection:
            connection.execute(sqlalchemy.delete(TABLE).where(*here))
            connection.execute(sqlalchemy.insert(TABLE).values(row))


def _parsed(text: Any) -> Mapping[str, Any]:
    try:
        return values.mapping(json.loads(text))
    except (TypeError, ValueError, RecursionError):  # nothing, or nothing that slimfront wrote
        return {}


_TABLES = ("curve", "layers")
_OF_THE_RUN = ("device", "threads")  # short, and shown in lists


def split(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A trial's attributes as (those that stay with it, those for the table)."""
    run = dict(attributes.get("run") or {})
    environment = {key: run.pop(key) for key in list(run) if key not in _OF_THE_RUN}
    light = {key: value for key, value in attributes.items() if key not in (*_TABLES, "run")}
    heavy = {key: attributes[key] for key in _TABLES if key in attributes}
    return light | ({"run": run} if run else {}), heavy | ({"run": environment} if environment else {})


def join(light: Mapping[str, Any], heavy: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `split`."""
    run = {**values.mapping(light.get("run")), **values.mapping(heavy.get("run"))}
    return {**light, **heavy, **({"run": run} if run else {})}
