"""Cutting: a plain network of any shape, whose weights are the first channels and the first blocks of the supernet's.

A padding shortcut of the supernet hands on the first channels, not those in the middle. So a cut's shortcut is the
supernet's whatever the widths on both sides, and where they are equal it is the identity, as in any network. (Where a
shortcut places its channels makes no other networks, only the same ones with their channels in another order.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from slimfront.models.blocks import BasicBlock, PaddingShortcut
from slimfront.models.network import Network
from slimfront.spaces.candidate import Architecture
from torch import Tensor, nn


def can_be_cut(architecture: Architecture) -> bool:
    """Whether a network consists of nothing but stem, basic blocks with padding shortcuts, and classifier."""
    with torch.device("meta"):
        network = Network(architecture, classes=2)
    blocks = [block for stage in network.stages for block in stage]  # type: ignore[attr-defined]
    basic = all(type(block) is BasicBlock for block in blocks)
    shortcuts = (block.shortcut for block in blocks if basic)
    return (
        basic
        and architecture.head_width == 0
        and all(isinstance(shortcut, PaddingShortcut | nn.Identity) for shortcut in shortcuts)
    )


def inherit(weights: Mapping[str, Tensor], architecture: Architecture, classes: int, channels: int) -> Network:
    """A network of its own with copies of the shared weights.

    The running statistics of its batch norms are the supernet's, which are no shape's: see `measuring.settle`.

    Args:
        weights: The largest shape's `state_dict()`.
        architecture: One of the supernet's shapes.
        classes: Number of classes.
        channels: Channels of an image.
    """
    with torch.device("meta"):  # no weights are drawn only to be replaced
        network = Network(architecture, classes, channels)
    own = _sources(network)
    own |= {name: copied(weights[name], tensor) for name, tensor in network.state_dict().items() if name not in own}
    network.load_state_dict(own, assign=True)
    return network.requires_grad_()


@torch.no_grad()
def renew(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Bring a network of `inherit` up to the shared weights as they are now."""
    for name, parameter in network.named_parameters():
        parameter.copy_(share_of(weights[name], parameter))


def share_of(shared: Tensor, own: Tensor) -> Tensor:
    """The part of a tensor of the supernet that a cut's tensor is: a view of its first channels."""
    return shared[tuple(slice(size) for size in own.shape)]


def copied(shared: Tensor, own: Tensor) -> Tensor:
    """A copy of that part, laid out in memory as the kernels want it."""
    layout = torch.channels_last if own.ndim == 4 else torch.contiguous_format
    return share_of(shared.detach(), own).clone(memory_format=layout)


def align_shortcuts(network: Network) -> None:
    """Let the padding shortcuts hand on the first channels, in place."""
    network.load_state_dict(_sources(network), strict=False)


def _sources(network: Network) -> dict[str, Tensor]:
    """Of each padding shortcut the buffer that says which channel comes from where: c from c, if there is one."""
    found = {}
    for name, block in network.named_modules():
        if isinstance(block, BasicBlock) and isinstance(block.shortcut, PaddingShortcut):
            index = torch.arange(len(block.shortcut.source), device="cpu")
            index[index >= block.conv1.in_channels] = -1
            found[f"{name}.shortcut.source"] = index
    return found
