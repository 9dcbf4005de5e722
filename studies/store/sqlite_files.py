"""SQLite files: which file a URL names, and reading one without leaving a trace.

Reading must not change a file: not by switching it to write-ahead logging, not by moving a log's pages into it, which
the last of its connections does when it closes. And it must work where nothing can be written. How depends on what
lies beside the file; the cases are in https://www.sqlite.org/wal.html, sections 4 and 5.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from slimfront.evaluators.outputs import may_write
from slimfront.studies.errors import StudyError
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL

LOG, INDEX, JOURNAL = "-wal", "-shm", "-journal"
_GENERATED = "SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden != 0"
_READABLE_ELSEWHERE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)  # what is wrong is the place, not the file


def file_of(url: URL) -> Path | None:
    """The file that an SQLite URL names, be it as a path or as a `file:` URI; None: its database is in memory."""
    name, uri = _name(url)
    if not uri or not name.startswith("file:"):
        return None if url.database in (None, "", ":memory:") else Path(str(url.database))
    path = unquote(urlsplit(name).path)
    return None if path in ("", ":memory:") or "mode=memory" in _options(url) else Path(path)


def companions(path: Path) -> list[Path]:
    """Files that SQLite keeps beside a database, and that belong to it, whether or not they are there."""
    real = Path(os.path.realpath(path))  # beside the file itself, not beside a link to it
    return [real.with_name(real.name + ending) for ending in (LOG, INDEX, JOURNAL)]


def can_be_written(url: URL) -> bool:
    """Whether the file that the URL names, or will name, may be written, as far as URL, file and folder say."""
    path = file_of(url)
    if path is None:
        return True
    if any(option in ("mode=ro", "immutable=1") for option in _options(url)):
        return False
    real = Path(os.path.realpath(path))
    return may_write(real.parent) and (not real.exists() or may_write(real))


@dataclass
class Reader:
    """A way to read a file that changes nothing, made by `reader`.

    Attributes:
        uri: For SQLite.
        timeout: Seconds to wait for a lock of another process.
        folder: Temporary, of the copy that is read; None: the file itself is.
    """

    uri: str
    timeout: float
    folder: str | None = None
    _opened: list[sqlite3.Connection] = field(default_factory=list)

    def connect(self) -> sqlite3.Connection:
        """A connection that refuses to write. Raises sqlite3.Error."""
        connection = sqlite3.connect(self.uri, self.timeout, uri=True, check_same_thread=False)
        self._opened.append(connection)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def close(self) -> None:
        """Close all connections, so that SQLite tidies up beside the file, and drop the copy."""
        while self._opened:
            self._opened.pop().close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def reader(url: URL, timeout: float) -> Reader:
    """How to read the file that the URL names; its file must be there.

    Raises:
        sqlite3.Error: It is no database, or is locked for longer than `timeout` seconds.
        OSError: It may not be read, or there is no room for a copy.
    """
    path = file_of(url)
    assert path is not None
    found = Reader(_in_place(url, path), timeout)
    if not _wants_copy(path, found.uri):
        try:
            _probe(found)
            return found
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _READABLE_ELSEWHERE:
                raise
    return _copied(path, timeout)


def tables(url: URL, timeout: float, ours: Collection[str]) -> frozenset[str]:
    """Names of the tables in the file that the URL names, SQLite's own left out. Raises as `reader` and `check_schema`.

    `ours` are the names of tables that are going to be read.
    """
    source = reader(url, timeout)
    try:
        check_schema(source, ours)
        rows = source.connect().execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    finally:
        source.close()
    return frozenset(name for (name,) in rows if not name.startswith("sqlite_"))


def check_schema(found: Reader, ours: Collection[str]) -> None:
    """Refuse a file in which reading or writing would run something: what is named as `ours` has to be a plain table.

    A view is a query that runs when it is read, without end if need be; a trigger is one that runs at a write; a
    generated column is worked out for every row. Neither Optuna nor slimfront makes any of them.

    Raises:
        StudyError: It says what there is.
        sqlite3.Error: It cannot be read.
    """
    with contextlib.closing(found.connect()) as connection:
        program = next(_programs(connection, ours), None)
    if program is not None:
        raise StudyError(f"in it {program}, which Optuna never makes")


def _programs(connection: sqlite3.Connection, ours: Collection[str]) -> Iterator[str]:
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall():
        if kind == "trigger" and table in ours:
            yield f"table {table} has a trigger"
        if name not in ours:
            continue
        if kind != "table":
            yield f"{name} is a {kind}"
        elif str(sql).upper().split()[:2] == ["CREATE", "VIRTUAL"]:
            yield f"table {name} is virtual"
        elif connection.execute(_GENERATED, (name,)).fetchone()[0]:
            yield f"table {name} has generated columns"


def _name(url: URL) -> tuple[str, bool]:
    """What SQLAlchemy hands to SQLite, and whether as a URI."""
    (name,), options = SQLiteDialect_pysqlite().create_connect_args(url)
    return str(name or ""), bool(options.get("uri"))


def _options(url: URL) -> list[str]:
    """What a URI tells SQLite, such as "mode=ro"."""
    name, uri = _name(url)
    return [option for option in urlsplit(name).query.split("&") if option] if uri else []


def _in_place(url: URL, path: Path) -> str:
    log, _, journal = companions(path)
    # Closing a connection that could write would move a log into the database; one that cannot leaves an empty log
    # behind where there was none.
    mode = "ro" if _filled(log) or _filled(journal) else "rw"
    options = [f"mode={mode}", *(option for option in _options(url) if not option.startswith("mode="))]
    return f"file:{quote(os.fsencode(path.absolute()))}?{'&'.join(options)}"


def _wants_copy(path: Path, uri: str) -> bool:
    """Whether SQLite would have to make an index beside the file to read it, or would not see its log."""
    log, index, _ = companions(path)
    if _filled(log):
        return not index.exists() or "immutable=1" in uri
    return not may_write(path) and _is_logged(path)


def _is_logged(path: Path) -> bool:
    """Whether a database is in write-ahead logging: its header says so. Not while this process has it open for writing:
    closing any descriptor of a file drops the locks that the process has on it.
    """
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\x02\x02"


def _filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _probe(found: Reader) -> None:
    with contextlib.closing(found.connect()) as connection:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def _copied(path: Path, timeout: float) -> Reader:
    """Read a copy: of a log without its index, or in a folder that cannot be written, where SQLite makes no index."""
    folder = tempfile.mkdtemp(prefix="slimfront-")
    found = Reader(f"file:{quote(folder)}/copy?mode=rw", timeout, folder)
    try:
        shutil.copyfile(path, Path(folder, "copy"))
        log, _, journal = companions(path)
        for beside, ending in ((log, LOG), (journal, JOURNAL)):
            if beside.exists():
                shutil.copyfile(beside, Path(folder, "copy" + ending))
        _probe(found)
    except BaseException:
        found.close()
        raise
    return found
