"""What the tests of this folder share: a place with something of the user's in it, and what hostile files begin as."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "evaluators")]

from finished_networks import PADDED, SHAPE, finished  # noqa: E402
from hostile_checks import CANARY, check_made, snapshot  # noqa: E402
from hostile_databases import honest  # noqa: E402
from hostile_files import STUDY  # noqa: E402
from slimfront.evaluators.artifacts.artifact import to_bytes  # noqa: E402
from slimfront.evaluators.data.splits import search_data  # noqa: E402
from slimfront.spaces.candidate import Bits  # noqa: E402
from slimfront.studies.settings import Settings  # noqa: E402


@dataclass(frozen=True)
class World:
    """A user's folder.

    Attributes:
        root: All of it.
        private: What is the user's own.
        theirs: What somebody sent.
        out: Where commands are told to write; they run in it.
    """

    root: Path
    private: Path
    theirs: Path
    out: Path

    @property
    def secrets(self) -> tuple[Path, ...]:
        """Files that nothing may come out of."""
        return tuple(sorted(path for path in self.private.rglob("*") if path.is_file()))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The user's folder; after the test nothing of it has changed but what lies in `theirs` and `out`."""
    made = World(tmp_path, *(tmp_path / name for name in ("private", "theirs", "out")))
    for folder in (made.private / "photos", made.theirs, made.out):
        folder.mkdir(parents=True)
    for name in ("secret.txt", "id_rsa", "photos/diary.png"):
        (made.private / name).write_text(f"{CANARY} {name}\n")
    (made.theirs / "study.toml").write_text(STUDY)
    monkeypatch.chdir(made.out)
    before = snapshot(made.private)
    yield made
    assert snapshot(made.private) == before
    assert sorted(path.name for path in made.root.iterdir()) == ["out", "private", "theirs"]
    check_made(made.out)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a study of the user's own."""
    path = tmp_path_factory.mktemp("settings") / "study.toml"
    path.write_text(STUDY)
    return Settings.from_toml(path)


@pytest.fixture(scope="session")
def digits_digest() -> str:
    """Hash of the digits and of their split."""
    return search_data("digits").digest


@pytest.fixture(scope="session")
def honest_database(tmp_path_factory: pytest.TempPathFactory, settings: Settings, digits_digest: str) -> bytes:
    """A database as a search leaves it."""
    path = tmp_path_factory.mktemp("honest") / "s.db"
    honest(path, settings, digits_digest)
    return path.read_bytes()


@pytest.fixture(scope="session")
def honest_artifact() -> bytes:
    """An artifact as retraining leaves it."""
    network = finished(PADDED, Bits.uniform(4, 4, outer=8), filters=True, masked=0.5)
    provenance = {"digest": "0" * 16, "seed": 0, "data": {"name": "digits", "digest": "0" * 16}, "commit": "unknown"}
    return to_bytes(network, SHAPE, accuracy=0.5, provenance=provenance)
