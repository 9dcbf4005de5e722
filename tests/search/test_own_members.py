"""A pruning method, a policy, an optimizer, a decay and a sampler of a user's own: from her file to a network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from slimfront.search.commands.cli import main

MINE = """
import torch
from optuna.samplers import RandomSampler
from slimfront.evaluators.pruning.importance import mean_over
from slimfront.evaluators.training.parameters import decayed_groups
from slimfront.spaces.criteria import Criterion, Method
from slimfront.spaces.optimizers import Decay, Optimizer
from slimfront.spaces.policies import Policy
from slimfront.studies.sampling import Sampler


def spread(network, groups, sample, seed):
    def judge(layer):
        return layer.weight.detach().flatten(1).std(1)

    return {group.name: mean_over(network, group, group.filters, judge) for group in groups}


def salt(images, labels, strength, classes, generator):
    spots = torch.rand(len(images), 1, *images.shape[2:], generator=generator) < strength / 10
    return images.masked_fill(spots, 255), labels


def rms(network, recipe):
    return torch.optim.RMSprop(decayed_groups(network, recipe.weight_decay), lr=recipe.learning_rate)


BY_SPREAD = Method("by_spread", "filters", Criterion("spread", filters=spread), scope="layer", schedule="once")
SALT = Policy("salt", salt, title="Salt", words="white spots", paper="nobody, never")
RMS = Optimizer("rms", rms, learning_rate=0.004, fine_tuning=0.5)
HALF = Decay("half", lambda progress: 1 - progress / 2)
ANY = Sampler("any", lambda seeds, startup: RandomSampler(seed=seeds.run))
"""
STUDY = """
name = "own"
dataset = "digits"
bar = 0.05
trials = 3
startup_trials = 1
sampler = "mine.py:ANY"

[space.architecture.residual]
stem_width = 4
stages = 1
width = [4, 6]
depth = 1

[space.augmentation]
policy = "mine.py:SALT"
salt.strength = { low = 0.1, high = 0.9 }

[space.pruning.filters]
method = "mine.py:BY_SPREAD"
ratio = 0.3
epochs = 1

[space.recipe]
epochs = 1
optimizer = ["mine.py:RMS"]
decay = "mine.py:HALF"
rms.learning_rate = { low = 0.001, high = 0.01 }
"""
NAMES = ("mine.py:BY_SPREAD", "mine.py:SALT", "mine.py:RMS", "mine.py:HALF")
ALLOW = [word for name in NAMES for word in ("--allow", name)]


def command(*words: str) -> int:
    return main(list(words))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search with two workers has used them all."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(MINE)
    (folder / "own.toml").write_text(STUDY)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert command("search", "own.toml", "--workers", "2") == 0
    finally:
        os.chdir(before)
    return folder


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert command(*words, "--json") == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_all_the_way(found: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(found)
    capsys.readouterr()
    network = shown(capsys, "front")["front"][0]
    assert command("report", "--out", "own.html") == 0
    page = Path("own.html").read_text()
    assert all(name in page for name in NAMES)

    chosen = ["retrain", "--trial", str(network["trial"]), "--seeds", "1", "--epochs", "1", "--out", "final"]
    capsys.readouterr()
    assert command(*chosen) == 2
    refused = capsys.readouterr().err
    assert "--allow mine.py:" in refused
    assert refused.count("\n") == 1
    assert command(*chosen, *ALLOW) == 0
    capsys.readouterr()

    # What is in the file is a network, which needs none of what trained and pruned it.
    (artifact,) = Path("final").rglob("*.slim")
    facts = shown(capsys, "verify", str(artifact))
    assert facts["ok"]
    assert command("export", str(artifact), "--onnx", "own.onnx") == 0
    assert Path("own.onnx").stat().st_size > 1000


def test_what_was_used_is_in_the_records(found: Path) -> None:
    from slimfront.studies.store.storage import open_storage_to_read

    assert open_storage_to_read


def test_a_changed_source_is_another_study(
    found: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(found)
    (found / "mine.py").write_text(MINE.replace("std(1)", "var(1)"))
    try:
        assert command("search", "own.toml", "--trials", "4") == 2
    finally:
        (found / "mine.py").write_text(MINE)
    assert "mine.py:BY_SPREAD" in capsys.readouterr().err
