"""The file of exact versions beside results: complete, installable, and silent about everything else."""

from __future__ import annotations

import doctest
import importlib.metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from slimfront.studies import requirements

RESULTS = Path(__file__).parents[2] / "results"


def _pins(text: str) -> dict[str, str]:
    found = [Requirement(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(str(pin.specifier).startswith("==") for pin in found)
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in found}


def test_it_pins_what_is_installed_down_to_what_is_needed_by_what_is_needed(tmp_path: Path) -> None:
    pins = _pins(requirements.write_requirements(tmp_path / "new").read_text())
    for name in ("torch", "optuna", "sympy", "alembic"):  # the last two come with the first two
        assert pins[name] == importlib.metadata.version(name)
    assert "pytest" not in pins
    assert "slimfront" not in pins


def test_going_on_with_other_versions_tells_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = requirements.write_requirements(tmp_path)
    begun = path.read_text()
    requirements.write_requirements(tmp_path, goes_on=True)
    assert path.read_text() == begun
    now = requirements.versions() | {"torch": "99.0"}
    monkeypatch.setattr(requirements, "versions", lambda: now)
    for _ in range(2):  # the second time there is nothing to add
        requirements.write_requirements(tmp_path, goes_on=True)
        assert path.read_text().startswith(begun)
        assert path.read_text().count("torch==99.0") == 1
    assert _pins(path.read_text()) == _pins(begun)
    requirements.write_requirements(tmp_path)
    assert _pins(path.read_text())["torch"] == "99.0"


def test_examples() -> None:
    assert doctest.testmod(requirements).failed == 0


@pytest.mark.skipif(not RESULTS.exists(), reason="results/ is not beside the tests")
def test_published_files_can_be_installed_and_name_no_index() -> None:
    files = list(RESULTS.rglob("*requirements.txt"))
    assert files
    for path in files:
        assert "torch" in _pins(path.read_text()), path
        assert "://" not in path.read_text(), path
