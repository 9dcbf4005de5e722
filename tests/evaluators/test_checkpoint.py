from __future__ import annotations

from pathlib import Path

import pytest
import torch
from slimfront.evaluators.training import checkpoint
from slimfront.evaluators.training.averaging import Averaging
from slimfront.spaces import Recipe
from slimfront.spaces.optimizers import OPTIMIZERS
from torch import nn


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.safetensors"
    tensors = {"a": torch.randn(3, 4), "b": torch.tensor(7), "c": torch.zeros(0), "d": torch.ones(2, dtype=torch.bool)}
    checkpoint.save(path, tensors, {"x": [1, None, "y"]})
    loaded = checkpoint.load(path)
    assert loaded is not None
    assert loaded[1] == {"x": [1, None, "y"]}
    assert all(torch.equal(loaded[0][name], tensor) for name, tensor in tensors.items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["flip", "cut", "garbage", "empty"])
def test_a_damaged_file_is_dropped(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "file.safetensors"
    checkpoint.save(path, {"a": torch.randn(50)}, {})
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-10] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-20]), "garbage": b"x" * 99, "empty": b""}[damage])
    assert checkpoint.load(path) is None
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.safetensors"
    checkpoint.save(path, {"a": torch.ones(1)}, {"version": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"a": torch.zeros(1)}, {"version": 2})
    loaded = checkpoint.load(path)
    assert loaded is not None
    assert loaded[1] == {"version": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_restored_optimizer_goes_on_the_same(tmp_path: Path, optimizer: str) -> None:
    def run(steps: int, stop_at: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        network = nn.Conv2d(3, 4, 3)
        made = OPTIMIZERS[optimizer].make(network, Recipe(optimizer=optimizer, learning_rate=0.01))
        for step in range(steps):
            if step == stop_at:
                tensors, numbers = checkpoint.flatten_optimizer(made)
                checkpoint.save(tmp_path / "o", tensors, numbers)
                made = OPTIMIZERS[optimizer].make(network, Recipe(optimizer=optimizer, learning_rate=0.01))
                loaded = checkpoint.load(tmp_path / "o")
                assert loaded is not None
                checkpoint.restore_optimizer(made, *loaded)
            made.zero_grad()
            network(torch.full((1, 3, 5, 5), float(step))).square().mean().backward()
            made.step()
        return network.weight.detach()

    assert torch.equal(run(6, None), run(6, 3))


def test_averaging_is_exchanged_and_put_back() -> None:
    network = nn.BatchNorm1d(2)
    averaging = Averaging(network, 0.9)
    with torch.no_grad():
        network.weight.fill_(3.0)
    averaging.update()
    with averaging.applied():
        assert 1.0 < float(network.weight.detach()[0]) < 3.0
    assert torch.equal(network.weight.detach(), torch.full((2,), 3.0))


def test_averaging_converges_to_constant_weights() -> None:
    network = nn.Linear(1, 1)
    averaging = Averaging(network, 0.9)
    with torch.no_grad():
        network.weight.fill_(5.0)
    for _ in range(200):
        averaging.update()
    assert float(averaging.average["weight"]) == pytest.approx(5.0, abs=1e-3)
