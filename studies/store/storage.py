"""Where studies live: opening a storage, finding a study in it, and never showing a password.

Two kinds of storage: `sqlite:///FILE` for one coordinator on one machine, `postgresql://USER:PASSWORD@HOST/NAME` for
several. Everything that a user can get wrong (a typing error, a folder that is not there, a server that is down) is a
StudyError of one line.
"""

from __future__ import annotations

import functools
import sqlite3
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign.text import LONGEST, visible
from slimfront.studies.store import sqlite_files
from slimfront.studies.store.details import DETAILS
from slimfront.studies.store.identity import DIRECTIONS, METRIC_NAMES, metric_names, refuse_foreign
from slimfront.studies.store.legible import LegibleStorage
from slimfront.studies.store.urls import (
    file_of,
    one_line,
    parse,
    safe_url,
    same_database,
    storage_files,
    typed_command,
)
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import SQLAlchemyError

__all__ = [
    "DIRECTIONS",
    "METRIC_NAMES",
    "StudyError",
    "check_name",
    "create_or_load",
    "load_study",
    "one_line",
    "open_storage",
    "own_studies",
    "safe_url",
    "same_database",
    "storage_files",
    "study_names",
    "typed_command",
]

SQLITE_TIMEOUT = 60.0  # seconds to wait for another process's lock: a dashboard reading, a backup running
CONNECT_TIMEOUT = 10  # seconds until a server counts as unreachable
NO_DRIVER = "Storage {} needs the PostgreSQL driver, which is not installed: pip install 'slimfront[postgresql]'."
_CREATION_ATTEMPTS = 5  # two processes that open a new database at once both try to create its tables
_OTHER_NAME = "give this one another --name or --storage"


@functools.cache
def optuna_columns() -> Mapping[str, frozenset[str]]:
    """The columns of each of Optuna's tables, seen in a new storage: another program's database has others."""
    with warnings.catch_warnings(action="ignore"):
        engine = RDBStorage("sqlite:///:memory:").engine
    return columns_of(engine)


def columns_of(engine: Engine) -> dict[str, frozenset[str]]:
    """The columns of every table in a database."""
    found = sqlalchemy.inspect(engine).get_multi_columns()
    return {name: frozenset(column["name"] for column in columns) for (_, name), columns in found.items()}


def our_tables() -> frozenset[str]:
    """The tables of a storage of ours: Optuna's, and one beside them."""
    return frozenset({*optuna_columns(), DETAILS})


def open_storage(url: str, *, must_exist: bool = False, option: str = "--storage") -> RDBStorage:
    """Open the storage of studies for writing and create its tables where there are none.

    SQLite is put into write-ahead logging, so that a dashboard can read while a search writes, and waits up to a
    minute for another process's lock. PostgreSQL connections are tested before use, so that a server that went away
    and came back costs nothing. For reading there is `slimfront.studies.store.read_only.open_for_reading`.

    Args:
        url: `sqlite:///FILE` (relative to the working folder) or `postgresql://USER:PASSWORD@HOST[:PORT]/DATABASE`.
        must_exist: Refuse an SQLite file that is not there, instead of creating it.
        option: Of the command line, that the URL was given with.

    Raises:
        StudyError: The URL is wrong, the folder or file is missing or cannot be written, the server cannot be reached,
            the driver is not installed, or the database was made by an incompatible version of Optuna, or is an SQLite
            file of another program. Passwords are not shown.
    """
    parsed = parse(url)
    shown = safe_url(url)
    path = file_of(parsed)
    if path is not None:
        check_file(path, shown, must_exist, option)
        if not sqlite_files.can_be_written(parsed):
            raise StudyError(f"Storage {shown} cannot be written: copy it to where it can, or name another.")
        _refuse_foreign(parsed, path, shown)
    storage = make_storage(parsed, engine_arguments(parsed), shown)
    if path is not None:
        _enable_write_ahead_log(storage)
    return storage


def engine_arguments(url: URL) -> dict[str, Any]:
    """Arguments of SQLAlchemy's `create_engine` for a database that is written."""
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_TIMEOUT}}
    return {
        "pool_pre_ping": True,
        "connect_args": {"connect_timeout": CONNECT_TIMEOUT, "application_name": "slimfront"},
    }


def check_file(path: Path, shown: str, must_exist: bool, option: str) -> None:
    """Refuse an SQLite file that cannot be there, or is not and must be. Raises StudyError."""
    if path.is_dir():
        raise StudyError(f"Storage {shown} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise StudyError(f"Storage {shown} cannot be opened: the folder {path.parent} does not exist; create it first.")
    if must_exist and not path.exists():
        raise StudyError(f"Storage {shown} does not exist: run a search first, or name another with {option}.")


def _refuse_foreign(url: URL, path: Path, shown: str) -> None:
    """Refuse to make our tables in another program's file. A PostgreSQL database may well be shared."""
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        tables = sqlite_files.tables(url, SQLITE_TIMEOUT, our_tables())
    except StudyError as error:
        raise StudyError(f"Storage {shown} is not opened: {error}.") from None
    except (sqlite3.Error, OSError) as error:
        raise StudyError(f"Storage {shown} cannot be opened: {one_line(error)}.") from None
    if tables and tables.isdisjoint(optuna_columns()):
        what = f"is a database of another program ({len(tables)} tables)"
        raise StudyError(f"Storage {shown} {what}: give the study a file of its own.")


def make_storage(url: URL, engine: dict[str, Any], shown: str, *, reading: bool = False) -> RDBStorage:
    """Optuna's storage on a database, with its tables made where they are missing, unless it is for reading.

    Raises:
        StudyError: The database cannot be reached, or its tables are of another version of Optuna.
    """
    text = url.render_as_string(hide_password=False)
    for attempt in range(_CREATION_ATTEMPTS):
        try:
            return LegibleStorage(text, engine_kwargs=engine, skip_table_creation=reading)
        except ImportError:
            raise StudyError(NO_DRIVER.format(shown)) from None
        except RuntimeError as error:  # Optuna's check of the tables' version
            raise StudyError(f"Storage {shown} cannot be used: {one_line(error, text)}.") from None
        except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError) as error:
            # The loser of a race to create the tables finds them on its next attempt.
            reason = one_line(error, text)
            raced = "already exists" in reason or "duplicate key" in reason or "UNIQUE constraint" in reason
            if not raced or attempt == _CREATION_ATTEMPTS - 1:
                raise StudyError(f"Storage {shown} cannot be opened: {reason}.") from None
            time.sleep(0.1 * (attempt + 1))
    raise AssertionError("unreachable")


def _enable_write_ahead_log(storage: RDBStorage) -> None:
    """Readers and the writer stop blocking each other. A file system or file that cannot do it stays as it is."""
    try:
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    except SQLAlchemyError:
        pass


def study_names(storage: BaseStorage) -> list[str]:
    """Names of all studies in the storage, in alphabetical order."""
    return sorted(optuna.get_all_study_names(storage=storage))


def load_study(
    storage: BaseStorage, name: str | None = None, *, options: tuple[str, str] = ("--storage", "--name")
) -> Study:
    """The study of that name, or the only one that is there: for commands that read.

    `options` are those of the command line for storage and name.

    Raises:
        StudyError: There is no such study, there are several and none is named, there are none, or it is not ours.
    """
    names = study_names(storage)
    if not names:
        raise StudyError(f"The storage holds no study yet: run a search first, or name another with {options[0]}.")
    if name is None and len(names) > 1:
        raise StudyError(f"The storage holds {len(names)} studies, name one with {options[1]}: {_listed(names)}.")
    if name is not None and name not in names:
        raise StudyError(f"The storage holds no study {name!r}, only: {_listed(names)}.")
    study = optuna.load_study(storage=storage, study_name=names[0] if name is None else name)
    refuse_foreign(study, f"name another with {' or '.join(options)}")
    return study


def own_studies(storage: BaseStorage) -> tuple[list[Study], list[str]]:
    """slimfront's studies in a storage, in alphabetical order, and the names of other programs' studies.

    Raises:
        StudyError: There are studies, and none of them is slimfront's.
    """
    own, others = [], {}
    for name in study_names(storage):
        try:
            own.append(load_study(storage, name))
        except StudyError as error:
            others[name] = error
    if others and not own:
        raise next(iter(others.values()))
    return own, list(others)


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(visible(name, most=LONGEST) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def check_name(storage: BaseStorage, name: str) -> None:
    """Raise StudyError where a study of that name is there that slimfront cannot go on with; creates nothing."""
    if name in study_names(storage):
        refuse_foreign(optuna.load_study(storage=storage, study_name=name), _OTHER_NAME)


def create_or_load(
    storage: BaseStorage,
    name: str,
    *,
    sampler: optuna.samplers.BaseSampler | None = None,
    axis: CostAxis = SCORE_AXIS,
) -> Study:
    """The study of that name, created where it is not there yet: for the command that searches.

    Values are accuracy (a share, maximised) and cost (minimised), in this order; `axis` names the latter in a study
    that has no names for them yet.

    Raises:
        StudyError: A study of that name exists and is not slimfront's.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, directions=list(DIRECTIONS), sampler=sampler, load_if_exists=True
    )
    refuse_foreign(study, _OTHER_NAME)
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # set_metric_names has been experimental since 2022
            study.set_metric_names(metric_names(axis))
    return study
