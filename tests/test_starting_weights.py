"""Weights of a user's own that a training begins with: in a study, for final numbers, in a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.training.augmentation import normalise
from slimfront.spaces import references
from test_own_networks import ALLOW, FILES, NET, _run, slimfront_given
from torch import nn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    """A state dict of hers that classifies most digits, of width 4."""
    torch.manual_seed(0)
    images = search_data("digits").train.subset(torch.arange(400))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with slimfront_given():
            network = references.resolve(NET)(width=4, in_channels=1)
    inputs = normalise(images.images).flatten(1).unflatten(1, (1, 12, 12))  # in the plain order of memory
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(25):
        loss = nn.functional.cross_entropy(network(inputs), images.labels.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(network.state_dict(), folder / "trained.safetensors")
    return folder / "trained.safetensors"


BEGUN = f"""
dataset = "digits"
bar = 0.1
trials = 1
[space.architecture]
family = "{NET}"
small.width = 4
[space.recipe]
epochs = 1
sgd.learning_rate = 1e-9
starting_weights = "trained.safetensors"
"""


def test_a_study_begins_with_weights_of_hers(inside: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("begun.toml").write_text(BEGUN)
    search = ["search", "begun.toml", "--workers", "1", "--storage", "sqlite:///begun.db"]
    code, out, err = _run(capsys, *search, "--json")
    assert code == 0, err
    (found,) = json.loads(out)["front"]
    assert found["accuracy"] > 0.5  # which nothing learns at that learning rate
    assert len(found["candidate"]["recipe"]["starting_weights"]) == 16

    retrain = ["retrain", "--trial", "0", "--storage", "sqlite:///begun.db", "--seeds", "1", *ALLOW]
    code, _, err = _run(capsys, *retrain)
    assert (code, "add --weights FILE" in err) == (2, True), err
    code, out, err = _run(capsys, *retrain, "--weights", weights.name, "--json")
    assert code == 0, err
    retrained = json.loads(out)
    assert retrained["mean"] > 0.5
    assert _run(capsys, "verify", *retrained["artifacts"], *ALLOW)[0] == 0

    other = load_file(weights)
    save_file({**other, "linear.bias": other["linear.bias"] + 1}, "other.safetensors")
    code, _, err = _run(capsys, *retrain, "--weights", "other.safetensors")
    assert (code, "but those of other.safetensors are" in err) == (2, True), err
    Path("begun.toml").write_text(BEGUN.replace("trained.", "other."))
    code, _, err = _run(capsys, *search)
    assert (code, "space.recipe.starting_weights was" in err) == (2, True), err


@pytest.mark.parametrize(
    ("written", "replaced", "said"),
    [
        (
            "small.width = 4",
            "small.width = [4, 6]",
            "Small width 6 for 10 classes: shapes differ: conv1.weight has 4x1",
        ),
        ("trained.safetensors", "absent.pt", "space.recipe.starting_weights: "),
        ('"trained.safetensors"', "3", "recipe.starting_weights must be a word, but got 3"),
    ],
)
def test_weights_that_a_study_cannot_begin_with_are_told_before_it_begins(
    inside: Path, weights: Path, capsys: pytest.CaptureFixture[str], written: str, replaced: str, said: str
) -> None:
    Path("unfit.toml").write_text(BEGUN.replace(written, replaced))
    code, out, err = _run(capsys, "search", "unfit.toml", "--workers", "1", "--storage", "sqlite:///unfit.db", "--json")
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_weights_that_do_not_fit_a_class_are_told_before_it_is_trained(
    inside: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--candidate", NET, "--arg", "width=6", "--dataset", "digits", "--weights", weights.name]
    for command in (["retrain", *words], ["sweep", *words, "--methods", "global_l1", "--out", "unfit"]):
        code, _, err = _run(capsys, *command)
        assert (code, "Small width 6 for 10 classes: shapes differ" in err) == (2, True), err


def test_a_sweep_takes_her_class(inside: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--candidate", NET, "--arg", "width=4", "--weights", weights.name, "--dataset", "digits", "--epochs", "1"]
    more = ["--methods", "li_filters,global_l1", "--ratios", "0.5", "--retrain-epochs", "0", "--out", "swept"]
    code, out, err = _run(capsys, "sweep", *words, *more, "--json")
    assert code == 0, err
    swept = json.loads(out)
    (dense,) = swept["dense"]
    assert swept["candidate"] == NET
    assert {point["method"] for point in swept["points"]} == {"li_filters", "global_l1"}
    assert all(point["stored_weights"] < dense["stored_weights"] for point in swept["points"])
    assert {row["layer"] for row in swept["sensitivity"]} >= {"conv1", "layers.0.conv1", "linear"}
