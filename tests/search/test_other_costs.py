"""Studies that keep another cost than the score low: a user's own up to export, and one known before training."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_evaluator
from slimfront.evaluators.scoring.costs.file_bytes import FILE_BYTES
from slimfront.evaluators.scoring.costs.latency_ms import LATENCY_MS
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.evaluators.scoring.costs.strict_score import STRICT_SCORE
from slimfront.search.commands.cli import main
from slimfront.search.launch import Options, launch
from slimfront.spaces import references
from slimfront.studies.settings import Settings, SettingsError
from slimfront.studies.store.identity import METRIC_NAMES
from slimfront.studies.store.records import read_trials
from slimfront.studies.store.storage import load_study, open_storage

OWN = "mine.py:KILO"
MINE = """
from slimfront.evaluators.scoring.cost import Cost

KILO = Cost(
    name="kilo",
    title="stored weights",
    words="weights that are not pruned",
    unit="thousands",
    corner=100.0,
    measure=lambda subject: subject.score.stored_weights / 1000,
)
"""
MOST_BYTES = 2500  # what the widest network of the space takes is more, and nothing else is
STUDY = f"""
name = "own"
dataset = "digits"
bar = 0.01
trials = 3
cost = "{OWN}"
measure = ["{LATENCY_MS.name}"]

[max]
{FILE_BYTES.name} = {MOST_BYTES}

[space.architecture.residual]
stem_width = 4
stages = 1
width = [4, 6, 12]
depth = 1

[space.bits]
weights = 8
activations = 8

[space.recipe]
epochs = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all three networks of the space were searched by two workers."""
    place, before = tmp_path_factory.mktemp("own"), Path.cwd()
    (place / "mine.py").write_text(MINE)
    (place / "study.toml").write_text(STUDY)
    os.chdir(place)
    assert main(["search", "study.toml", "--workers", "2", "--json"]) == 0
    yield place
    os.chdir(before)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_users_own_cost_goes_the_whole_way(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = told(capsys, "front", "--csv", "all.csv", "--plot", "front.svg")
    assert summary["objective"]["name"] == OWN
    assert (summary["objective"]["title"], summary["objective"]["corner"]) == ("stored weights", 100.0)
    rows = list(csv.DictReader((folder / "all.csv").open()))
    assert [float(row["cost"]) for row in rows] == [int(row["weights"]) / 1000 for row in rows]
    assert all(float(row[f"costs.{LATENCY_MS.name}"]) > 0 for row in rows)
    front = summary["front"]
    assert [row["cost"] for row in front] == sorted(row["cost"] for row in front)
    assert summary["hypervolume"] > 0
    assert "stored weights (thousands; log scale; less is better)" in (folder / "front.svg").read_text()

    told(capsys, "report", "--out", "own.html", "--slides", "slides.html")
    page = " ".join((folder / "own.html").read_text().split())
    for words in ("Accuracy against stored weights", "by ascending stored weights", "weights below 100 thousands"):
        assert words in page

    assert "--allow mine.py:KILO" in refused(capsys, "retrain", "--front", "--seeds", "1")
    chosen = ("retrain", "--trial", str(front[0]["trial"]), "--seeds", "1", "--epochs", "1", "--allow", OWN)
    final = told(capsys, *chosen)
    assert (final["cost"], final["objective"]["name"]) == (front[0]["cost"], OWN)
    assert final["costs"][FILE_BYTES.name] == front[0]["costs"][FILE_BYTES.name]
    assert told(capsys, "verify", final["artifact"])["ok"]
    assert told(capsys, "export", final["artifact"], "--onnx", "own.onnx")
    told(capsys, "report", "--out", "own.html")
    assert (folder / "own.html").read_text().count("stored weights (thousands)</th>") == 2  # the front, final numbers


def test_a_trial_beyond_a_bound_is_not_on_the_front(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "front", "--csv", "all.csv")
    rows = list(csv.DictReader((folder / "all.csv").open()))
    beyond = [row for row in rows if float(row[f"costs.{FILE_BYTES.name}"]) > MOST_BYTES]
    assert [row["architecture.widths"] for row in beyond] == ["12"]
    assert [row["feasible"] for row in rows] == [str(row not in beyond) for row in rows]
    assert {(row["state"], row["front"]) for row in beyond} == {("complete", "False")}
    number = int(beyond[0]["trial"])
    trial = load_study(open_storage("sqlite:///slimfront.db", must_exist=True)).trials[number]
    assert trial.system_attrs["constraints"][0] > 0  # samplers learn of it
    assert trial.values[1] == float(beyond[0]["cost"])


def test_a_study_goes_on_with_its_own_cost_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for old, new, words in (
        (f'cost = "{OWN}"\n', "", f'cost was "{OWN}", is "{SCORE.name}"'),
        (str(MOST_BYTES), "3000", f"max.{FILE_BYTES.name} was 2500.0, is 3000.0"),
    ):
        (folder / "other.toml").write_text(STUDY.replace(old, new))
        assert words in refused(capsys, "search", "other.toml", "--name", "own")
    (folder / "mine.py").write_text(MINE + "# another source\n")
    try:
        assert "the source has changed" in refused(capsys, "search", "study.toml")
    finally:
        (folder / "mine.py").write_text(MINE)


SPACE = {
    "architecture": {"residual": {"stem_width": 4, "stages": 1, "width": [4, 8, 16, 24, 32], "depth": 1}},
    "recipe": {"epochs": 3},
}


def settings(**changes: Any) -> Settings:
    known = {"name": "s", "dataset": "digits", "space": SPACE, "bar": 0.5, "trials": 5, "startup_trials": 5}
    return Settings(**(known | changes))


def test_a_cost_that_is_known_before_training_spares_it(tmp_path: Path) -> None:
    """The strict score, with a bound on the score: candidates above that are not trained, all others are."""
    chosen = settings(cost=STRICT_SCORE.name, max={SCORE.name: 0.003}, early_stopping={"spared": 0.0})
    options = Options(storage=f"sqlite:///{tmp_path}/a.db", workers=1, out=tmp_path / "out")
    _, summary, _ = launch(chosen, options, stub_evaluator.evaluate)
    study = load_study(open_storage(options.storage, must_exist=True))
    assert study.metric_names == [METRIC_NAMES[0], STRICT_SCORE.axis(STRICT_SCORE.name).metric]
    reasons = {trial.number: trial.user_attrs.get("reason") for trial in study.trials}
    above = {trial.number for trial in study.trials if trial.user_attrs["score"]["score"] > 0.003}
    assert above == {number for number, reason in reasons.items() if reason == "max_score"}
    assert 0 < len(above) < 5
    for trial in study.trials:
        if trial.values is not None:
            assert trial.values[1] == trial.user_attrs["score"]["strict_score"]
    assert all(row["cost"] == row["strict_score"] > row["score"] for row in summary["front"])


def test_what_another_study_of_the_process_was_given_is_none_of_this_ones_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    options = Options(storage=f"sqlite:///{tmp_path}/a.db", workers=1, out=tmp_path / "out")
    with references.only_here():
        references.give(OWN, tmp_path)
        launch(settings(trials=1), options, stub_evaluator.evaluate)
    study = load_study(open_storage(options.storage, must_exist=True))
    assert not any(trial.code for trial in read_trials(study))
    assert "code" not in study.user_attrs


def test_what_a_study_asks_for_is_checked_where_it_is_read() -> None:
    for key, value, words in (
        ("cost", "strict_scor", "cost: There is no cost 'strict_scor': did you mean strict_score"),
        ("max", {"latency": 1.0}, "max: There is no cost 'latency'"),
        ("measure", ("mine.py:NOTHING",), "measure: mine.py:NOTHING is code of a user's own"),
        ("max", {SCORE.name: 0}, "max.score must be above 0, but got 0"),
        ("max", {SCORE.name: "1"}, "max.score must be a number above 0, but got '1'"),
    ):
        with pytest.raises(SettingsError) as caught:
            settings(**{key: value})
        assert words in str(caught.value)
    with pytest.raises(SettingsError, match="the same bound"):
        settings(max={SCORE.name: 1.0}, max_score=1.0)


def test_a_study_by_score_says_nothing_of_costs() -> None:
    """So that those that were begun before there was a choice are the same study."""
    assert not {"cost", "max"} & set(settings(max_score=1.0, measure=(STRICT_SCORE.name,)).identity())
