"""Files that hold tensors and facts: safetensors with JSON, written atomically, checked when read.

Used for checkpoints of running trainings and for stored uncompressed networks. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from slimfront.evaluators import outputs
from slimfront.evaluators.training.averaging import Averaging
from torch import Tensor, nn

LARGEST_FILE = 8 * 2**30  # bytes; no checkpoint of ours comes near, so a larger file is not one


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write `tensors` and JSON-able `facts` to `path`: either the whole new file is there, or what was there before.

    Raises OSError (a full disk, say) and leaves no temporary file.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps(dict(facts), sort_keys=True), "sha256": _digest(plain)}
    outputs.write(path, safetensors.torch.save(plain, metadata))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save` wrote; None where the file is absent, cannot be opened, or is truncated or altered (then it goes)."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError("too large")
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        if metadata.get("sha256") != _digest(tensors):
            raise ValueError("checksum")
        facts = json.loads(metadata["facts"])
    except OSError:  # absent, or trouble of the machine's, which says nothing about the file
        return None
    except (ValueError, KeyError, safetensors.SafetensorError):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return tensors, facts


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as flat tensors ("3.momentum_buffer") and plain numbers; parameter groups are not kept."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers[f"{index}.{key}"] = value
    return tensors, numbers


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """The inverse of `flatten_optimizer`, into an optimizer made for the same parameters."""
    state: dict[int, dict[str, Any]] = {}
    for source in (tensors, numbers):
        for name, value in source.items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
    current = optimizer.state_dict()
    current["state"] = state
    optimizer.load_state_dict(current)


@dataclass(frozen=True, eq=False)
class State:
    """What changes in a training from epoch to epoch, and how it is kept in a file and taken up again.

    Attributes:
        network: Is trained.
        optimizer: Of its parameters.
        averaging: Average of its weights, if there is one.
        identity: What two trainings have to share for one to go on from the other's file; "epochs" is their length.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    averaging: Averaging | None
    identity: Mapping[str, Any]

    def keep(self, path: Path | None, done: list[dict[str, Any]]) -> None:
        """Write the state after the epochs that are `done`; without a path nothing happens."""
        if path is None:
            return
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        facts: dict[str, Any] = {**self.identity, "done": done}
        if len(done) < self.identity["epochs"]:  # a finished training is only replayed: it needs no optimizer
            optimizer_tensors, facts["optimizer"] = flatten_optimizer(self.optimizer)
            tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors.items()}
            if self.averaging is not None:
                tensors |= {f"averaging.{name}": tensor for name, tensor in self.averaging.state().items()}
        save(path, tensors, facts)

    def resume(self, path: Path | None) -> list[dict[str, Any]]:
        """Take up what `keep` wrote and return the epochs done; none where there is no file of this very training."""
        found = load(path) if path is not None else None
        if found is None:
            return []
        tensors, facts = found

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        network = part("network.")
        expected = {name: tensor.shape for name, tensor in self.network.state_dict().items()}
        same = {name: tensor.shape for name, tensor in network.items()} == expected
        if not same or any(facts.get(key) != value for key, value in self.identity.items()):
            return []  # of another training: train from the start and write over it
        done: list[dict[str, Any]] = facts["done"]
        self.network.load_state_dict(network)
        if len(done) < self.identity["epochs"]:
            restore_optimizer(self.optimizer, part("optimizer."), facts["optimizer"])
            if self.averaging is not None:
                self.averaging.restore(part("averaging."))
        return done
