"""What stands beside every number: versions, machine and commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from slimfront.studies import environment as environments
from slimfront.studies.environment import commit, environment


def test_the_environment_names_versions_machine_and_commit() -> None:
    found = environment()
    assert {"python", "torch", "optuna", "thop", "numpy", "machine", "commit"} <= set(found)
    assert "cores" in found["machine"]
    assert all(isinstance(value, str) and value for value in found.values())


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_tells_changes_and_knows_what_it_does_not_know(tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == "unknown"
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "first")
    clean = commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "notes.txt").write_text("not code of ours\n")
    assert commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2\n")
    assert commit(tmp_path) == f"{clean}+changes"
    installed = tmp_path / "venv"  # inside of somebody's repository, but not of it
    installed.mkdir()
    assert commit(installed) == "unknown"


def test_no_git_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "unknown"


def test_the_processor_has_a_name_without_cpuinfo(tmp_path: Path) -> None:
    assert environments._processor(tmp_path / "absent")
    (tmp_path / "info").write_text("processor : 0\nmodel name : Some   Chip @ 2 GHz\n")
    assert environments._processor(tmp_path / "info") == "Some Chip @ 2 GHz"
    assert environments._vectors(tmp_path / "absent") == environments._vectors(tmp_path / "info") == ""
    (tmp_path / "info").write_text("flags\t\t: fpu avx avx2\nflags\t\t: fpu avx avx2\n")
    assert environments._vectors(tmp_path / "info") == " (AVX2)"
    (tmp_path / "info").write_text("flags : avx2 avx512f avx512_bf16\n")
    assert environments._vectors(tmp_path / "info") == " (AVX-512 with bfloat16)"
