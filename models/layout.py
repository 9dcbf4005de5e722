"""Memory order of a network's images: channels_last, which is faster, wherever a network runs with it.

A user's own network may flatten by `view`, which wants the plain order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = "slimfront_plain_layout"  # attribute of a network that does not run in channels_last


def layout_of(network: nn.Module) -> torch.memory_format:
    """The order that the network's four-dimensional weights are kept in."""
    return torch.contiguous_format if network.__dict__.get(_PLAIN) else torch.channels_last


def fit_layout(network: nn.Module, image: Tensor) -> None:
    """Find out which order the network runs in, and see to it that it is given images in that.

    Args:
        network: On the CPU, in any mode.
        image: (N, C, H, W) that it takes in the plain order.
    """
    if layout_of(network) is torch.contiguous_format:
        return
    if any(map(_is_strided_point, network.modules())):
        _keep_plain(network)
        return
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        # A clone, as one channel is in both orders at once, and would stay as it is.
        network(image.clone(memory_format=torch.channels_last))
    except RuntimeError:
        _keep_plain(network)


def _is_strided_point(module: nn.Module) -> bool:
    """A strided 1x1 convolution: in channels_last, with few channels, oneDNN's corrupts memory (its issue 6035)."""
    return isinstance(module, nn.Conv2d) and set(module.kernel_size) == {1} and set(module.stride) != {1}


def _keep_plain(network: nn.Module) -> None:
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.__dict__[_PLAIN] = True
    network.register_forward_pre_hook(_plain)


def _plain(_network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # A clone, as one channel is in both orders at once, and would stay as it is.
    return tuple(
        value.clone(memory_format=torch.contiguous_format) if isinstance(value, Tensor) else value for value in inputs
    )
