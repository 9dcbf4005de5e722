"""Hostile databases, artifacts, study files and folders go through the commands: none gets out, through or stuck.

Every case is made from a seed. The fast suite takes a few; the slow one takes many more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import World
from hostile_checks import ask, check_made, snapshot
from hostile_databases import CONTENT, DAMAGE, spoil
from hostile_files import (
    FOLDERS,
    LARGE_FACTS,
    STUDY_FILES,
    hostile_artifact,
    hostile_candidate,
    opened,
    sealed,
    summary_of_retraining,
)
from slimfront.spaces import presets

FEW, MANY = range(2), range(2, 60)
FEW_FILES, MANY_FILES = range(12), range(12, 600)


@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY)])
def test_a_hostile_study_is_read_and_nothing_else_happens(
    world: World, honest_database: bytes, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    database = world.theirs / "s.db"
    database.write_bytes(honest_database)
    digests = _digests(database)
    spoil(database, CONTENT, seed, world.secrets)
    finals = world.out / "runs" / "final" / "theirs"
    finals.mkdir(parents=True)
    (finals / "summary.json").write_text(summary_of_retraining(digests[:2], seed))
    place = ("--storage", f"sqlite:///{database}")
    told = ask(capsys, "front", *place, "--csv", "t.csv", "--plot", "f.png", "--importance")
    assert told.code in (0, 2), told.err
    assert ask(capsys, "front", *place, "--json", "--bar", "0.5").code == 0
    assert ask(capsys, "report", *place, "--bar", "0.7", "--out", "r.html", "--slides", "s.html").code == 0
    source = ("--source", f"sqlite:///{database}", "--storage", "sqlite:///mine.db")
    ask(capsys, "import", world.theirs / "study.toml", *source)
    if (world.out / "mine.db").exists():
        assert ask(capsys, "front", "--storage", "sqlite:///mine.db", "--csv", "mine.csv").code in (0, 2)
    ask(capsys, "retrain", *place, "--trial", "0", "--seeds", "0")
    assert {path.name for path in world.theirs.iterdir()} <= {"study.toml", "s.db", "s.db-wal", "s.db-shm"}


def _digests(database: Path) -> list[str]:
    import sqlite3

    rows = sqlite3.connect(database).execute("SELECT value_json FROM trial_user_attributes WHERE \"key\" = 'digest'")
    return sorted({text.strip('"') for (text,) in rows})


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_database_is_one_line(
    world: World, honest_database: bytes, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    database = world.theirs / "s.db"
    database.write_bytes(honest_database)
    spoil(database, (DAMAGE[damage],), 0, world.secrets)
    place = f"sqlite:///{database}"
    told = ask(capsys, "front", "--storage", place, "--csv", "t.csv")
    assert told.code == 0 or len(told.err.strip().splitlines()) == 1, told.err
    told = ask(capsys, "import", world.theirs / "study.toml", "--source", place, "--storage", "sqlite:///mine.db")
    assert told.code == 0 or len(told.err.strip().splitlines()) == 1, told.err


@pytest.mark.parametrize("seed", [*FEW_FILES, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY_FILES)])
def test_a_hostile_artifact_is_verified_and_exported_or_refused(
    world: World, honest_artifact: bytes, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    path = world.theirs / "network.slim"
    path.write_bytes(hostile_artifact(honest_artifact, seed))
    before = snapshot(world.theirs)
    ask(capsys, "verify", path, "--json")
    if seed % 3 == 0:
        pytest.importorskip("onnxruntime")
        ask(capsys, "export", path, "--onnx", "network.onnx")
    assert snapshot(world.theirs) == before


@pytest.mark.parametrize("name", LARGE_FACTS)
def test_a_fact_without_measure_is_the_artifacts_fault(
    world: World, honest_artifact: bytes, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arrays, facts = opened(honest_artifact)
    LARGE_FACTS[name](facts)
    path = world.theirs / "network.slim"
    path.write_bytes(sealed(arrays, facts))
    assert ask(capsys, "verify", path).code in (1, 2) or name == "another claim"
    told = ask(capsys, "export", path, "--onnx", "network.onnx")
    assert told.code == 2 or name in ("claimed score", "another claim")


@pytest.mark.parametrize("name", STUDY_FILES)
def test_a_hostile_study_file_is_refused_a_line_a_fault(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = world.theirs / "study.toml"
    path.write_text(STUDY_FILES[name])
    told = ask(capsys, "import", path, "--source", "sqlite:///none.db", "--storage", "sqlite:///mine.db")
    assert told.code == 2
    lines = told.err.splitlines()
    assert 1 <= len(lines) <= 30
    assert len(lines) == 1 or all("study.toml" in line for line in lines)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 100))])
def test_a_hostile_candidate_is_scored_or_refused(world: World, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    path = world.theirs / "candidate.json"
    path.write_text(hostile_candidate(presets["digits"].to_dict(), seed))
    ask(capsys, "score", path)


def test_a_candidate_of_a_network_beyond_all_memory_is_one_line(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = {"widths": [4096] * 8, "depths": [64] * 8, "strides": [1] * 8, "kernels": [7] * 8, "expansions": [12] * 8}
    architecture = {"family": "inverted", "stem_width": 4096, "stem_stride": 1, **stages}
    path = world.theirs / "candidate.json"
    path.write_text(json.dumps({"architecture": architecture}))
    assert ask(capsys, "score", path).code == 2


@pytest.mark.parametrize("name", FOLDERS)
def test_a_hostile_folder_of_pictures_leads_nowhere(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = world.theirs / "pictures"
    FOLDERS[name](folder, world.private / "photos")
    before = snapshot(world.theirs)
    told = ask(capsys, "data", f"folder:{folder}", "--json")
    assert (told.code == 0) == (name in ("escaped name", "formula")), told.err
    assert snapshot(world.theirs) == before


@pytest.mark.parametrize("command", ["search", "import"])
def test_a_pipe_is_not_waited_for(world: World, capsys: pytest.CaptureFixture[str], command: str) -> None:
    import os

    os.mkfifo(world.theirs / "pipe.toml")
    more = ("--source", "sqlite:///none.db") if command == "import" else ("--trials", "1")
    assert ask(capsys, command, world.theirs / "pipe.toml", *more).code == 2
    finals = world.out / "runs" / "final" / "theirs"
    finals.mkdir(parents=True)
    os.mkfifo(finals / "summary.json")


def test_the_same_seed_makes_the_same_hostility(honest_artifact: bytes) -> None:
    made: Mapping[int, Any] = {seed: hostile_artifact(honest_artifact, seed) for seed in range(4)}
    assert made == {seed: hostile_artifact(honest_artifact, seed) for seed in range(4)}
    assert len(set(made.values())) == 4


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    for name, text in (("a.csv", "a,=1+1\n"), ("a.html", "<script>1</script>"), ("b.html", "<p onclick='a'>")):
        (tmp_path / name).write_text(text)
        with pytest.raises((AssertionError, ValueError)):
            check_made(tmp_path)
        (tmp_path / name).unlink()
