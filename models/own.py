"""Networks of classes that the user gave: built, and checked before anything long is begun with them.

What a class raises, and what it makes that no classifier is, is told in one line with the class's reference.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from slimfront.models.layout import fit_layout
from slimfront.spaces.candidate import Architecture
from slimfront.spaces.own.network_class import NetworkClass
from slimfront.spaces.references import why
from torch import Tensor, nn

_ORIGIN = "slimfront_origin"  # attribute of a network: what it was built from
_SHOWN = 3  # tensors that a sentence names


class OwnNetworkError(ValueError):
    """A network of the user's own that cannot be used: the text names its class, and what is wrong."""


@dataclass(frozen=True)
class Origin:
    """What a network was built from.

    Attributes:
        architecture: Names the class and what it was told.
        classes: Number of classes.
        channels: Channels of an image.
    """

    architecture: Architecture
    classes: int
    channels: int


def origin_of(network: nn.Module) -> Origin | None:
    """What a network of a user's own class was built from; None where nobody said so."""
    found = network.__dict__.get(_ORIGIN)
    return found if isinstance(found, Origin) else None


def set_origin(network: nn.Module, origin: Origin) -> None:
    """Let a network know what it was built from; copies of it know it, too."""
    network.__dict__[_ORIGIN] = origin


def make(family: NetworkClass, architecture: Architecture, classes: int, channels: int) -> nn.Module:
    """Call the class. Raises OwnNetworkError for whatever it raises, and for what is no network."""
    family.validate(architecture)
    told = family.call_arguments(architecture, classes, channels)
    try:
        network = _called(family, told)
    except (Exception, SystemExit) as error:  # whatever a user's class raises
        raise OwnNetworkError(f"{family.reference} cannot be built: {why(error)}.") from error
    if not isinstance(network, nn.Module):
        raise OwnNetworkError(f"{family.reference} gives a {type(network).__name__}, but must give a torch.nn.Module.")
    set_origin(network, Origin(architecture, classes, channels))
    return network


def _called(family: NetworkClass, told: dict[str, Any]) -> Any:
    try:
        return family.maker(**told)
    except TypeError as error:
        # A constructor with **kwargs may or may not know what most call the number of classes.
        guessed = family.signature.classes
        if not family.signature.open or guessed is None or guessed not in str(error):
            raise
        return family.maker(**{name: value for name, value in told.items() if name != guessed})


def check_network(
    network: nn.Module, called: str, input_shape: tuple[int, int, int], classes: int, *, trains: bool = True
) -> None:
    """Make sure that a network classifies images of that shape, in evaluation and, if it `trains`, in training, too.

    Its numbers stay as they are; it is told the order in memory that it runs in.

    Raises:
        OwnNetworkError: It raises, forwards or backwards, gives no (N, classes) tensor, cannot be copied, or holds
            numbers that are not finite or not float32.
    """
    _check_numbers(network, called)
    trained = copy_of(network, called) if trains else None
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    modes = [(module, module.training) for module in network.modules()]
    images = torch.zeros(2, *input_shape)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for training in (False, True)[: 1 + trains]:
                _check_logits(network.train(training)(images), called, classes, training)
            fit_layout(network, images)
        if trained is not None:
            _check_gradients(trained, images, called)
    except OwnNetworkError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's network raises
        shape = "x".join(map(str, input_shape))
        raise OwnNetworkError(f"{called} cannot take images of {shape}: {why(error)}.") from error
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def copy_of(network: nn.Module, called: str) -> nn.Module:
    """A deep copy. Raises OwnNetworkError where there cannot be one."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # of a lock, or a tensor that is computed
        raise OwnNetworkError(f"{called} cannot be copied (copy.deepcopy): {why(error)}.") from error


def _check_numbers(network: nn.Module, called: str) -> None:
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise OwnNetworkError(f"{called}: {name} holds numbers that are not finite (NaN or infinity).")
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise OwnNetworkError(f"{called}: {name} is {kind}, but must be float32: call .float() on the network.")


def _check_gradients(network: nn.Module, images: Tensor, called: str) -> None:
    """Make sure that a network can be trained, on a copy of it: what it changes in place may be needed backwards."""
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not wanted:
        return
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        logits = network.train()(images)
        if not logits.requires_grad:
            raise OwnNetworkError(f"{called} gives logits without gradients (no_grad or detach): it cannot be trained.")
        logits.sum().backward()


def check_same_names(network: nn.Module, again: nn.Module, called: str) -> None:
    """Make sure that two buildings have the same tensors: weights are found again by name. Raises OwnNetworkError."""
    first, second = ({name: tuple(t.shape) for name, t in one.state_dict().items()} for one in (network, again))
    different = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if different:
        raise OwnNetworkError(
            f"{called} builds another network every time: {', '.join(different[:_SHOWN])} changes its name or shape."
        )


def _check_logits(logits: object, called: str, classes: int, training: bool) -> None:
    mode = "in training" if training else "in evaluation"
    if not isinstance(logits, Tensor):
        raise OwnNetworkError(
            f"{called} gives a {type(logits).__name__} {mode}, but must give one tensor (N, {classes}): the logits."
        )
    if tuple(logits.shape) != (2, classes):
        raise OwnNetworkError(
            f"{called} gives a tensor of shape {tuple(logits.shape)} for 2 images {mode}, but there are {classes} "
            f"classes: it must be (2, {classes})."
        )
