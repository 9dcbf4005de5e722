"""A study and candidates that an earlier version wrote mean the same today; see tests/stored/README.md."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from slimfront.search.launch import launch
from slimfront.spaces import Candidate, Space, presets
from slimfront.studies.record import TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store.storage import load_study, open_storage

import run_search

STORED = Path(__file__).parent / "stored"
PLACE = ["--storage", "sqlite:///study.db"]
TOLD: dict[str, Any] = json.loads((STORED / "study.json").read_text())
DIGESTS: dict[str, Any] = json.loads((STORED / "digests.json").read_text())
ENDED = ("complete", "pruned", "fail")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("study.db", "study.toml"):
        shutil.copy(STORED / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _trials() -> list[FrozenTrial]:
    return load_study(open_storage(PLACE[1], must_exist=True)).trials


def _row(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as `study.json` has it."""
    record = TrialRecord.of(trial)
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "values": trial.values,
        "digest": record.digest,
        "params": trial.params,
        "reason": trial.user_attrs.get("reason"),
        "bound": trial.user_attrs.get("bound"),
        "constraints": trial.system_attrs.get("constraints"),
        "epochs": len(record.curve),
    }


def test_its_trials_are_what_they_were(folder: Path) -> None:
    trials = _trials()
    assert [_row(trial) for trial in trials] == TOLD["trials"]
    space = Settings.from_toml(folder / "study.toml").make_space()
    for trial in trials:
        record = TrialRecord.of(trial)
        if record.candidate is not None:
            assert trial.user_attrs["digest"] == record.digest
            assert space.sample(optuna.trial.FixedTrial(trial.params)) == record.candidate
            assert record.data_digest == TOLD["data"]


def test_its_front_and_report_are_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_search.main(["front", *PLACE, "--json", "--csv", "trials.csv", "--plot", "front.png"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["study"], summary["bar"]) == (TOLD["study"], TOLD["bar"])
    expected = [TOLD["trials"][number] for number in TOLD["front"]]
    assert [(row["trial"], row["digest"], [row["accuracy"], row["score"]]) for row in summary["front"]] == [
        (row["trial"], row["digest"], row["values"]) for row in expected
    ]
    states = [row["state"] for row in TOLD["trials"]]
    words = {"complete": "complete", "pruned": "pruned", "failed": "fail", "running": "running", "waiting": "waiting"}
    assert summary["trials"] == {word: states.count(state) for word, state in words.items()}
    assert len((folder / "trials.csv").read_text().splitlines()) == 1 + len(states)
    assert run_search.main(["report", *PLACE, "--out", "report.html", "--json"]) == 0
    page = (folder / "report.html").read_text()
    assert all(f"trial {row['trial']}" in page.lower() or f">{row['trial']}<" in page for row in expected)


def test_its_search_goes_on(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials that were running are trained again, the one that waits is a copy, and a new one follows."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "search")
    import stub_evaluator  # the trainings are made up, everything else is a search

    monkeypatch.setattr("slimfront.search.launch.launch", functools.partial(launch, evaluate=stub_evaluator.evaluate))
    count = len(TOLD["trials"]) + 1
    assert run_search.main(["search", "study.toml", *PLACE, "--trials", str(count), "--workers", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    trials = _trials()
    assert len(trials) == count
    assert (summary["trials"]["running"], summary["trials"]["waiting"]) == (0, 0)
    for before, trial in zip(TOLD["trials"], trials, strict=False):
        after = _row(trial)
        assert after["state"] in ENDED
        if before["state"] in ENDED:
            assert after == before
        elif before["state"] == "running":
            assert (after["digest"], after["params"]) == (before["digest"], before["params"])
            assert trial.user_attrs["starts"] == 2
    assert trials[17].user_attrs["copied_from"] == 10
    assert trials[17].values == TOLD["trials"][10]["values"]


@pytest.mark.parametrize("row", DIGESTS["candidates"], ids=lambda row: row.get("preset", row["digest"]))
def test_a_candidate_keeps_its_json_and_digests(row: dict[str, Any]) -> None:
    candidate = Candidate.from_dict(row["candidate"])
    assert candidate.to_dict() == row["candidate"]
    assert (candidate.digest, candidate.uncompressed_digest) == (row["digest"], row["dense_digest"])
    if "preset" in row:
        assert presets[row["preset"]] == candidate


def test_a_space_draws_the_same_candidates_from_the_same_parameters() -> None:
    space = Space(DIGESTS["space"])
    drawn = [row for row in DIGESTS["candidates"] if "params" in row]
    assert len(drawn) == 42
    for row in drawn:
        candidate = space.sample(optuna.trial.FixedTrial(row["params"]))
        assert candidate.digest == row["digest"]
        assert space.parameters(candidate) == row["params"]
