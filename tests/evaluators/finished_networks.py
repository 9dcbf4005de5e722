"""Small networks in their final form, for the tests of artifacts, verification and export."""

from __future__ import annotations

import torch
from slimfront.evaluators.pruning.groups import find_groups, remove_channels
from slimfront.evaluators.pruning.masks import finalise
from slimfront.models import build, layer_bits
from slimfront.models.network import Network, weight_layers
from slimfront.models.quantization.calibration import estimate_norms, observe
from slimfront.models.quantization.conversion import convert, deploy
from slimfront.spaces.candidate import Architecture, Bits
from torch import Tensor, nn
from torch.nn.utils import prune

RESIDUAL = Architecture("residual", 6, 1, (6, 8), (1, 1), (1, 2), shortcut="projection")
PADDED = Architecture("residual", 6, 1, (6, 10), (1, 2), (1, 2), shortcut="padding", head_width=7)
INVERTED = Architecture("inverted", 6, 1, (6, 8), (2, 1), (1, 2), kernels=(3, 5), expansions=(2, 1), head_width=7)
DENSE = Architecture("dense", 6, 1, (4, 4), (2, 1), (1, 2), compression=0.5)
ALL = (RESIDUAL, PADDED, INVERTED, DENSE)
SHAPE = (3, 16, 16)
CLASSES = 5


def pixels(count: int, seed: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def images(count: int = 16, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return ((pixels(count, seed, shape).float() - 128) / 64).contiguous(memory_format=torch.channels_last)


def finished(
    architecture: Architecture,
    bits: Bits,
    *,
    filters: bool = False,
    masked: float = 0.0,
    taken_away: bool = False,
    seed: int = 0,
) -> Network:
    """A network with random weights and sensible norms: pruned by filters, by weights, quantized, deployed.

    `filters` removes a channel of every second group, `masked` is a share of weights, `taken_away` finalises the masks.
    """
    network = build(architecture, CLASSES, seed=seed).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_(1.0, 0.5, generator=generator)
                module.bias.normal_(0.0, 0.3, generator=generator)
    if filters:
        groups = [group for group in find_groups(network, SHAPE)[::2] if group.channels > 2]
        remove_channels(network, groups, {group.name: torch.tensor([1]) for group in groups})
    if masked:
        for layer in weight_layers(network).values():
            mask = torch.rand(layer.weight.shape, generator=generator) > masked
            prune.custom_from_mask(layer, "weight", mask.float())
    estimate_norms(network, [images()])
    widths = layer_bits(network, bits)
    convert(network, widths, observe(network, weight_layers(network), [images()]), ternary=bits.ternary)
    deploy(network)
    if taken_away:
        finalise(network)
    return network
