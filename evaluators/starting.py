"""Starting weights of a user's own: a state dict, in a safetensors file or in one of torch's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_SHOWN = 3  # tensors that a sentence names
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights")  # where checkpoints keep it
_PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name


class StartingWeightsError(ValueError):
    """Weights that cannot be started from: the text names the file, the tensors and their shapes."""


def source_of(path: Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256. Raises StartingWeightsError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise StartingWeightsError(f"{path}: {error.strerror or error}.") from None


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Nothing in the file is run: torch's files are read with `weights_only=True`.

    Raises:
        StartingWeightsError: There is none, it holds something else than tensors, or NaN.
    """
    try:
        found = _read(path)
    except OSError as error:
        raise StartingWeightsError(f"{path}: {error.strerror or error}.") from None
    for key in _NESTED:
        if isinstance(found.get(key), Mapping):
            found = found[key]
            break
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise StartingWeightsError(f"{path} holds no tensors by name: save network.state_dict().")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise StartingWeightsError(f"{path}: {name} holds numbers that are not finite (NaN or infinity).")
    return tensors


def _read(path: Path) -> Mapping[str, Any]:
    import safetensors
    import safetensors.torch

    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise StartingWeightsError(f"{path} is no safetensors file: {error}.") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # of any kind, where a file that is none of torch's is taken for a pickle
        raise StartingWeightsError(
            f"{path} is no file of torch's, or holds more than tensors (a pickled network, perhaps), which would be "
            "run to be read: save network.state_dict(), best as .safetensors."
        ) from None
    if not isinstance(found, Mapping):
        raise StartingWeightsError(
            f"{path} holds a {type(found).__name__}: save network.state_dict(), best as .safetensors."
        )
    return found


def load_into(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a file, in place. Raises StartingWeightsError where they do not fit."""
    tensors = read(path)
    own = network.state_dict()
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    unknown = [name for name in tensors if name not in own]
    shapes = [
        f"{name} has {_shape(tensors[name])}, the network {_shape(own[name])}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    told = [
        f"{what}: {', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''}"
        for what, names in (
            ("shapes differ", shapes),
            ("the file lacks", missing),
            ("the network lacks", unknown),
        )
        if names
    ]
    if told:
        raise StartingWeightsError(f"{path} does not fit {type(network).__name__}: {'; '.join(told)}.")
    with torch.no_grad():
        for name, tensor in own.items():
            if name in tensors:
                tensor.copy_(tensors[name])


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "()"
