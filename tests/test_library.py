"""`import slimfront`: the examples of docs/library.md, run in their order, and what a caller gets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from slimfront.evaluators.artifacts.artifact import save
from slimfront.models.quantization.conversion import deploy
from slimfront.studies.errors import StudyError
from slimfront.studies.settings import SettingsError
from test_docs import blocks

import slimfront

EXAMPLES = [text for page, text in blocks("python") if page == "library.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the first example has run, with an artifact."""
    place = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        exec(EXAMPLES[0], {})
        network = slimfront.build(slimfront.presets["digits"].architecture, 10, 1).eval()
        deploy(network)
        save(network, place / "network.slim", (1, 12, 12))
        yield place


@pytest.mark.parametrize("example", EXAMPLES[1:])
def test_the_examples_run(folder: Path, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(example, {})


def test_a_front_holds_what_the_search_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    front = slimfront.front(bar=0.05)
    assert front.study == "small"
    assert front.trials["complete"] == 2
    assert len(front) == len(list(front)) >= 1
    for network in front:
        assert network.candidate is not None
        assert network.candidate.digest == network.digest
        assert network.accuracy >= 0.05
        assert re.match(r"residual [46] x 1", str(network.network))
        assert network.cost == network.score


def test_an_artifact_is_what_it_claims(folder: Path) -> None:
    path = folder / "network.slim"
    assert slimfront.load(str(path)).classes == 10
    facts = slimfront.verify(path)
    assert facts.ok
    assert facts.accuracy is None
    assert facts.weights == slimfront.score(slimfront.load(path).network, (1, 12, 12)).weights


def test_what_a_caller_can_mend_is_said(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="run a search first"):
        slimfront.front(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(SettingsError, match="bar"):
        slimfront.run({"bar": 2, "dataset": "digits", "space": {}})
    with pytest.raises(ValueError, match=r"missing\.slim"):
        slimfront.load(tmp_path / "missing.slim")


def test_every_public_name_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "library.md").read_text()
    for name in slimfront.__all__:
        assert f"`{name}" in page, name
        assert getattr(slimfront, name).__doc__, name
