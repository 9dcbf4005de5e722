"""Event files of a search and a retraining: read back as TensorBoard reads them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import stub_evaluator
from slimfront.search.commands.cli import main
from slimfront.search.launch import Options, launch
from slimfront.search.retrain.plan import Choice, Plan
from slimfront.search.retrain.run import retrain
from slimfront.spaces import presets
from slimfront.studies.settings import Settings

SPACE = {
    "architecture": {"residual": {"stem_width": 4, "stages": 1, "width": [4, 8], "depth": 1}},
    "augmentation": {"flip": False, "crop": 0},
}
STUDY: dict[str, Any] = {"name": "my study", "dataset": "digits", "space": SPACE, "trials": 2, "startup_trials": 2}


@pytest.fixture(autouse=True)
def _no_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimfront.search.refresh.Refresh._panels", lambda self: None)


def options(folder: Path) -> Options:
    url = f"sqlite:///{folder}/s.db"
    return Options(storage=url, workers=1, device="cpu", out=folder / "out", tensorboard=folder / "events")


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag; what a later start has replaced is gone."""
    accumulator: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_every_trial_of_a_search_has_its_curve_and_result(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    launch(Settings(**STUDY), options(tmp_path), stub_evaluator.evaluate)
    (study,) = (tmp_path / "events").iterdir()
    assert sorted(run.name for run in study.iterdir()) == ["trial-0", "trial-1"]
    found = read(study / "trial-0")
    reached = found["result/accuracy"][0][1]
    assert [step for step, _ in found["accuracy"]] == [1, 2, 3]
    assert found["accuracy"][-1][1] == pytest.approx(reached, abs=1e-3)
    assert found["loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3, abs=1e-3))]
    assert found["result/score"][0][1] > 0
    assert len(found["seconds an epoch"]) == 3


def test_a_trial_that_begins_again_has_one_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    launch(Settings(**STUDY | {"trials": 1}), options(tmp_path), stub_evaluator.evaluate)
    for file in tmp_path.glob("s.db*"):  # the same study from its beginning
        file.unlink()
    launch(Settings(**STUDY | {"trials": 1}), options(tmp_path), stub_evaluator.evaluate)
    (run,) = tmp_path.glob("events/*/trial-0")
    assert len(list(run.iterdir())) == 2
    assert [step for step, _ in read(run)["accuracy"]] == [1, 2, 3]


def test_every_seed_of_a_retraining_has_its_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    plan = Plan((Choice(presets["digits"], 4, 0.9),), "digits", seeds=2)
    how, _ = retrain(plan, options(tmp_path), stub_evaluator.evaluate)
    assert how == "done"
    runs = tmp_path / "events" / "out"
    assert sorted(run.name for run in runs.iterdir()) == ["trial-4-seed-0", "trial-4-seed-1"]
    assert len(read(runs / "trial-4-seed-1")["loss"]) == 3
    assert "result/accuracy" in read(runs / "trial-4-seed-1")


def test_a_folder_that_fails_ends_the_event_files_and_not_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "tiny").write_text("in the way")
    outcome, summary, _ = launch(Settings(**STUDY | {"name": "tiny"}), options(tmp_path), stub_evaluator.evaluate)
    assert (outcome.how, summary["trials"]["complete"]) == ("done", 2)
    assert capsys.readouterr().err.count("--tensorboard: nothing can be written in") == 1


@pytest.mark.parametrize("command", ["search", "retrain --candidate digits --dataset digits"])
def test_a_missing_package_is_one_line_before_any_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main([*command.split(), "--tensorboard", "events"]) == 2
    told = capsys.readouterr().err
    assert (
        told == "slimfront: --tensorboard: the package tensorboard is missing: pip install 'slimfront[tensorboard]'.\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    Path("events").write_text("a file")
    assert main(["search", "--tensorboard", "events"]) == 2
    told = capsys.readouterr().err
    assert "--tensorboard: events is a file" in told
    assert told.count("\n") == 1
