from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import stub_evaluator
from slimfront.search.commands.importing import import_finished
from slimfront.search.launch import launch
from slimfront.studies.errors import StudyError
from slimfront.studies.store.file_lock import locked
from slimfront.studies.store.records import read_trials
from test_search import SPACE, _options, _settings


@pytest.fixture(autouse=True)
def _no_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimfront.search.refresh.Refresh._panels", lambda self: None)


def _study(folder: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/s.db")


def test_finished_trials_are_a_warm_start(tmp_path: Path) -> None:
    launch(_settings(trials=8), _options(tmp_path), stub_evaluator.evaluate)
    url = f"sqlite:///{tmp_path}/s.db"
    narrower = {**SPACE, "architecture": {"residual": {**SPACE["architecture"]["residual"], "stem_width": 8}}}  # type: ignore[dict-item]
    settings = _settings(name="t", space=narrower, bar=0.93, trials=12)
    told = import_finished(settings, url, url, "s", None)
    assert told["imported"] > 0
    assert told["outside"] > 0
    old, new = read_trials(_study(tmp_path, "s")), read_trials(_study(tmp_path, "t"))
    assert told["imported"] + told["outside"] == len({trial.digest for trial in old})
    by_digest = {trial.digest: trial for trial in old}
    for trial, frozen in zip(new, _study(tmp_path, "t").trials, strict=True):
        origin = by_digest[trial.digest]
        assert trial.point == origin.point
        assert trial.details == origin.details
        assert frozen.system_attrs["constraints"] == [pytest.approx(0.93 - trial.point[0])]
        assert trial.imported_from == f"s, trial {origin.number}"
        assert (trial.owner, trial.starts) == (None, 0)  # they are the old study's
    again = import_finished(settings, url, url, "s", None)
    assert (again["imported"], again["known"]) == (0, told["imported"])
    _, summary, _ = launch(settings, _options(tmp_path), stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 12
    digests = [trial.digest for trial in read_trials(_study(tmp_path, "t"))]
    assert len(set(digests)) == len(digests)  # what was imported is not tried again


def test_other_seeds_are_left_out_and_a_study_does_not_take_itself(tmp_path: Path) -> None:
    launch(_settings(trials=2), _options(tmp_path), stub_evaluator.evaluate)
    url = f"sqlite:///{tmp_path}/s.db"
    assert import_finished(_settings(name="t", seed=5), url, url, "s", None)["other_data"] > 0
    with pytest.raises(StudyError, match="into itself"):
        import_finished(_settings(), url, url, "s", None)


@pytest.mark.parametrize("name", ["busy.db", "link.db", "hard.db"])
def test_a_study_that_a_search_works_on_takes_nothing_in(tmp_path: Path, name: str) -> None:
    launch(_settings(trials=2), _options(tmp_path), stub_evaluator.evaluate)
    busy = tmp_path / "busy.db"
    busy.touch()
    (tmp_path / "link.db").symlink_to("busy.db")
    (tmp_path / "hard.db").hardlink_to(busy)
    source, goal = f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/{name}"
    with locked(busy), pytest.raises(StudyError, match="Another search is using"):
        import_finished(_settings(name="t"), goal, source, "s", None)
    assert busy.read_bytes() == b""
    assert import_finished(_settings(name="t"), goal, source, "s", None)["imported"] > 0
