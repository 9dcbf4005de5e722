"""What comes from elsewhere is data, never code, and bounded; what listens, listens on this machine."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import stub_evaluator
from slimfront.search.commands.scoring import read_candidate
from slimfront.search.commands.signatures import studies
from slimfront.search.launch import launch
from slimfront.spaces import CandidateError
from slimfront.studies.dashboard import server as dashboard
from slimfront.studies.pictures.figures import front_figure
from slimfront.studies.settings import Settings, SettingsError
from slimfront.studies.store.storage import open_storage
from slimfront.studies.store.study import find_study
from test_search import _options, _settings, _study

ROOT = Path(__file__).parents[2]
PACKAGES = ("spaces", "models", "evaluators", "studies", "search")


def _sources() -> list[Path]:
    return [ROOT / "run_search.py", *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))]


def test_nothing_is_unpickled_or_run() -> None:
    """No `eval`, no `pickle.load`; `torch.load` of tensors alone; one restricted unpickler reads the CIFAR archives.

    One `exec` runs the file that a user gives to a command.
    """
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "pickle.load", "pickle.loads", "os.system"), path
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert called != "torch.load" or options.get("weights_only") == "True", path
                assert called != "exec" or path == ROOT / "spaces" / "references.py", path
                assert not any(keyword.arg == "shell" for keyword in node.keywords), path
            if isinstance(node, ast.Import) and path.name != "sources.py":
                assert "pickle" not in [name.name for name in node.names], path


def test_the_dashboard_listens_on_this_machine_unless_told_otherwise() -> None:
    for function in (dashboard.serve, dashboard.make_dashboard, studies.dashboard):
        default = inspect.signature(function).parameters["host"].default
        assert default == "127.0.0.1"


def test_a_study_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    path.write_text("#" * (2**20 + 1))
    with pytest.raises(SettingsError, match="too large"):
        Settings.from_toml(path)


def test_a_candidate_file_is_bounded_and_deep_nesting_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "candidate.json"
    path.write_text(" " * 2**24)
    with pytest.raises(CandidateError, match="too large"):
        read_candidate(str(path))
    path.write_text("[" * 20_000)
    with pytest.raises(CandidateError, match="not valid JSON"):
        read_candidate(str(path))


def test_a_study_name_stays_in_its_folder_and_out_of_html(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "../../<img src=x onerror=alert(1)>"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    options = _options(tmp_path, out=None)
    launch(_settings(name=name, trials=1), options, stub_evaluator.evaluate)
    (made,) = (tmp_path / "a" / "runs").iterdir()
    assert made.name.count("/") == 0
    assert "<" not in made.name
    assert not list(tmp_path.glob("*img*"))
    study = find_study(open_storage(options.storage), name)
    assert "<img" not in front_figure(study.trials, 0.9).to_json()


def test_the_storage_holds_no_password(tmp_path: Path) -> None:
    launch(_settings(trials=1), _options(tmp_path), stub_evaluator.evaluate)
    study = _study(tmp_path)
    assert "sqlite" not in repr([study.user_attrs, [trial.user_attrs for trial in study.trials]])
