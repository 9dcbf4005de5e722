"""How much a weight or a filter matters: one number each, by six criteria.

criterion    of a weight w      of a filter
l1           |w|                sum of |w|                                             arXiv:1608.08710
l2           w^2                root of the sum of w^2
batch_norm                      |scale| of the batch norm behind it                    arXiv:1708.06519
feature_map                     error of the next layer's sums without it (ThiNet)     arXiv:1707.06342
taylor       (w g)^2            |scale g + shift g| of the batch norm behind it        arXiv:1611.06440, 1906.10771
random       uniform            uniform                                                the control

g is the gradient of the loss on a few training images. The Taylor criterion looks at the batch norm because a filter in
front of one can be scaled at will without changing anything: its own first-order term says nothing. A filter without
a batch norm behind it is judged by |sum of w g|.

Filters that can only go together (`groups`) are judged together, by the mean over the layers that make them. L1 and L2
norms are divided by their layer's mean, and Taylor terms by their group's, so that layers of different size can be
compared over the network (section 2.2 of arXiv:1611.06440 scales by layer, too: as they are, the last layers would lose
nearly everything). The other criteria can be compared as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.pruning.groups import Group, Member
from slimfront.evaluators.pruning.masks import apply_masks, is_masked, prunable_layers
from slimfront.evaluators.pruning.methods import PruningError
from slimfront.evaluators.pruning.reconstruction import gram_matrices, removal_errors
from slimfront.evaluators.training.augmentation import normalise
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
        criterion: "l1", "l2", "taylor" or "random".
        sample: Where gradients are taken from.
        seed: Of the random criterion.
    """
    layers = prunable_layers(network)
    apply_masks(network)
    weights = {name: _weight(layer).detach() for name, layer in layers.items()}
    if criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.rand(weight.shape, generator=generator).to(weight) for name, weight in weights.items()}
    if criterion == "taylor":
        result = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for _ in _gradients(network, sample):
            for name, layer in layers.items():
                gradient = _weight(layer).grad
                if gradient is not None:
                    result[name] += (weights[name] * gradient) ** 2
        return result
    power = {"l1": torch.abs, "l2": torch.square}[criterion]
    return {name: power(weight) for name, weight in weights.items()}


def filter_importance(
    network: nn.Module, groups: tuple[Group, ...], criterion: str, sample: Sample, seed: int
) -> dict[str, Tensor]:
    """Importance of every channel of every group, by the group's name: (channels,).

    Args:
        network: Without masks.
        groups: Its groups of channels.
        criterion: One of the six.
        sample: Where gradients and feature maps are taken from.
        seed: Of the random criterion and of the sampled feature maps.
    """
    if criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        return {group.name: torch.rand(group.channels, generator=generator) for group in groups}
    if criterion == "feature_map":
        grams = gram_matrices(network, groups, sample.inputs, seed)
        return {group.name: removal_errors(torch.stack([*grams[group.name].values()]).mean(0)) for group in groups}
    if criterion == "taylor":
        result = {group.name: torch.zeros(group.channels) for group in groups}
        for _ in _gradients(network, sample):
            for group in groups:
                result[group.name] += _taylor(network, group)
        return {name: effects / effects.mean().clamp_min(1e-12) for name, effects in result.items()}
    if criterion == "batch_norm":
        for group in groups:
            if not group.norms:
                raise PruningError(f"Criterion batch_norm needs a batch norm behind {group.name!r}, which has none.")
        return {group.name: _mean(network, group, group.norms, _scale) for group in groups}
    norm = {"l1": _l1, "l2": _l2}[criterion]
    return {group.name: _mean(network, group, group.filters, norm) for group in groups}


def _weight(layer: nn.Module) -> nn.Parameter:
    return layer.get_parameter("weight_orig" if is_masked(layer) else "weight")


def _mean(
    network: nn.Module, group: Group, members: tuple[Member, ...], judge: Callable[[nn.Module], Tensor]
) -> Tensor:
    # Mean over the members, and the filters that go at once, of `judge` by filter.
    total = torch.zeros(group.channels)
    for member in members:
        total += member.spread(judge(network.get_submodule(member.name)), group.channels)
    return total / max(1, len(members) * group.size)


def _l1(layer: nn.Module) -> Tensor:
    sizes = layer.get_parameter("weight").detach().abs().flatten(1).sum(1)
    return sizes / sizes.mean().clamp_min(1e-12)


def _l2(layer: nn.Module) -> Tensor:
    sizes = layer.get_parameter("weight").detach().square().flatten(1).sum(1).sqrt()
    return sizes / sizes.mean().clamp_min(1e-12)


def _scale(layer: nn.Module) -> Tensor:
    return layer.get_parameter("weight").detach().abs()


def _taylor(network: nn.Module, group: Group) -> Tensor:
    return _mean(network, group, group.norms or group.filters, _first_order)


def _first_order(layer: nn.Module) -> Tensor:
    # |sum over a channel's parameters of value times gradient|
    effects = [
        (parameter.detach() * parameter.grad).flatten(1).sum(1)
        if parameter.ndim > 1
        else parameter.detach() * parameter.grad
        for parameter in layer.parameters(recurse=False)
        if parameter.grad is not None
    ]
    return torch.stack(effects).sum(0).abs()


def _gradients(network: nn.Module, sample: Sample) -> Iterator[None]:
    # Yields with the gradients of one batch in place, in evaluation mode: batch norm is a plain scale there.
    with _undisturbed(network):
        for start in range(0, len(sample.labels), BATCH):
            network.zero_grad(set_to_none=True)
            logits = network(sample.inputs[start : start + BATCH])
            F.cross_entropy(logits, sample.labels[start : start + BATCH]).backward()  # type: ignore[no-untyped-call]
            yield


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
