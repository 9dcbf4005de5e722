"""URLs of storages: reading them, the files that they name, and never showing a password."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import optuna
import sqlalchemy
from slimfront.evaluators.outputs import same_file
from slimfront.studies.errors import StudyError
from slimfront.studies.store import sqlite_files
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

_KINDS = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_OPTIONS = frozenset(("uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"))


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


def parse(url: str) -> URL:
    """A storage's URL, taken apart. Raises StudyError where it is wrong, without showing its password."""
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
        as_uri = str(parsed.query.get("uri", "")).lower() in ("1", "true", "yes", "on")
        if not as_uri and ((parsed.database or "").startswith("file:") or parsed.query.keys() - _OPTIONS):
            raise StudyError(f"Storage {shown} lacks uri=true: a URI is written sqlite:///file:NAME?mode=ro&uri=true.")
        return parsed
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if not parsed.database:
            raise StudyError(f"Storage {shown} names no database: give {_KINDS}.")
        return parsed.set(drivername="postgresql+psycopg")
    raise StudyError(f"Storage {shown} is of a kind that is not supported: give {_KINDS}.")


def file_of(url: URL) -> Path | None:
    """The SQLite file; None: it is another database, or one in memory."""
    return sqlite_files.file_of(url) if url.get_backend_name() == "sqlite" else None


def storage_files(url: str) -> dict[str, Path]:
    """The files that a storage consists of, by what to call them: none of them may be overwritten.

    The SQLite file comes first. There are none of a PostgreSQL database, and of one in memory.

    Raises:
        StudyError: The URL is wrong.
    """
    path = file_of(parse(url))
    if path is None:
        return {}
    beside = sqlite_files.companions(path)
    return {"the storage": path} | {f"the storage's {entry.name}": entry for entry in beside}


def same_database(one: str, other: str) -> bool:
    """Whether two URLs name one database, as far as that can be seen from here. Raises StudyError."""
    files = file_of(parse(one)), file_of(parse(other))
    if files[0] is None or files[1] is None:
        return parse(one) == parse(other)
    return same_file(files[0], files[1])
