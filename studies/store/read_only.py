"""Opening a storage for reading: nothing is changed in it, nor beside it."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage
from slimfront.studies.errors import StudyError
from slimfront.studies.store import sqlite_files
from slimfront.studies.store.storage import (
    NO_DRIVER,
    SQLITE_TIMEOUT,
    check_file,
    columns_of,
    engine_arguments,
    make_storage,
    open_storage,
    optuna_columns,
    our_tables,
)
from slimfront.studies.store.urls import file_of, one_line, parse, safe_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError


def open_for_reading(url: str, *, option: str = "--storage") -> RDBStorage:
    """Open a storage that holds studies, and change nothing in it, nor beside it.

    An SQLite file may lie where nothing can be written; what cannot be read in place is read from a copy. A PostgreSQL
    database is read in transactions that cannot write, so that a user who may only read will do.

    Args:
        url: As for `slimfront.studies.store.storage.open_storage`.
        option: Of the command line, that the URL was given with.

    Raises:
        StudyError: As for `open_storage`; or the database holds no study.
    """
    parsed = parse(url)
    shown = safe_url(url)
    path = file_of(parsed)
    source = None
    if path is not None:
        check_file(path, shown, True, option)
        try:
            source = sqlite_files.reader(parsed, SQLITE_TIMEOUT)
            sqlite_files.check_schema(source, our_tables())
        except StudyError as error:
            raise StudyError(f"Storage {shown} is not opened: {error}.") from None
        except (sqlite3.Error, OSError) as error:
            raise StudyError(f"Storage {shown} cannot be opened: {_reason(error)}.") from None
        engine: dict[str, Any] = {"creator": source.connect}
    else:
        engine = engine_arguments(parsed)
        if parsed.get_backend_name() == "postgresql":
            engine["execution_options"] = {"postgresql_readonly": True}
    try:
        columns = _columns(parsed, engine, shown)
        _check_tables(columns.keys(), shown, option)
        storage = make_storage(parsed, engine, shown, reading=True)
        _check_columns(storage, columns, shown)
    except BaseException:
        if source is not None:
            source.close()
        raise
    if source is not None:
        weakref.finalize(storage, source.close)  # at the end of the process at the latest
    return storage


def open_existing(url: str, *, option: str = "--storage") -> tuple[RDBStorage, bool]:
    """Open a storage that holds studies for writing, or, where it cannot be written, for reading; and which it was.

    A file that has several names (hard links) is only read: SQLite keeps a log for each of them, so a search that works
    under another name would be written over.

    Raises StudyError as `open_for_reading`.
    """
    storage = open_for_reading(url, option=option)
    parsed = parse(url)
    path = file_of(parsed)
    if path is not None and (path.stat().st_nlink > 1 or not sqlite_files.can_be_written(parsed)):
        return storage, False
    return open_storage(url, must_exist=True, option=option), True


def _columns(url: URL, engine: dict[str, Any], shown: str) -> dict[str, frozenset[str]]:
    """The columns of every table in the database."""
    try:
        opened = sqlalchemy.create_engine(url, **engine)
    except ImportError:
        raise StudyError(NO_DRIVER.format(shown)) from None
    try:
        return columns_of(opened)
    except (SQLAlchemyError, OSError) as error:
        text = url.render_as_string(hide_password=False)
        raise StudyError(f"Storage {shown} cannot be opened: {one_line(error, text)}.") from None
    finally:
        opened.dispose()


def _check_tables(tables: Collection[str], shown: str, option: str) -> None:
    """Refuse a database that Optuna would have to make tables in."""
    if {"studies", "trials", "version_info", "alembic_version"} <= set(tables):
        return
    others = len(set(tables) - optuna_columns().keys())
    what = f"is a database of another program ({others} tables) and holds no study" if others else "holds no study yet"
    raise StudyError(f"Storage {shown} {what}: run a search first, or name another with {option}.")


def _check_columns(storage: RDBStorage, found: Mapping[str, frozenset[str]], shown: str) -> None:
    """Refuse tables that only bear the names of Optuna's."""
    for name, columns in optuna_columns().items():
        if not found.get(name, frozenset()) >= columns:
            raise StudyError(f"Storage {shown} cannot be used: its table {name} is not as Optuna makes it.")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
