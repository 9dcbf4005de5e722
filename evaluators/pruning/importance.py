"""How much every weight or filter of a network matters, by a criterion's name, and what criteria are made of.

Filters that can only go together (`groups`) are judged together, by the mean over the layers that make them
(`mean_over`). Criteria that differ in size from layer to layer divide by a mean, so that layers can be compared over
the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.groups import Group, Member
from slimfront.evaluators.pruning.masks import apply_masks, is_masked, prunable_layers
from slimfront.evaluators.training.augmentation import normalise
from slimfront.spaces.criteria import criterion_named
from torch import Tensor, nn

SAMPLE = 256  # training images that feature maps and gradients are taken from
BATCH = 64  # images that one gradient is taken over


@dataclass(frozen=True, eq=False)
class Sample:
    """A few training images as the network takes them.

    Attributes:
        inputs: (N, C, H, W), float.
        labels: (N,), int64.
    """

    inputs: Tensor
    labels: Tensor


def draw_sample(images: Images, seed: int, device: torch.device | str = "cpu") -> Sample:
    """SAMPLE random training images without augmentation."""
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    chosen = chosen.to(images.labels.device)
    return Sample(normalise(images.images[chosen].to(device)), images.labels[chosen].to(device))


def weight_importance(network: nn.Module, criterion: str, sample: Sample, seed: int) -> dict[str, Tensor]:
    """Importance of every weight of the convolutions and linear layers, by layer, in the weight's shape.

    Args:
        network: With or without masks.
        criterion: Name of one that judges single weights.
        sample: Where gradients are taken from.
        seed: Of what is random in a criterion.

    Raises:
        PruningError: The criterion does not judge all weights.
    """
    judge = criterion_named(criterion).weights
    assert judge is not None, criterion  # Sparsity has checked it
    apply_masks(network)
    found = judge(network, sample, seed)
    shapes = {name: parameter.shape for name, parameter in parameters_of(network).items()}
    return _checked(criterion, found, shapes)


def filter_importance(
    network: nn.Module, groups: tuple[Group, ...], criterion: str, sample: Sample, seed: int
) -> dict[str, Tensor]:
    """Importance of every channel of every group, by the group's name: (channels,).

    Args:
        network: Without masks.
        groups: Its groups of channels.
        criterion: Name of one that judges filters.
        sample: Where gradients and feature maps are taken from.
        seed: Of what is random in a criterion.

    Raises:
        PruningError: The criterion does not judge all channels.
    """
    judge = criterion_named(criterion).filters
    assert judge is not None, criterion  # Sparsity has checked it
    found = judge(network, groups, sample, seed)
    return _checked(criterion, found, {group.name: torch.Size((group.channels,)) for group in groups})


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights of the convolutions and linear layers by layer, without gradients."""
    return {name: parameter.detach() for name, parameter in parameters_of(network).items()}


def parameters_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that `weights_of` gives the values of."""
    return {
        name: layer.get_parameter("weight_orig" if is_masked(layer) else "weight")
        for name, layer in prunable_layers(network).items()
    }


def mean_over(
    network: nn.Module, group: Group, members: tuple[Member, ...], judge: Callable[[nn.Module], Tensor]
) -> Tensor:
    """Mean over the members of a group, and the filters that go at once, by its channels: (channels,).

    `judge` gives each channel of a layer a number.
    """
    total = torch.zeros(group.channels)
    for member in members:
        total += member.spread(judge(network.get_submodule(member.name)), group.channels)
    return total / max(1, len(members) * group.size)


def gradients(network: nn.Module, sample: Sample) -> Iterator[None]:
    """Yields with the gradients of one batch in place, in evaluation mode: batch norm is a plain scale there."""
    with _undisturbed(network):
        for start in range(0, len(sample.labels), BATCH):
            network.zero_grad(set_to_none=True)
            logits = network(sample.inputs[start : start + BATCH])
            F.cross_entropy(logits, sample.labels[start : start + BATCH]).backward()  # type: ignore[no-untyped-call]
            yield


def _checked(criterion: str, found: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    if not isinstance(found, Mapping):
        raise PruningError(f"Criterion {criterion} must give numbers by name, but gave a {type(found).__name__}.")
    for name, shape in shapes.items():
        if name not in found or found[name].shape != shape:
            got = tuple(found[name].shape) if name in found else "nothing"
            raise PruningError(
                f"Criterion {criterion} must give {name!r} numbers of shape {tuple(shape)}, but gave {got}."
            )
        if bool(found[name].isnan().any()):
            raise PruningError(f"Criterion {criterion} gives {name!r} numbers that are none (NaN).")
    return dict(found)


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    before: Mapping[nn.Parameter, Tensor | None] = {parameter: parameter.grad for parameter in network.parameters()}
    network.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        network.train(was_training)
        for parameter, gradient in before.items():
            parameter.grad = gradient
