"""A trial's page in the dashboard: a note that people can read, and files that download."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest
from made_trials import add_trials, made_trial
from optuna_dashboard._note import get_note_from_system_attrs, save_note_with_version
from slimfront.evaluators.pruning.accounting import account
from slimfront.evaluators.scoring.expected import expected_score
from slimfront.spaces import Pruning, presets, sparsity
from slimfront.studies.analysis.importance import LEAST_TRIALS, importances
from slimfront.studies.dashboard.files import artifacts_folder
from slimfront.studies.dashboard.panels import importance_figure, spending_figure
from slimfront.studies.dashboard.server import make_dashboard
from slimfront.studies.dashboard.trial_pages import note, score_csv, update_pages
from slimfront.studies.front import front
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.records import read_trials
from slimfront.studies.store.storage import create_or_load, open_storage
from slimfront.studies.store.study import StudyStore

LAYER = {"name": "stem.conv", "kind": "conv", "weights": 560, "macs": 28_000, "weight_bits": 4, "activation_bits": 8}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    made = create_or_load(open_storage(f"sqlite:///{tmp_path}/a.db"), "a")
    trials = [
        made_trial(0, 0.95, 0.1),
        made_trial(1, 0.92, 0.05),
        made_trial(2, 0.7, 0.01, State.STOPPED, reason="below_bar"),
        made_trial(3, 0.0, 0.01, State.FAILED, reason="loss_not_finite"),
        made_trial(4, 0.93, 0.07, foreign=True),
    ]
    add_trials(made, trials)
    return made


def update(study: optuna.Study, folder: Path, latest: int = 0) -> int:
    """The fixture's study lies beside its files."""
    beside = next(place for place in (folder, folder.parent) if (place / "a.db").exists())
    store = StudyStore(open_storage(f"sqlite:///{beside}/a.db"), study.study_name)
    return update_pages(store, 0.9, folder, latest=latest)


def note_of(study: optuna.Study, number: int) -> str:
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return str(get_note_from_system_attrs(attributes, study.trials[number]._trial_id)["body"])


def test_pages_of_the_front_first_and_of_the_latest_on_request(study: optuna.Study, tmp_path: Path) -> None:
    assert [trial.number for trial in front(read_trials(study), 0.9)] == [1, 4, 0]
    assert update(study, tmp_path / "files") == 2  # trial 4 has no record to tell of
    assert "92 % on the validation images, at or above the bar of 90 %" in note_of(study, 1)
    assert "residual 16-32-64 × 3-3-3" in note_of(study, 1)
    assert f"retrain --name {study.study_name} --trial 1" in note_of(study, 1)
    assert note_of(study, 2) == ""
    assert update(study, tmp_path / "files", latest=3) == 2
    assert "stopped: could no longer reach the bar" in note_of(study, 2)
    assert "failed: its training diverged" in note_of(study, 3)


def test_a_note_that_somebody_edited_stays(study: optuna.Study, tmp_path: Path) -> None:
    update(study, tmp_path)
    save_note_with_version(study._storage, study._study_id, study.trials[1]._trial_id, 2, "mine")
    assert update(study, tmp_path) == 0
    assert note_of(study, 1) == "mine"


def test_artifacts_download_through_the_dashboard(study: optuna.Study, tmp_path: Path) -> None:
    add_trials(study, [made_trial(5, 0.97, 0.2)])
    update(study, tmp_path / "files")
    with make_dashboard(f"sqlite:///{tmp_path}/a.db", 0, artifacts=str(tmp_path / "files")) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        shown = json.load(fetch(f"{address}/api/studies/{study._study_id}?after=0"))
        trial = next(trial for trial in shown["trials"] if trial["number"] == 5)
        files = {artifact["filename"]: artifact["artifact_id"] for artifact in trial["artifacts"]}
        assert set(files) == {"learning-curve.png", "score.csv", "candidate.json"}
        place = f"{address}/artifacts/{study._study_id}/{trial['trial_id']}"
        assert fetch(f"{place}/{files['learning-curve.png']}").read()[:4] == b"\x89PNG"
        candidate = json.load(fetch(f"{place}/{files['candidate.json']}"))
        assert candidate["architecture"]["family"] == "residual"
        server.shutdown()
        thread.join()


def fetch(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=20)


def test_files_lie_beside_the_database() -> None:
    assert artifacts_folder("sqlite:////data/night.db") == Path("/data/night.artifacts")
    assert artifacts_folder("sqlite:///slimfront.db") == Path("slimfront.artifacts")
    assert artifacts_folder("sqlite:///file:/data/a%20b.db?mode=ro&uri=true") == Path("/data/a b.artifacts")
    assert artifacts_folder("postgresql://me:secret@host/studies") == Path("runs/artifacts")


def test_the_score_table_adds_up() -> None:
    (row,) = csv.DictReader(io.StringIO(score_csv([LAYER]).decode()))
    assert float(row["params_term"]) == pytest.approx(560 * 4 / 32 / 5.6e6)
    assert float(row["ops_term"]) == pytest.approx(28_000 * 8 / 32 / 2.8e8)
    (unknown,) = csv.DictReader(io.StringIO(score_csv([{"name": "a", "weights": 1}]).decode()))
    assert unknown["params_term"] == ""


def test_epochs_are_shown_by_how_trials_ended(study: optuna.Study) -> None:
    figure = spending_figure(read_trials(study))
    (bars,) = figure.data
    assert dict(zip(bars.y, bars.x, strict=True)) == {
        "trained to the end": 6,
        "stopped: could not reach the bar": 3,
        "failed: training diverged": 3,
    }
    assert figure.layout.xaxis.title.text == "training epochs (number)"
    assert "nothing trained yet" in spending_figure([]).layout.title.text


def conditional_trials(trials: int) -> list[TrialRecord]:
    """Accuracy follows from `width` in one branch and from `growth` in the other; `noise` does nothing."""
    made = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials):
        trial = made.ask()
        family = trial.suggest_categorical("family", ["a", "b"])
        size = trial.suggest_int("a.width" if family == "a" else "b.growth", 1, 8)
        trial.suggest_float("noise", 0.01, 1.0, log=True)
        made.tell(trial, [0.5 + 0.05 * size, float(size)])
    return read_trials(made)


def test_importance_understands_conditional_parameters() -> None:
    importance = importances(conditional_trials(60), bar=1.0)
    assert not importance.feasible
    assert importance.among == "among all 60 complete trials: fewer than 10 reach the bar"
    found = importance.shares
    assert set(found) == {"family", "a.width", "b.growth", "noise"}
    for column in range(2):
        assert sum(shares[column] for shares in found.values()) == pytest.approx(1)
        assert found["a.width"][column] + found["b.growth"][column] > 0.8
        assert found["noise"][column] < 0.1
    figure = importance_figure(conditional_trials(60), bar=1.0)
    assert {trace.name for trace in figure.data} == {"for accuracy", "for score"}


def test_importance_is_that_among_trials_that_reach_the_bar() -> None:
    """Below the bar only `a` matters, above it only `b`."""
    made = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(60):
        trial = made.ask()
        a, b = trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)
        made.tell(trial, [0.9 + 0.1 * b, 1 + b] if a > 0.5 else [0.5 * a, 1 + a])
    trials = read_trials(made)
    importance = importances(trials, bar=0.9)
    assert importance.feasible
    assert importance.trials == sum(trial.point[0] >= 0.9 for trial in trials)
    assert importance.shares["b"][0] > 0.9
    assert importances(trials, bar=0.999).shares["a"][0] > 0.5
    assert "trials at or above the bar" in importance_figure(trials, bar=0.9).layout.title.text


def test_importance_of_too_little_is_nothing() -> None:
    assert importances(conditional_trials(LEAST_TRIALS - 1), bar=0.5).shares == {}
    assert importances([], bar=0.5).shares == {}
    nothing = [made_trial(n, 0.91, 0.05) for n in range(12)]  # no parameters
    assert importances(nothing, bar=0.9).shares == {}
    assert f"from {LEAST_TRIALS} complete trials on" in importance_figure([], bar=0.9).layout.title.text


def test_what_was_pruned_stands_in_the_note() -> None:
    asked = Pruning(weights=sparsity("global_l1", 0.5))
    candidate = presets["resnet8"]
    dense = expected_score(candidate, (3, 32, 32), 10)
    pruned = expected_score(dataclasses.replace(candidate, pruning=asked), (3, 32, 32), 10)
    trial = made_trial(0, 0.95, 0.1, account=account(dense, pruned, asked).to_dict())
    text = note(trial, candidate, 0.9, "made").replace("\n", " ")
    assert "Of single weights 50.0% were to go, and 50.0% were masked" in text
    assert f"measured score is {pruned.score:.4g}" in text
    for unknown in (None, {"p_s": 0.1}):
        assert "masked" not in note(made_trial(0, 0.95, 0.1, account=unknown), candidate, 0.9, "made")
