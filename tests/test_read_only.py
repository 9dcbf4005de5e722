"""Commands that read change nothing in a database, nor beside it, and need nothing that can be written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from kept_files import collect, contents, log_writes, small_study
from made_trials import add_trials, made_trial
from test_outputs import SPACE

import run_search

READERS = [
    ["front"],
    ["front", "--json", "--importance"],
    ["report", "--out", "{elsewhere}/report.html"],
    ["retrain", "--front", "--out", "{elsewhere}/final"],
    ["import", "{elsewhere}/tiny.toml"],
]


def _arguments(reader: list[str], elsewhere: Path, url: str) -> list[str]:
    (elsewhere / "tiny.toml").write_text(SPACE)
    option = "--source" if reader[0] == "import" else "--storage"
    given = [word.format(elsewhere=elsewhere) for word in reader] + [option, url]
    return [*given, "--storage", f"sqlite:///{elsewhere}/target.db"] if reader[0] == "import" else given


@contextlib.contextmanager
def _nobody() -> Iterator[None]:
    """Without the superuser's right to write everywhere, where the tests run as one."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody can look into; pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "medium").mkdir()
        yield Path(name) / "medium"
        (Path(name) / "medium").chmod(0o755)


@contextlib.contextmanager
def _protected(medium: Path) -> Iterator[None]:
    for path in medium.iterdir():
        path.chmod(0o444)
    medium.chmod(0o555)
    with _nobody():
        yield
    medium.chmod(0o755)


def _foreign(path: Path, state: str) -> None:
    """Another program's database: with a rollback journal, or a log that is empty or pending, with its index or not."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE places (url TEXT)")
    connection.commit()
    if state != "journal":
        connection.execute("PRAGMA journal_mode=WAL")
    if state.startswith("pending"):
        connection.execute("INSERT INTO places VALUES ('here')")
        connection.commit()
        _copy_live(path, connection, index=state == "pending")
    else:
        connection.close()


def _copy_live(path: Path, connection: sqlite3.Connection, *, index: bool) -> None:
    """What a copy or a crash leaves of a database while a connection is open: its log is not in the file yet."""
    with tempfile.TemporaryDirectory() as aside:
        for ending in ("", "-wal", *(("-shm",) if index else ())):
            shutil.copy(f"{path}{ending}", f"{aside}/x{ending}")
        connection.close()
        for ending in ("", "-wal", *(("-shm",) if index else ())):
            shutil.copy(f"{aside}/x{ending}", f"{path}{ending}")


def _pending_study(path: Path, *, index: bool) -> str:
    """A study whose fourth trial is in the log only."""
    url = small_study(path)
    log_writes(path)
    holder = sqlite3.connect(path)
    holder.execute("SELECT count(*) FROM trials").fetchall()
    storage = optuna.storages.RDBStorage(url)
    add_trials(optuna.load_study(study_name="made", storage=storage), [made_trial(3, 0.95, 0.09)])
    storage.engine.dispose()
    _copy_live(path, holder, index=index)
    return url


def _but_index(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if not name.endswith("-shm")}


@pytest.mark.parametrize("state", ["journal", "empty log", "pending", "pending without index"])
@pytest.mark.parametrize("reader", [*READERS, ["dashboard", "--name", "x"]], ids=lambda reader: " ".join(reader[:2]))
def test_another_programs_database_stays_as_it_was(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str], state: str, reader: list[str]
) -> None:
    _foreign(place / "places.db", state)
    before = contents(place)
    assert run_search.main(_arguments(reader, tmp_path, f"sqlite:///{place}/places.db")) == 2
    collect()  # as the end of a command's process closes what it has opened
    err = capsys.readouterr().err
    assert "is a database of another program" in err
    assert len(err.splitlines()) == 1
    assert _but_index(contents(place)) == _but_index(before)
    assert contents(place).keys() == before.keys()
    assert not (tmp_path / "target.db").exists()


@pytest.mark.parametrize("command", ["search", "import"])
def test_a_study_is_not_put_into_another_programs_database(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    _foreign(place / "places.db", "journal")
    before = contents(place)
    source = ["--source", small_study(tmp_path / "source.db")] if command == "import" else ["--hours", "1e-9"]
    (tmp_path / "tiny.toml").write_text(SPACE)
    given = [command, f"{tmp_path}/tiny.toml", *source, "--storage", f"sqlite:///{place}/places.db"]
    assert run_search.main(given) == 2
    # An import of which nothing fits, as here, does not even look at where it would go.
    assert {"search": "another program", "import": "can be imported"}[command] in capsys.readouterr().err
    assert contents(place) == before


@pytest.mark.parametrize("content", [b"", b"a text, and certainly no database " * 200])
def test_what_is_no_database_stays_as_it_was(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (place / "x.db").write_bytes(content)
    for reader in READERS:
        assert run_search.main(_arguments(reader, tmp_path, f"sqlite:///{place}/x.db")) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert contents(place) == {"x.db": content}


def test_links_in_a_circle_end_in_one_line(tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "x.db").symlink_to("x.db")
    (tmp_path / "tiny.toml").write_text(SPACE)
    search = ["search", f"{tmp_path}/tiny.toml", "--storage", f"sqlite:///{place}/x.db", "--out", f"{tmp_path}/out"]
    for given in (*(_arguments(reader, tmp_path, f"sqlite:///{place}/x.db") for reader in READERS), search):
        assert run_search.main(given) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("log", ["journal", "empty log", "pending", "pending without index"])
def test_a_study_that_is_only_read_stays_as_it_was(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str], log: str
) -> None:
    if log.startswith("pending"):
        url, complete = _pending_study(place / "s.db", index=log == "pending"), 4
    else:
        url, complete = small_study(place / "s.db"), 3
        if log == "empty log":
            log_writes(place / "s.db")
    before = contents(place)
    assert run_search.main(["front", "--storage", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"]["complete"] == complete
    assert run_search.main(["report", "--storage", url, "--out", f"{tmp_path}/r.html"]) == 0
    collect()  # as the end of a command's process closes what it has opened
    assert _but_index(contents(place)) == _but_index(before)
    assert contents(place).keys() == before.keys()


@pytest.mark.parametrize("log", ["journal", "empty log", "pending", "pending without index"])
@pytest.mark.parametrize("spelling", ["sqlite:///{}", "sqlite:///file:{}?mode=ro&uri=true"])
def test_a_study_is_read_where_nothing_can_be_written(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str], log: str, spelling: str
) -> None:
    path = place / "s.db"
    if log.startswith("pending"):
        _pending_study(path, index=log == "pending")
    else:
        small_study(path)
        if log == "empty log":
            log_writes(path)
    before = contents(place)
    assert run_search.main(["front", "--storage", small_study(tmp_path / "w.db")]) == 0  # imports what it needs
    capsys.readouterr()
    with _protected(place):
        code = run_search.main(["front", "--storage", spelling.format(path), "--json"])
        collect()  # as the end of a command's process closes what it has opened
    out, err = capsys.readouterr()
    assert code == 0, err
    assert json.loads(out)["trials"]["complete"] == (4 if log.startswith("pending") else 3)
    assert contents(place) == before


def test_a_study_on_an_immutable_medium_is_read_with_its_log(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _pending_study(place / "s.db", index=False)
    before = contents(place)
    url = f"sqlite:///file:{place}/s.db?immutable=1&uri=true"
    assert run_search.main(["front", "--storage", url, "--json"]) == 0
    collect()  # as the end of a command's process closes what it has opened
    assert json.loads(capsys.readouterr().out)["trials"]["complete"] == 4
    assert contents(place) == before


def test_a_search_is_refused_at_once_where_nothing_can_be_written(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///file:{place}/s.db?mode=ro&uri=true"
    small_study(place / "s.db")
    (tmp_path / "tiny.toml").write_text(SPACE)
    assert run_search.main(["search", f"{tmp_path}/tiny.toml", "--storage", url, "--out", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_dashboard_shows_what_cannot_be_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(server: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slimfront.studies.dashboard.server._Server.serve_forever", interrupted)
    small_study(place / "s.db")
    before = contents(place)
    url = f"sqlite:///file:{place}/s.db?mode=ro&uri=true"
    assert run_search.main(["dashboard", "--storage", url, "--port", str(_free_port())]) == 0
    assert "is only read" in capsys.readouterr().err
    collect()  # as the end of a command's process closes what it has opened
    assert contents(place) == before
    assert [path.name for path in place.iterdir()] == ["s.db"]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_study_is_read_while_it_is_written(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = small_study(place / "s.db")
    log_writes(place / "s.db")
    with contextlib.closing(sqlite3.connect(place / "s.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE studies SET study_name = 'other'")
        assert run_search.main(["front", "--storage", url, "--json"]) == 0
        writer.execute("ROLLBACK")
    assert json.loads(capsys.readouterr().out)["study"] == "made"


def test_temporary_copies_are_dropped(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url = _pending_study(place / "s.db", index=False)
    assert run_search.main(["front", "--storage", url]) == 0
    collect()  # as the end of a command's process closes what it has opened
    assert not list(tmp_path.iterdir())
