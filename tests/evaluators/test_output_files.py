from __future__ import annotations

import stat
from pathlib import Path

import pytest
from slimfront.evaluators import outputs


def test_results_may_lie_beside_the_parts_of_an_image_folder(tmp_path: Path) -> None:
    for part in ("Train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
    outputs.check_outside_data("--out", tmp_path / "runs" / "x", f"folder:{tmp_path}")
    outputs.check_outside_data("--out", tmp_path / "Train" / "x", "digits")
    with pytest.raises(outputs.OutputError, match="among the pictures"):
        outputs.check_outside_data("--out", tmp_path / "Train" / "x", f"folder:{tmp_path}")


def test_a_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("mine")
    monkeypatch.setattr(outputs, "may_write", lambda place: place != path)  # nothing is protected from a superuser
    with pytest.raises(outputs.OutputError, match="protected"):
        outputs.check({"--csv": path}, {})
    with pytest.raises(PermissionError):
        outputs.write(path, "other")
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_that_new_files_have(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    outputs.write(tmp_path / "made" / "a", b"x")
    assert stat.S_IMODE((tmp_path / "made" / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    outputs.write(tmp_path / ("a" * 255), "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a" * 255]
