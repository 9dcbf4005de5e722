"""A family of a user's own, the one of docs/extending.md, the whole way; and what happens where nobody gave it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slimfront.search.commands import cli
from slimfront.studies.dashboard.server import update_panels
from slimfront.studies.dashboard.trial_pages import update_pages
from slimfront.studies.store.records import read_trials
from slimfront.studies.store.storage import load_study, open_storage
from slimfront.studies.store.study import StudyStore
from test_docs import named_files

PLAIN = "plain.py:PLAIN"
ALLOW = ["--allow", PLAIN]
CALLED_BITS = """
from dataclasses import replace
from slimfront.models.families.dense import DENSE
PLAIN = replace(DENSE, name="bits")
"""
MARKING = "from pathlib import Path\nPath(__file__).with_name('mark').touch()\nPLAIN = 1\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the study was searched by two workers and its front retrained."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine").mkdir()
    for name, text in named_files("extending.md").items():
        (folder / "mine" / name).write_text(text)
    path = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["search", "mine/plain.toml", "--workers", "2"]) == 0
        allowed = ["--allow", f"mine/{PLAIN}"]
        assert cli.main(["retrain", "--name", "plain", "--front", "--seeds", "1", "--epochs", "2", *allowed]) == 0
    yield folder
    sys.path[:] = path


@pytest.fixture
def folder(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, with the file as it was, beside the study."""
    monkeypatch.chdir(whole)
    text = (whole / "mine" / "plain.py").read_text()
    yield whole
    (whole / "mine" / "plain.py").write_text(text)


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(list(words))
    told = capsys.readouterr()
    return code, told.out, told.err


def _trials(folder: Path) -> list[Any]:
    return list(read_trials(load_study(open_storage(f"sqlite:///{folder}/slimfront.db"), "plain")))


def _artifact(folder: Path) -> str:
    """Of a retrained network of the family."""
    for found in sorted((folder / "runs" / "final" / "plain-front").glob("*/seed-0")):
        if json.loads((found / "plan.json").read_text())["trained"]["architecture"]["family"] == PLAIN:
            return str(next(found.glob("*.slim")))
    raise AssertionError("no network of the family is on the front")


def test_every_trial_names_the_code_that_it_used(folder: Path) -> None:
    trials = _trials(folder)
    assert [trial.reason for trial in trials if trial.state == "failed"] == []
    own = [trial for trial in trials if trial.candidate_dict["architecture"]["family"] == PLAIN]
    assert own
    assert {trial.parameters["plain.width"] for trial in own} <= {4, 6}
    assert {tuple(trial.code) for trial in own} == {(PLAIN,)}
    assert len({trial.code[PLAIN] for trial in own}) == 1
    assert not any(trial.code for trial in trials if trial not in own)


def test_its_artifact_is_verified_and_exported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allowed = ["--allow", f"mine/{PLAIN}"]
    code, out, err = _run(capsys, "verify", _artifact(folder), *allowed, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True), err
    code, out, err = _run(capsys, "export", _artifact(folder), "--onnx", "plain.onnx", *allowed, "--json")
    assert code == 0, err
    assert Path("plain.onnx").stat().st_size == json.loads(out)["bytes"]


def test_its_words_are_in_the_report_where_it_is_given(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "report", "--out", "plain.html", "--allow", f"mine/{PLAIN}")
    assert code == 0, err
    assert "Plain networks" in Path("plain.html").read_text()


def test_nothing_is_imported_that_nobody_gave(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is where a reference would be looked for, and leaves a mark when it is imported."""
    trial = next(t for t in _trials(folder) if t.candidate_dict["architecture"]["family"] == PLAIN)
    for place in (folder, folder / "mine"):
        (place / "plain.py").write_text(MARKING)
    Path("candidate.json").write_text(json.dumps(trial.candidate_dict))
    for line in ("front", "front --csv t.csv --importance", "report --out p.html --slides s.html"):
        code, _, err = _run(capsys, *line.split())
        assert code == 0, err
    store = StudyStore(open_storage("sqlite:///slimfront.db"), "plain")
    update_panels(store, 0.05)
    assert update_pages(store, 0.05, folder / "pages", latest=10)
    assert PLAIN in Path("p.html").read_text()
    assert PLAIN in Path("t.csv").read_text()
    artifact = _artifact(folder)
    for words in (
        ["retrain", "--name", "plain", "--trial", str(trial.number)],
        ["retrain", "--candidate", "candidate.json"],
        ["score", "candidate.json"],
        ["sweep", "--candidate", "candidate.json"],
        ["verify", artifact],
        ["export", artifact, "--onnx", "q.onnx"],
    ):
        code, _, err = _run(capsys, *words)
        assert (code, err.count("\n")) == (2, 1), err
        assert f"--allow {PLAIN}" in err
    assert not list(folder.rglob("mark"))
    (folder / "plain.py").unlink()


def test_changed_code_goes_on_only_where_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _trials(folder)
    own = next(trial for trial in before if trial.code)
    with Path("mine/plain.py").open("a") as file:
        file.write("# another word\n")
    again = ["search", "mine/plain.toml", "--trials", str(len(before) + 2), "--workers", "1"]
    code, _, err = _run(capsys, *again)
    assert (code, err.count("\n")) == (2, 1), err
    assert "--changed-code" in err
    assert len(_trials(folder)) == len(before)
    code, _, err = _run(capsys, "retrain", "--name", "plain", "--trial", str(own.number), "--allow", f"mine/{PLAIN}")
    assert code == 2
    assert "--changed-code" in err
    code, _, err = _run(capsys, *again, "--changed-code")
    assert code == 0, err
    found = [trial.code[PLAIN] for trial in _trials(folder)[len(before) :] if trial.code]
    assert own.code[PLAIN] not in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PLAIN = 1\n", "must be a Family"),
        ("PLAIN = None\n", "must be a Family"),
        (CALLED_BITS, "is called bits, which a space has already; rename it"),
        ("raise RuntimeError('no')\n", "plain.py, line 1"),
        ("from slimfront.models.families.dense import DENSE as PLAIN\n", "rename yours"),
        ("OTHER = 1\n", "has no PLAIN"),
    ],
)
def test_what_is_no_family_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    Path("mine/plain.py").write_text(text)
    code, _, err = _run(capsys, "search", "mine/plain.toml")
    assert code == 2
    assert said in err.splitlines()[0]
    assert all("plain.toml" in line for line in err.splitlines())
