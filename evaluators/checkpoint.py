"""Files that hold tensors and facts: safetensors with JSON, written atomically, checked when read.

Used for checkpoints of running trainings and for stored dense networks. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from evaluators import outputs

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
