"""From an Architecture to a network: stem, stages of blocks, head, pooling, classifier."""

from __future__ import annotations

import torch
from slimfront.models.blocks import ConvNorm
from slimfront.models.own import OwnNetworkError, make, origin_of
from slimfront.spaces.candidate import Architecture
from slimfront.spaces.family import FAMILIES
from slimfront.spaces.own.network_class import NetworkClass
from torch import Tensor, nn

WeightLayer = nn.Conv2d | nn.Linear

LARGEST_NETWORK = 2**28  # weights: a few more digits in a candidate or a space would take all memory there is


class Network(nn.Module):
    """An image classifier: (N, C, H, W) normalised pixels -> (N, classes) logits.

    Layer names are `stem.conv`, `stages.I.J....` (stage I, block J, from 0), `head.conv` and `classifier`.

    The stem is one 3x3 convolution at every stride. At stride 4 it looks at 9 of every 16 pixels: the cheapest way
    down, and a lossy one.

    Args:
        architecture: what to build; kept as the attribute `architecture`.
        classes: number of logits, at least 2.
        channels: channels of an image, 3 for colour.
    """

    def __init__(self, architecture: Architecture, classes: int, channels: int = 3) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be at least 2, but got {classes}.")
        if channels < 1:
            raise ValueError(f"channels must be at least 1, but got {channels}.")
        self.architecture = architecture
        self.stem = ConvNorm(channels, architecture.stem_width, 3, architecture.stem_stride)
        family = FAMILIES[architecture.family]
        family.validate(architecture)  # of a user's own, it may have been read before its family was known
        stages, width = family.build(architecture)
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.head: nn.Module = nn.Identity()
        if architecture.head_width:
            self.head = ConvNorm(width, architecture.head_width, 1)
            width = architecture.head_width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        x = self.pool(self.head(x))  # (N, width, 1, 1)
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def build(architecture: Architecture, classes: int, channels: int = 3, seed: int | None = None) -> nn.Module:
    """Build a network with fresh weights, on the CPU, in float32: a `Network`, or what a user's own class makes.

    Args:
        architecture: what to build.
        classes: number of logits.
        channels: channels of an image.
        seed: of the weights: the same seed gives the same weights, and torch's own random numbers go on undisturbed.
            None takes them from torch's own.

    Raises:
        ValueError: fewer than 2 classes or less than 1 channel.
        CodeReferenceError: the family is a user's own, and was not given to this command.
        OwnNetworkError: it is a user's own class, and cannot be built.

    >>> from slimfront.spaces import presets
    >>> network = build(presets["resnet20"].architecture, classes=10, seed=0)
    >>> sum(parameter.numel() for parameter in network.parameters())
    269722
    """
    if seed is None:
        return _initialise(empty(architecture, classes, channels))
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would reseed the GPUs, which are not restored here.
        torch.default_generator.manual_seed(seed)
        return _initialise(empty(architecture, classes, channels))


def build_shape(architecture: Architecture, classes: int, channels: int = 3, seed: int | None = None) -> Network:
    """The same for a shape, which only families have: `build` where a user's own class cannot be meant."""
    network = build(architecture, classes, channels, seed)
    if not isinstance(network, Network):
        raise TypeError(f"{architecture.family} is a network's class, which has no shape")
    return network


def empty(architecture: Architecture, classes: int, channels: int) -> nn.Module:
    """The network before its weights are drawn as `build` draws them. Raises as `build`."""
    family = FAMILIES[architecture.family]
    if isinstance(family, NetworkClass):
        return make(family, architecture, classes, channels)
    return Network(architecture, classes, channels)


def without_memory(architecture: Architecture, classes: int, channels: int) -> nn.Module:
    """The network on the meta device. Raises as `build`."""
    try:
        with torch.device("meta"):
            return empty(architecture, classes, channels)
    except OwnNetworkError:  # a class of the user's own may look at its numbers while it is built
        return empty(architecture, classes, channels).to("meta")


def count_weights(architecture: Architecture, classes: int, channels: int) -> int:
    """Weights of the unpruned network, without building it in memory. Raises as `build`."""
    network = without_memory(architecture, classes, channels)
    return sum(layer.weight.numel() for layer in weight_layers(network).values())


def architecture_of(network: nn.Module) -> Architecture | None:
    """What a network was built from; None: it was not built here."""
    if isinstance(network, Network):
        return network.architecture
    origin = origin_of(network)
    return None if origin is None else origin.architecture


def is_known(network: nn.Module) -> bool:
    """Whether every block of it is the product's own: what is known of those need not be tried out."""
    return isinstance(network, Network) and network.architecture.family in FAMILIES.own


def weight_layers(network: nn.Module) -> dict[str, WeightLayer]:
    """The convolutions and linear layers by name, in the order of definition; a shared layer once."""
    return {name: module for name, module in network.named_modules() if isinstance(module, WeightLayer)}


def _initialise(network: nn.Module) -> nn.Module:
    """He et al. 2015 (arXiv:1502.01852): variance 2 / fan-in, which is right for depthwise kernels, too.

    What a class of the user's own makes begins as that says.
    """
    if not isinstance(network, Network):
        return network
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    return network
