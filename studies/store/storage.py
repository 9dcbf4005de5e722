"""Where studies live: opening a storage, finding a study in it, and never showing a password.

Two kinds of storage: `sqlite:///FILE` for one coordinator on one machine, `postgresql://USER:PASSWORD@HOST/NAME` for
several. Everything that a user can get wrong (a typing error, a folder that is not there, a server that is down) is a
StudyError of one line.
"""

from __future__ import annotations

import re
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from slimfront.studies.errors import StudyError
from slimfront.studies.identity import DIRECTIONS, METRIC_NAMES, refuse_foreign
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

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
    "study_names",
    "study_url",
    "typed_command",
]

SQLITE_TIMEOUT = 60.0  # seconds to wait for another process's lock: a dashboard reading, a backup running
CONNECT_TIMEOUT = 10  # seconds until a server counts as unreachable
_CREATION_ATTEMPTS = 5  # two processes that open a new database at once both try to create its tables
_OTHER_NAME = "give this one another --name or --storage"
_KINDS = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"


def safe_url(url: str) -> str:
    """The URL with its passwords replaced by ***, whether or not it can be parsed: fit for logs and error texts.

    >>> safe_url("postgresql://me:secret@host/studies")
    'postgresql://me:***@host/studies'
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator:
        return _mask_query(str(url))
    # Up to the last @: an unescaped @ or / inside of a password must not end the masking too early.
    login, at, place = rest.rpartition("@")
    if at and ":" in login:
        login = login.partition(":")[0] + ":***"
    return _mask_query(f"{scheme}://{login}{at}{place}")


def typed_command(arguments: Sequence[str] | None = None) -> str:
    """`python run_search.py` with the arguments that this process was given: fit to be published, so without passwords.

    >>> typed_command(["front", "--storage", "postgresql://me:secret@host/studies"])
    "python run_search.py front --storage 'postgresql://me:***@host/studies'"
    """
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "run_search.py", *(safe_url(argument) for argument in given)])


def _mask_query(text: str) -> str:
    return re.sub(r"(?i)((?:password|passwd|pwd|passphrase|secret|token)=)[^&\s]*", r"\1***", text)


def _secrets(url: str) -> set[str]:
    """Everything in the URL that must not appear in a text, as written and with %xx decoded."""
    login, at, _ = url.partition("://")[2].rpartition("@")
    found = {login.partition(":")[2]} if at else set()
    found |= set(re.findall(r"(?i)(?:password|passwd|pwd|passphrase|secret|token)=([^&\s]*)", url))
    return {secret for entry in found for secret in (entry, unquote(entry)) if secret}


def one_line(error: BaseException, url: str = "") -> str:
    """What a database's driver says, in one line, without the URL's passwords and without SQLAlchemy's own words."""
    cause: BaseException = error
    while isinstance(cause, SQLAlchemyError | optuna.exceptions.StorageInternalError):
        inner = getattr(cause, "orig", None) or cause.__cause__
        if not isinstance(inner, BaseException):
            break
        cause = inner
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = " ".join(lines[0].split()) if lines else type(cause).__name__
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text[:300].rstrip(".?:; ")


def _parse(url: str) -> URL:
    shown = safe_url(url)
    if "://" not in url:
        hint = f"; for a file: sqlite:///{url}" if url and not url.isspace() else ""
        raise StudyError(f"Storage {shown!r} is not a URL: give {_KINDS}{hint}.")
    unreadable = StudyError(
        f"Storage {shown} cannot be read as a URL: give {_KINDS}; @ : / in a password are written %40 %3A %2F."
    )
    login = url.partition("://")[2].partition("?")[0].rpartition("@")[0]
    if login and ("@" in login or "/" in login):
        raise unreadable  # half of the password would pass for the host, and be shown in the driver's error
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (ArgumentError, ValueError):  # the text of these errors may hold the password
        raise unreadable from None
    if parsed.get_backend_name() == "sqlite":
        if parsed.host:
            raise StudyError(f"Storage {shown} lacks a slash: a file is written sqlite:///{parsed.host}.")
        return parsed
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if not parsed.database:
            raise StudyError(f"Storage {shown} names no database: give {_KINDS}.")
        return parsed.set(drivername="postgresql+psycopg")
    raise StudyError(f"Storage {shown} is of a kind that is not supported: give {_KINDS}.")


def _is_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def open_storage(url: str, *, must_exist: bool = False, option: str = "--storage") -> RDBStorage:
    """Open the storage of studies and create its tables where there are none.

    SQLite is put into write-ahead logging, so that a dashboard can read while a search writes, and waits up to a
    minute for another process's lock. PostgreSQL connections are tested before use, so that a server that went away
    and came back costs nothing.

    Args:
        url: `sqlite:///FILE` (relative to the working folder) or `postgresql://USER:PASSWORD@HOST[:PORT]/DATABASE`.
        must_exist: Refuse an SQLite file that is not there, instead of creating it: for commands that only read.
        option: Of the command line, that the URL was given with.

    Raises:
        StudyError: The URL is wrong, the folder or file is missing, the server cannot be reached, the driver is not
            installed, or the database was made by an incompatible version of Optuna. Passwords are not shown.
    """
    parsed = _parse(url)
    shown = safe_url(url)
    engine: dict[str, Any]
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed, shown, must_exist, option)
        engine = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
    else:
        engine = {
            "pool_pre_ping": True,
            "connect_args": {"connect_timeout": CONNECT_TIMEOUT, "application_name": "slimfront"},
        }
    storage = _create(parsed, engine, shown)
    if parsed.get_backend_name() == "sqlite" and not _is_memory(parsed):
        _enable_write_ahead_log(storage)
    return storage


def _check_file(url: URL, shown: str, must_exist: bool, option: str) -> None:
    if _is_memory(url) or (url.database or "").startswith("file:"):
        return
    path = Path(url.database or "")
    if path.is_dir():
        raise StudyError(f"Storage {shown} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise StudyError(f"Storage {shown} cannot be opened: the folder {path.parent} does not exist; create it first.")
    if must_exist and not path.exists():
        raise StudyError(f"Storage {shown} does not exist: run a search first, or name another with {option}.")


def _create(url: URL, engine: dict[str, Any], shown: str) -> RDBStorage:
    text = url.render_as_string(hide_password=False)
    for attempt in range(_CREATION_ATTEMPTS):
        try:
            return RDBStorage(text, engine_kwargs=engine)
        except ImportError:
            raise StudyError(
                f"Storage {shown} needs the PostgreSQL driver, which is not installed: "
                "pip install 'slimfront[postgresql]'."
            ) from None
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


def study_url(study: Study) -> str:
    """Where the study is stored, without passwords; "memory" for one that is not stored at all."""
    storage: Any = study._storage
    storage = getattr(storage, "_backend", storage)
    return safe_url(storage.url) if isinstance(storage, RDBStorage) else "memory"


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
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_name(storage: BaseStorage, name: str) -> None:
    """Raise StudyError where a study of that name is there that slimfront cannot go on with; creates nothing."""
    if name in study_names(storage):
        refuse_foreign(optuna.load_study(storage=storage, study_name=name), _OTHER_NAME)


def create_or_load(storage: BaseStorage, name: str, *, sampler: optuna.samplers.BaseSampler | None = None) -> Study:
    """The study of that name, created where it is not there yet: for the command that searches.

    Values are accuracy (a share, maximised) and score (minimised), in this order.

    Raises:
        StudyError: A study of that name exists and is not slimfront's.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, directions=list(DIRECTIONS), sampler=sampler, load_if_exists=True
    )
    refuse_foreign(study, _OTHER_NAME)
    if study.metric_names != list(METRIC_NAMES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # set_metric_names has been experimental since 2022
            study.set_metric_names(list(METRIC_NAMES))
    return study
