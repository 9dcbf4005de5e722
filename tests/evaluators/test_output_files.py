from __future__ import annotations

import stat
from pathlib import Path

import pytest
from slimfront.evaluators import outputs
from slimfront.evaluators.data import splits
from slimfront.search.commands import cli


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device is Linux's")
def test_what_cannot_be_written_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        outputs.write(Path("/dev/full"), "text")


@pytest.mark.parametrize("place", ["file", "file/in", "nowhere", "x" * 300, "/proc/here", "other"])
@pytest.mark.parametrize(
    "command",
    [("search", "studies/quick.toml"), ("retrain", "--candidate", "digits"), ("sweep", "--candidate", "digits")],
)
def test_a_folder_for_results_is_tried_before_anything_is_trained(
    command: tuple[str, ...],
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(splits, "_open", lambda *_: pytest.fail("data were opened"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none" / "at" / "all")
    (tmp_path / "other").mkdir()
    for name in ("work", "summary.json", "table.md"):  # which each command wants to be the other kind
        (tmp_path / "other" / name).mkdir() if "." in name else (tmp_path / "other" / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main([*command, "--dataset", "digits", "--out", place]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--out" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_for_results_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    outputs.check_folder("--out", tmp_path / "a" / "b", ("c",), {})
    assert not list(tmp_path.iterdir())
