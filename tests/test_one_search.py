"""While a search runs, a second one on the same file is refused, whatever the file is called."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_outputs import SPACE

import run_search

ROOT = Path(__file__).parents[1]


def _running(path: Path) -> list[tuple[int, str]]:
    """Running trials with their owners."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        return connection.execute(
            "SELECT trials.number, value_json FROM trials JOIN trial_user_attributes USING (trial_id)"
            " WHERE state = 'RUNNING' AND key = 'owner'"
        ).fetchall()
    except sqlite3.OperationalError:
        return []


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a search that does not end is running on study.db."""
    folder = tmp_path_factory.mktemp("searching")
    (folder / "tiny.toml").write_text(SPACE.replace("epochs = 1", "epochs = 9999"))
    command = [sys.executable, str(ROOT / "run_search.py"), "search", "tiny.toml", "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--storage", "sqlite:///study.db"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while not _running(folder / "study.db"):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGSTOP)  # it is alive, and leaves the processor to the tests
        (folder / "link.db").symlink_to("study.db")
        (folder / "hard.db").hardlink_to(folder / "study.db")
        (folder / "through").symlink_to(folder, target_is_directory=True)
        yield folder
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as connection:  # whoever came by has harmed nothing
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert {state for (state,) in connection.execute("SELECT state FROM trials")} == {"RUNNING"}


@pytest.mark.parametrize(
    "spelling",
    [
        "sqlite:///study.db",
        "sqlite:///{}/study.db",
        "sqlite:///../{.name}/./study.db",
        "sqlite:///link.db",
        "sqlite:///hard.db",
        "sqlite:///through/study.db",
        "sqlite:///file:study.db?uri=true",
        "sqlite:///file:{}/study.db?mode=rw&uri=true",
        "sqlite+pysqlite:///study.db",
    ],
)
def test_a_second_search_on_the_file_is_refused(
    searching: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spelling: str
) -> None:
    monkeypatch.chdir(searching)
    before = _running(searching / "study.db")
    # It ends at once where it is not refused.
    given = ["search", "tiny.toml", "--storage", spelling.format(searching), "--workers", "1", "--hours", "1e-9"]
    assert run_search.main(given) == 2
    assert "Another search is using" in capsys.readouterr().err
    assert _running(searching / "study.db") == before


def test_a_copy_of_the_file_is_another_file(searching: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect(searching / "study.db") as source, sqlite3.connect("copy.db") as copy:
        source.backup(copy)
    (tmp_path / "tiny.toml").write_text((searching / "tiny.toml").read_text())
    given = ["search", "tiny.toml", "--storage", "sqlite:///copy.db", "--workers", "1", "--hours", "1e-9"]
    assert run_search.main(given) == 0
