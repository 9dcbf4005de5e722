"""No command writes over what it reads, over its storage, or over what it has just written."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from pathlib import Path

import pytest
from kept_files import contents, log_writes, small_study
from slimfront.spaces import presets

import run_search

ROOT = Path(__file__).parents[1]
SPACE = """
trials = 1
dataset = "digits"
[space.architecture.residual]
stem_width = 6
stages = 1
width = 8
depth = 1
[space.recipe]
epochs = 1
"""
AT_ONCE = "--workers 1 --hours 1e-9"  # a search that writes its results and trains nothing


@pytest.fixture(scope="module")
def artifact() -> Path:
    return min((ROOT / "results").rglob("*.slim"), key=lambda path: path.stat().st_size)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artifact: Path) -> Path:
    """A folder to work in: a study in it under several names, an artifact, a candidate, a study's file."""
    monkeypatch.chdir(tmp_path)
    small_study(tmp_path / "study.db")
    log_writes(tmp_path / "study.db")
    for name in ("link.db", "link.png", "link.html"):
        (tmp_path / name).symlink_to("study.db")
    (tmp_path / "hard.db").hardlink_to(tmp_path / "study.db")
    shutil.copy(artifact, tmp_path / "x.slim")
    (tmp_path / "x.onnx").symlink_to("x.slim")
    (tmp_path / "sub").mkdir()
    (tmp_path / "summary.json").write_text(presets["digits"].to_json())
    (tmp_path / "trials.csv").write_text(SPACE)
    return tmp_path


def _refused(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> str:
    """Run a command that must be refused in one line, with nothing changed; the line."""
    before = contents(folder)
    assert run_search.main(shlex.split(command)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert contents(folder) == before
    return err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("front --storage sqlite:///study.db --csv study.db", "--csv would overwrite the storage"),
        ("front --storage sqlite:///study.db --csv ./sub/../study.db", "--csv would overwrite the storage"),
        ("front --storage sqlite:///study.db --csv link.db", "--csv would overwrite the storage"),
        ("front --storage sqlite:///study.db --csv hard.db", "--csv would overwrite the storage"),
        ("front --storage sqlite:///link.db --csv study.db", "--csv would overwrite the storage"),
        ("front --storage sqlite:///file:study.db?uri=true --csv study.db", "--csv would overwrite the storage"),
        ("front --storage sqlite:///study.db --csv study.db-wal", "would overwrite the storage's study.db-wal"),
        ("front --storage sqlite:///link.db --csv study.db-journal", "would overwrite the storage's study.db-journal"),
        ("front --storage sqlite:///study.db --plot link.png", "--plot would overwrite the storage"),
        ("front --storage sqlite:///study.db --csv a.png --plot a.png", "--csv and --plot are the same file"),
        ("front --storage sqlite:///study.db --csv sub/a.png --plot sub/../sub/a.png", "are the same file"),
        ("front --storage sqlite:///study.db --csv sub", "is a folder"),
        ("front --storage sqlite:///study.db --csv x.slim/t.csv", "is a file, not a folder"),
        ("report --storage sqlite:///study.db --out study.db", "--out would overwrite the storage"),
        ("report --storage sqlite:///study.db --slides link.html", "--slides would overwrite the storage"),
        ("report --storage sqlite:///study.db --out r --slides r", "--out and --slides are the same file"),
        (
            "report --storage sqlite:///study.db --retrained summary.json --out summary.json",
            "--out would overwrite the summary",
        ),
        ("report --storage sqlite:///study.db --retrained x.slim --out x.slim", "--out would overwrite the summary"),
        ("export x.slim --onnx x.slim", "--onnx would overwrite the artifact"),
        ("export x.slim --onnx x.onnx", "--onnx would overwrite the artifact"),
        ("export x.onnx --onnx other.slim", "let its name end in .onnx"),
        (f"search trials.csv --storage sqlite:///new.db --out . {AT_ONCE}", "would overwrite the study's file"),
        (f"search trials.csv --storage sqlite:///sub/front.png --out sub {AT_ONCE}", "would overwrite the storage"),
        (f"search trials.csv --storage sqlite:///new.db --out x.slim {AT_ONCE}", "is a file, not a folder"),
        (
            "sweep --candidate summary.json --out . --dataset digits --methods random --ratios 0.5 --epochs 1"
            " --retrain-epochs 0",
            "summary.json in --out would overwrite the candidate",
        ),
        (
            "retrain --candidate summary.json --out . --dataset digits --seeds 1 --epochs 1 --workers 1",
            "summary.json in --out would overwrite the candidate",
        ),
    ],
)
def test_no_output_is_an_input_or_another_output(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    assert words in _refused(folder, capsys, command)


@pytest.mark.parametrize("out", ["pictures", "pictures/new", "pictures/cat/deeper", "parts/train/x", "parts/Test"])
def test_results_do_not_lie_among_the_pictures(folder: Path, capsys: pytest.CaptureFixture[str], out: str) -> None:
    for place in ("pictures", "parts/train", "parts/Test"):
        for name in ("cat", "dog"):
            (folder / place / name).mkdir(parents=True)
    dataset = "folder:" + out.partition("/")[0]
    command = f"search trials.csv --dataset {dataset} --storage sqlite:///new.db --out {out} {AT_ONCE}"
    assert "lies among the pictures" in _refused(folder, capsys, command)


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("front --storage sqlite:///study.db --csv t.csv", "t.csv"),
        ("front --storage sqlite:///study.db --plot p.png", "p.png"),
        ("report --storage sqlite:///study.db --out r.html", "r.html"),
        ("report --storage sqlite:///study.db --slides s.html", "s.html"),
        ("export x.slim --onnx n.onnx", "n.onnx"),
    ],
)
def test_what_cannot_be_written_whole_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, target: str
) -> None:
    (folder / target).write_text("of yesterday")
    before = contents(folder)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert run_search.main(shlex.split(command)) in (1, 2)
    assert contents(folder) == before
    assert run_search.main(shlex.split(command)) == 0
    assert (folder / target).read_bytes() != b"of yesterday"


def test_a_link_to_another_place_stays_a_link_and_permissions_stay(folder: Path) -> None:
    (folder / "sub" / "real.csv").write_text("of yesterday")
    (folder / "sub" / "real.csv").chmod(0o640)
    (folder / "t.csv").symlink_to("sub/real.csv")
    assert run_search.main(["front", "--storage", "sqlite:///study.db", "--csv", "t.csv"]) == 0
    assert (folder / "t.csv").is_symlink()
    assert (folder / "sub" / "real.csv").read_text().startswith("trial,")
    assert (folder / "sub" / "real.csv").stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_written_into(folder: Path) -> None:
    reading, writing = os.pipe()
    try:
        assert run_search.main(["front", "--storage", "sqlite:///study.db", "--csv", f"/dev/fd/{writing}"]) == 0
        assert os.read(reading, 100).startswith(b"trial,")
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("ending", "begin"), [("png", b"\x89PNG"), ("PNG", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_picture_has_the_format_of_its_name(folder: Path, ending: str, begin: bytes) -> None:
    assert run_search.main(["front", "--storage", "sqlite:///study.db", "--plot", f"front.{ending}"]) == 0
    assert (folder / f"front.{ending}").read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("front --storage sqlite:///none.db --plot front.gif", ".png, .svg or .pdf"),
        ("front --storage sqlite:///none.db --plot front", ".png, .svg or .pdf"),
        ("front --storage sqlite:///none.db --plot .svg", ".png, .svg or .pdf"),
        ("front --storage sqlite:///none.db --csv front.json", "end in .csv"),
        ("front --storage sqlite:///none.db --csv mine.toml", "end in .csv"),
        ("report --storage sqlite:///none.db --out other.slim", "end in .html"),
        ("export none.slim --onnx mine.toml", "end in .onnx"),
        ("report --storage sqlite:///none.db --out page.pdf", "end in .html"),
        ("report --storage sqlite:///none.db --slides talk.PDF", "end in .html"),
    ],
)
def test_a_name_that_promises_another_format_is_refused_first(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    assert words in _refused(folder, capsys, command)


def test_a_page_may_end_in_anything_that_is_no_format(folder: Path) -> None:
    assert run_search.main(["report", "--storage", "sqlite:///study.db", "--out", "study-1.2"]) == 0
    assert (folder / "study-1.2").read_bytes().startswith(b"<!")


@pytest.mark.parametrize("name", ["..", ".", "...", "final", "ü" * 200])
def test_a_study_name_stays_in_the_folder_of_results(folder: Path, name: str) -> None:
    inside = folder / "inside"
    (inside / "runs" / "final").mkdir(parents=True)
    for place in (inside, inside / "runs", inside / "runs" / "final"):
        for file in ("front.png", "trials.csv"):
            (place / file).write_text("mine")
    before = contents(inside)
    os.chdir(inside)
    command = f"search ../trials.csv --storage sqlite:///../new.db {AT_ONCE} --name"
    assert run_search.main([*shlex.split(command), name]) == 0
    after = contents(inside)
    assert {file: after[file] for file in before} == before
    (made,) = {Path(file).parent for file in after.keys() - before.keys()}
    assert made.parent == Path("runs")


def test_two_studies_of_one_storage_do_not_share_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"search trials.csv --storage sqlite:///new.db {AT_ONCE} --name"
    assert run_search.main([*shlex.split(command), "a b"]) == 0
    capsys.readouterr()
    assert "'a/b' and 'a b' would write to the same place" in _refused(folder, capsys, f"{command} a/b")
    assert run_search.main([*shlex.split(command), "a/b", "--out", "elsewhere"]) == 0


def test_a_report_has_a_name_of_its_own(folder: Path) -> None:
    small_study(folder / "named.db", "..")
    before = contents(folder)
    assert run_search.main(["report", "--storage", "sqlite:///named.db"]) == 0
    (made,) = contents(folder).keys() - before.keys()
    assert Path(made).stem.strip(".")
    assert made.endswith(".html")
