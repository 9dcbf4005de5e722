"""The summary as JSON and the table of all trials."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas
import pytest
from made_trials import BAR, add_trials, made_study, made_trial
from slimfront.evaluators.scoring.costs.score import SCORE, SCORE_AXIS
from slimfront.studies.analysis.summary import COLUMNS, summary, table, to_csv
from slimfront.studies.errors import StudyError
from slimfront.studies.front import counts, hypervolume, nearest
from slimfront.studies.front import row as row_of
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.identity import axis_of
from slimfront.studies.store.records import StudyRecord, read_trials
from slimfront.studies.store.storage import create_or_load, open_storage
from slimfront.studies.store.study import StudyStore, snapshot


def test_summary_has_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    study = create_or_load(open_storage(url), "a")
    add_trials(study, [made_trial(0, 0.95, 0.2), made_trial(1, 0.91, 0.05), made_trial(2, 0.5, 0.01)])
    add_trials(study, [made_trial(3, 0.6, 0.1, State.STOPPED), made_trial(4, 0.1, 0.1, State.FAILED)])
    study.ask()
    found = summary(snapshot(StudyStore(open_storage(url), "a")), BAR)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["study"], found["storage"], found["bar"]) == ("a", url, BAR)
    assert found["trials"] == {"complete": 3, "pruned": 1, "failed": 1, "running": 1, "waiting": 0}
    assert found["hypervolume"] == pytest.approx(hypervolume(read_trials(study), BAR))
    assert [row["trial"] for row in found["front"]] == [1, 0]
    assert found["nearest"] == []
    keys = {"trial", "digest", "accuracy", "score", "score_params", "score_ops", "strict_score"}
    assert all(set(row) == keys | {"network", "candidate"} for row in found["front"])
    assert all(row[key] is not None for row in found["front"] for key in keys)


def test_an_empty_front_names_the_nearest() -> None:
    accuracies = [0.5, 0.89, 0.7, 0.89]
    trials = [made_trial(i, accuracy, 0.1 - 0.01 * i) for i, accuracy in enumerate(accuracies)]
    study = made_study([*trials, made_trial(4, 0.899, 0.1, State.STOPPED)])
    found = summary(StudyRecord("a", "memory", tuple(read_trials(study))), BAR)
    assert found["front"] == []
    assert found["hypervolume"] == 0
    assert [row["trial"] for row in found["nearest"]] == [3, 1, 2]
    assert nearest([]) == []
    assert counts([]) == {"complete": 0, "pruned": 0, "failed": 0, "running": 0, "waiting": 0}


def test_foreign_trials_are_summed_up_without_their_details() -> None:
    found = summary(StudyRecord("made", "memory", (made_trial(0, 0.95, 0.2, foreign=True),)), BAR)
    assert found["front"][0]["digest"] is None
    assert found["front"][0]["score"] == 0.2


def test_csv_holds_every_trial_and_reads_back(tmp_path: Path) -> None:
    trials = [
        made_trial(1, 0.6, 0.1, State.STOPPED, reason="below_bar", bound=0.7),
        made_trial(0, 0.95, 0.2),
        made_trial(2, 0.95, 0.3, foreign=True),
        TrialRecord(3, State.FAILED),
    ]
    path = to_csv(trials, tmp_path / "new" / "front.csv", BAR)
    frame = pandas.read_csv(path)
    assert list(frame["trial"]) == [0, 1, 2, 3]
    assert list(frame["state"]) == ["complete", "pruned", "complete", "fail"]
    assert list(frame["front"]) == [True, False, False, False]
    assert list(frame["feasible"]) == [True, False, True, False]
    assert frame["architecture.widths"][0] == "16-32-64"
    assert frame["reason"][1] == "below_bar"
    assert frame["strict_score"][0] == pytest.approx(0.204)
    assert "7,digits" in path.read_text().splitlines()[1]  # the seed has not become 7.0
    assert list(frame.columns)[: len(COLUMNS)] == list(COLUMNS) == list(table(trials, BAR)[0])[: len(COLUMNS)]


def test_a_csv_of_no_trials_has_its_header(tmp_path: Path) -> None:
    assert list(pandas.read_csv(to_csv([], tmp_path / "empty.csv", BAR)).columns) == list(COLUMNS)


def test_a_csv_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        to_csv([], tmp_path / "file" / "front.csv", BAR)


def test_a_study_with_a_cost_of_its_own_is_told_without_importing_it() -> None:
    """By the words that lie in the study: what does not fit, or is too long, is left out or cut."""
    words = {"title": "energy", "unit": "J", "note": 3, "corner": 10.0}
    axis = axis_of({"cost": "no_such_file.py:JOULES"}, words)
    assert dataclasses.astuple(axis) == ("no_such_file.py:JOULES", "energy", "J", "", 10.0)
    wild = axis_of({"cost": "no_such_file.py:JOULES"}, {"title": "x" * 500, "corner": float("nan")})
    assert (len(wild.title), wild.corner) == (60, 1e12)
    assert axis_of({}, words) == axis_of({"cost": SCORE.name}, words) == SCORE_AXIS
    kept = {"objective": axis.name, "over": {}}
    trials = (
        made_trial(0, 0.95, 0.01, costs={axis.name: 1.0, "b": 2.0}, **kept),
        made_trial(1, 0.97, 0.001, costs={axis.name: 0.1}, **kept),
    )
    found = summary(StudyRecord("a", "memory", trials, cost=axis), BAR)
    assert [(row["trial"], row["score"], row["cost"]) for row in found["front"]] == [(1, 0.001, 0.1)]
    assert found["hypervolume"] == pytest.approx(7 * 2)  # points above 90 % times decades below the corner
    assert [row.get("costs") for row in map(row_of, trials)] == [{"b": 2.0}, None]
