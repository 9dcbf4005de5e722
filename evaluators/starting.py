"""Starting weights of a user's own: a state dict, in a safetensors file or in one of torch's.

A recipe names them by the hash of their file (`Recipe.starting_weights`), so that other weights are another candidate;
where the file lies, whoever runs the training is told by the user.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from slimfront.evaluators.training.loop import TrainingError
from slimfront.models import build
from slimfront.models.own import check_network, origin_of
from slimfront.spaces.candidate import Architecture, Candidate, Recipe
from torch import Tensor, nn

OPTION = "--weights"  # of the commands that take a file of them

_SHOWN = 3  # tensors that a sentence names
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights")  # where checkpoints keep it
_PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name


class StartingWeightsError(ValueError):
    """Weights that cannot be started from: the text names the file, the tensors and their shapes."""


def source_of(path: Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256. Raises StartingWeightsError."""
    try:
        _check_plain(path)
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
        _check_plain(path)
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


def _check_plain(path: Path) -> None:
    """Raise OSError unless it is a file, or nothing is there, which whoever opens it says: a pipe may never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file")


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


def begun_with(candidate: Candidate, path: Path | None, called: str) -> Candidate:
    """The candidate as it begins with the weights of a file.

    Args:
        candidate: It may name its starting weights already.
        path: The file that the user gives; None: none.
        called: What the candidate is, in the words of an error.

    Raises:
        StartingWeightsError: It names weights and no file is given, or one of others; or the file holds none.
    """
    wanted = candidate.recipe.starting_weights
    if path is None:
        if wanted:
            raise StartingWeightsError(f"{called} begins with the weights {wanted}: add {OPTION} FILE.")
        return candidate
    read(path)
    found = source_of(path)
    if wanted and found != wanted:
        raise StartingWeightsError(f"{called} begins with the weights {wanted}, but those of {path} are {found}.")
    return dataclasses.replace(candidate, recipe=dataclasses.replace(candidate.recipe, starting_weights=found))


def first_network(
    architecture: Architecture,
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    seed: int,
    recipe: Recipe | None = None,
    files: Mapping[str, Path] = MappingProxyType({}),
) -> nn.Module:
    """The network that a training begins with: built, with its starting weights, and tried out if it is a user's own.

    Args:
        architecture: Of the network.
        input_shape: (channels, height, width) of an image.
        classes: Number of logits.
        seed: Of fresh weights.
        recipe: Names the starting weights; None: they are fresh.
        files: Where weights lie, by what recipes call them.

    Raises:
        OwnNetworkError: A user's own makes no network for such images.
        TrainingError: There are no such weights, or they do not fit.
    """
    network = build(architecture, classes, channels=input_shape[0], seed=seed)
    if recipe is not None:
        begin(network, recipe, files)
    if origin_of(network) is not None:
        check_network(network, architecture.family, input_shape, classes)
    return network


def begin(network: nn.Module, recipe: Recipe, files: Mapping[str, Path]) -> None:
    """Give a network the weights that its training begins with, if it has any.

    Args:
        network: Freshly built.
        recipe: Names the weights.
        files: Where weights lie, by their names.

    Raises:
        TrainingError: There is no such file, it has changed, or its weights do not fit.
    """
    wanted = recipe.starting_weights
    if not wanted:
        return
    path = files.get(wanted)
    if path is None:
        raise TrainingError("files", f"The file of the starting weights {wanted} is not known here.")
    try:
        if source_of(path) != wanted:
            raise TrainingError("files", f"{path} has changed since the command began.")
        tensors = read(path)
    except StartingWeightsError as error:
        raise TrainingError("files", str(error)) from None
    try:
        _fill(network, tensors, path)
    except StartingWeightsError as error:
        raise TrainingError("impossible", str(error)) from None


def load_into(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a file, in place. Raises StartingWeightsError where they do not fit."""
    _fill(network, read(path), path)


def check_fit(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, called: str = "") -> None:
    """Make sure that weights fit a network, which may be on the meta device.

    Args:
        network: That is to have them.
        tensors: By name.
        path: Where they are from.
        called: What the network is, in the words of the error; default: its class.

    Raises:
        StartingWeightsError: They do not: names the tensors and both shapes.
    """
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
        raise StartingWeightsError(f"{path} does not fit {called or type(network).__name__}: {'; '.join(told)}.")


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    check_fit(network, tensors, path)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name in tensors:
                tensor.copy_(tensors[name])


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "()"
