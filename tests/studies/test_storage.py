from __future__ import annotations

import shlex
import sqlite3
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slimfront.studies.store.storage import (
    METRIC_NAMES,
    StudyError,
    create_or_load,
    load_study,
    open_storage,
    safe_url,
    typed_command,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///slimfront.db", "sqlite:///slimfront.db"),
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:se@cr/et@host:1/db", "postgresql://me:***@host:1/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=***"),
        ("postgresql://me:a@host/db?PASSWORD=b&x=1", "postgresql://me:***@host/db?PASSWORD=***&x=1"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert safe_url(url) == shown


@pytest.mark.parametrize(
    "storage", [["--storage", "postgresql://me:secret@host/db"], ["--storage=postgresql://me:secret@host/db"]]
)
def test_a_command_is_published_without_the_password_that_was_typed(storage: list[str]) -> None:
    command = typed_command(["retrain", *storage, "--trial", "3"])
    assert "secret" not in command
    masked = [argument.replace("secret", "***") for argument in storage]
    assert shlex.split(command) == ["python", "run_search.py", "retrain", *masked, "--trial", "3"]


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=4))
def test_no_password_survives_masking_and_errors(noise: str) -> None:
    secret = f"q7{noise}7q"
    for url in (f"postgresql://me:{secret}@host:notaport/db", f"mysql://me:{secret}@host/db"):
        assert secret not in safe_url(url)
        with pytest.raises(StudyError) as caught:
            open_storage(url)
        assert secret not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is not a URL"),
        ("trials.db", "sqlite:///trials.db"),
        ("sqlite://trials.db", "sqlite:///trials.db"),
        ("mysql://host/db", "not supported"),
        ("postgresql://me:secret@host", "names no database"),
        ("postgresql://me:secret@host:port/db", "cannot be read"),
        ("postgresql://me:se@cret@host/db", "%40"),
        ("postgresql://me:secret@127.0.0.1:1/db", "cannot be opened"),
    ],
)
def test_wrong_urls_are_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_missing_folder_folder_as_file_and_no_database(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"folder .* does not exist"):
        open_storage(f"sqlite:///{tmp_path}/absent/a.db")
    with pytest.raises(StudyError, match="is a folder"):
        open_storage(f"sqlite:///{tmp_path}")
    (tmp_path / "text.db").write_text("hello, this is certainly not a database" * 50)
    with pytest.raises(StudyError, match="not a database"):
        open_storage(f"sqlite:///{tmp_path}/text.db")


def test_reading_does_not_create_a_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="run a search first"):
        open_storage(f"sqlite:///{tmp_path}/a.db", must_exist=True)
    assert not (tmp_path / "a.db").exists()


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"pip install 'slimfront\[postgresql\]'"):
        open_storage("postgresql://me:secret@127.0.0.1:1/db")


def test_a_reader_is_not_blocked_by_a_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    create_or_load(open_storage(url), "a")
    writer = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE studies SET study_name = 'b'")
    try:
        assert load_study(open_storage(url, must_exist=True)).study_name == "a"
    finally:
        writer.rollback()
        writer.close()


def _open(url: str) -> str:
    return create_or_load(open_storage(url), "same").study_name


def test_processes_that_create_one_database_at_once_all_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(_open, [url] * 2)) == ["same"] * 2


def test_load_study_takes_the_only_one_and_asks_where_there_are_several(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(StudyError, match="no study yet"):
        load_study(storage)
    create_or_load(storage, "one")
    assert load_study(storage).study_name == "one"
    create_or_load(storage, "two")
    with pytest.raises(StudyError, match=r"2 studies.*--name: one, two"):
        load_study(storage)
    assert load_study(storage, "two").study_name == "two"
    with pytest.raises(StudyError, match="no study 'three', only: one, two"):
        load_study(storage, "three")


def test_create_or_load_names_the_metrics_and_refuses_other_objectives(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a.db")
    study = create_or_load(storage, "one")
    assert study.metric_names == list(METRIC_NAMES)
    assert create_or_load(storage, "one")._study_id == study._study_id
    optuna.create_study(storage=storage, study_name="single", direction="minimize")
    with pytest.raises(StudyError, match="other objectives"):
        create_or_load(storage, "single")
