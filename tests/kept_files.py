"""What lies in a folder, and a small study in it: for tests of what commands leave alone."""

from __future__ import annotations

import contextlib
import functools
import gc
import sqlite3
import tempfile
from pathlib import Path

import optuna
from made_trials import made_study, made_trial

IDENTITY = {"dataset": "digits", "bar": 0.9, "seed": 7, "data": "abc", "image_size": None, "space": {}}


def collect() -> None:
    """Let go of what is left in circles; what is alive is not looked at again, as that takes seconds among tests."""
    gc.collect()
    gc.freeze()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, links included, by its name. No command that has ended keeps a database open."""
    collect()  # one in this process may, in a circle, with the files that SQLite has beside it
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small_study(path: Path, name: str = "made") -> str:
    """A file with a study of three trials; its URL."""
    path.write_bytes(_database(name))
    return f"sqlite:///{path}"


@functools.cache
def _database(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/s.db")
        trials = [made_trial(0, 0.91, 0.05), made_trial(1, 0.93, 0.08), made_trial(2, 0.85, 0.02)]
        made_study(trials, storage, name).set_user_attr("identity", IDENTITY)
        storage.engine.dispose()
        return Path(folder, "s.db").read_bytes()


def log_writes(path: Path) -> None:
    """Put a database into write-ahead logging, as a search does; its log is empty and gone afterwards."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
