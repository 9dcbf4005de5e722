"""Studies of other programs, met on the command line: said to be such, and neither read nor joined nor changed."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from made_trials import made_trial
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from slimfront.evaluators.data.splits import search_data
from slimfront.studies.store import constraint
from slimfront.studies.store.storage import create_or_load, open_storage

import run_search

TINY = """
name = "tiny"
dataset = "digits"
trials = 2
seed = 7
[space.architecture.residual]
stem_width = 16
stages = 3
width.0 = 16
width.1 = 32
width.2 = 64
depth = 3
[space.recipe]
sgd.learning_rate = 0.1
epochs = 100
"""
FOREIGN: dict[str, dict[str, Any]] = {
    "other directions": {"directions": ["minimize", "minimize"]},
    "one objective": {"directions": ["maximize"]},
    "other meaning": {"directions": ["maximize", "minimize"]},
    "other names": {"directions": ["maximize", "minimize"], "names": ["accuracy", "latency"]},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _foreign(name: str = "tiny", *, directions: Sequence[str], names: list[str] | None = None) -> optuna.Study:
    """A plain Optuna study with five finished trials."""
    study = optuna.create_study(storage="sqlite:///a.db", study_name=name, directions=directions)
    if names is not None:
        _name(study, names)
    for number in range(5):
        values = [0.93 + number / 1000, *(0.02 for _ in directions[1:])]
        study.add_trial(optuna.create_trial(values=values))
    return study


def _name(study: optuna.Study, names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(names)


def _ours(url: str, trials: Sequence[FrozenTrial], name: str = "old") -> optuna.Study:
    study = create_or_load(open_storage(url), name)
    study.add_trials(trials)
    return study


def _trial(accuracy: float = 0.93, state: TrialState = TrialState.COMPLETE, **record: Any) -> FrozenTrial:
    """One that the study of `tiny.toml` could have made, unless `record` says otherwise."""
    fields = {"seed": 7, "data_digest": search_data("digits").digest} | record
    return optuna.create_trial(
        state=state,
        values=[accuracy, 0.05] if state == TrialState.COMPLETE else None,
        user_attrs=made_trial(0, min(accuracy, 1.0), 0.05, **fields).to_attributes(),
        system_attrs=constraint.system_attributes(min(accuracy, 1.0), 0.9),
    )


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command is refused with."""
    capsys.readouterr()
    assert run_search.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("slimfront: ")
    assert err.count("\n") == 1
    return err


def _rows(table: str) -> list[Any]:
    with sqlite3.connect("a.db") as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_command_takes_a_study_of_another_program_for_its_own(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimfront.studies.dashboard.server.serve", lambda *_, **__: None)
    monkeypatch.setattr("slimfront.search.retrain.run.retrain", lambda *_: pytest.fail("a network is trained"))
    _foreign(**FOREIGN[kind])
    tables = ("trials", "study_user_attributes", "study_system_attributes")
    before = [_rows(table) for table in tables]
    place = ["--storage", "sqlite:///a.db"]
    for command in (
        ["front", *place, "--json"],
        ["report", *place, "--out", "r.html"],
        ["dashboard", *place],
        ["dashboard", *place, "--name", "tiny"],
        ["retrain", *place, "--front"],
        ["retrain", *place, "--trial", "0"],
        ["search", "tiny.toml", *place, "--workers", "1"],
        ["import", "tiny.toml", "--source", "sqlite:///a.db", "--storage", "sqlite:///b.db"],
    ):
        said = _refused(capsys, *command)
        assert "'tiny' is not slimfront's" in said
        assert {"import": "--source", "search": "another --name"}.get(command[0], "--storage") in said
    assert [_rows(table) for table in tables] == before
    assert not (folder / "b.db").exists()
    assert not (folder / "r.html").exists()


def test_a_search_does_not_go_on_with_trials_of_unknown_settings(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _ours("sqlite:///a.db", [_trial()], name="tiny")
    said = _refused(capsys, "search", "tiny.toml", "--storage", "sqlite:///a.db", "--workers", "1")
    assert "not the settings that they were made with" in said
    assert len(_rows("trials")) == 1


def test_the_dashboard_draws_in_its_own_studies_only(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = _foreign("theirs", directions=["maximize", "minimize"])
    own = _ours("sqlite:///a.db", [_trial()], name="ours")
    marked = threading.Event()
    monkeypatch.setattr("slimfront.studies.store.study.StudyAttributes.set", lambda *_: marked.set())
    monkeypatch.setattr("slimfront.studies.dashboard.server.serve", lambda *_, **__: marked.wait(60))
    monkeypatch.setattr("slimfront.search.commands.dashboard.listen", lambda *_: socket.create_server(("127.0.0.1", 0)))
    assert run_search.main(["dashboard", "--storage", "sqlite:///a.db"]) == 0
    assert "theirs" in capsys.readouterr().err
    drawn = [study._storage.get_study_system_attrs(study._study_id) for study in (own, foreign)]
    assert any(key.startswith("dashboard:") for key in drawn[0])
    assert not any(key.startswith("dashboard:") for key in drawn[1])


def test_trials_that_another_program_added_do_not_stand_on_the_front(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their accuracy is in percent."""
    _ours("sqlite:///a.db", [_trial(0.93), optuna.create_trial(values=[93.4, 0.001])], name="tiny")
    assert run_search.main(["front", "--storage", "sqlite:///a.db"]) == 0
    shown = capsys.readouterr().out
    assert "1 network at or above 90.00%" in shown
    assert "9340" not in shown


@pytest.mark.parametrize("begun", ["created", "named", "settings written"])
def test_a_study_whose_search_was_killed_while_it_began_is_gone_on_with(
    begun: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.create_study(storage="sqlite:///a.db", study_name="tiny", directions=["maximize", "minimize"])
    if begun == "named":
        create_or_load(study._storage, "tiny")
    if begun == "settings written":  # as a version that names its objectives otherwise would leave it
        digest = search_data("digits").digest
        identity = {"dataset": "digits", "bar": 0.9, "seed": 7, "image_size": None, "space": {}, "data": digest}
        study.set_user_attr("identity", identity)
        _name(study, ["accuracy", "score"])
    assert run_search.main(["front", "--storage", "sqlite:///a.db"]) == 0
    assert "No trial of tiny is complete yet" in capsys.readouterr().out
    if begun != "settings written":
        source = _ours("sqlite:///b.db", [_trial()])
        arguments = ["import", "tiny.toml", "--source", "sqlite:///b.db", "--storage", "sqlite:///a.db"]
        assert run_search.main([*arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["imported"] == 1
        assert len(source.trials) == len(_rows("trials"))
        assert run_search.main(["front", "--storage", "sqlite:///a.db"]) == 0  # a study that was imported only
        assert "1 network at or above" in capsys.readouterr().out


def test_an_import_that_takes_nothing_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = ["import", "tiny.toml", "--source", "sqlite:///b.db", "--storage", "sqlite:///a.db"]
    study = _ours("sqlite:///b.db", [])
    assert "it has none" in _refused(capsys, *none)
    study.add_trials(
        [
            _trial(seed=3),
            _trial(data_digest="other"),
            _trial(copied_from=0),
            _trial(state=TrialState.PRUNED),
            optuna.create_trial(values=[0.93, 0.02]),
            _trial(93.4),
        ]
    )
    said = _refused(capsys, *none)
    for words in ("2 with other data or seed", "1 copies", "1 not trained to their end", "2 without a record"):
        assert words in said
    narrow = (folder / "tiny.toml").read_text().replace("epochs = 100", "epochs = 50")
    (folder / "tiny.toml").write_text(narrow)
    study.add_trial(_trial())
    assert "1 outside of the space" in _refused(capsys, *none)
    assert not (folder / "a.db").exists()


def test_what_was_imported_already_is_no_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _ours("sqlite:///b.db", [_trial(), _trial(seed=3)])
    arguments = ["import", "tiny.toml", "--source", "sqlite:///b.db", "--storage", "sqlite:///a.db"]
    for imported, known in ((1, 0), (0, 1)):
        assert run_search.main([*arguments, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["imported"], told["known"], told["other_data"]) == (imported, known, 1)
