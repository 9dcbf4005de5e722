"""Masks of single weights, kept by torch.nn.utils.prune: attached, read, carried over, and removed at the end.

A masked layer holds the parameter `weight_orig` and the buffer `weight_mask` instead of `weight`; their product is
computed before every forward pass, so that no optimizer, however much momentum it has, brings a removed weight back.
Both are in the state_dict and so in every checkpoint. Masks stay through fine-tuning and quantization-aware training;
`finalise` is called once, at the very end, and leaves plain layers with exact zeros.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.scoring.score import stored_weights
from slimfront.models.network import WeightLayer, weight_layers
from torch import Tensor, nn
from torch.nn.utils import prune

Network = TypeVar("Network", bound=nn.Module)


def prunable_layers(network: nn.Module) -> dict[str, WeightLayer]:
    """Every convolution and linear layer by name, in the network's order.

    Raises PruningError where there is none.
    """
    found = weight_layers(network)
    if not found:
        raise PruningError(f"{type(network).__name__} has nothing to prune: no convolution and no linear layer.")
    return found


def is_masked(layer: nn.Module) -> bool:
    """Whether a mask is attached to `layer`."""
    return "weight_mask" in layer._buffers


def set_mask(layer: nn.Module, mask: Tensor) -> None:
    """Attach `mask` (1: stays, 0: removed; shape of the weight) to `layer`, or replace the one that is there."""
    if is_masked(layer):
        buffer = layer._buffers["weight_mask"]
        assert buffer is not None
        if buffer.shape != mask.shape:
            raise PruningError(
                f"A mask must have its weight's shape {tuple(buffer.shape)}, but got {tuple(mask.shape)}."
            )
        # In place: a pile of hooks would grow with every update of a gradual schedule.
        buffer.copy_(mask)
    else:
        prune.CustomFromMask.apply(layer, "weight", mask=mask)  # type: ignore[no-untyped-call]
    if hasattr(layer, "stored_weights"):
        del layer.stored_weights  # the mask says it now
    _refresh(layer)


def _refresh(layer: nn.Module) -> None:
    # `weight` is a plain attribute that the last forward pass left behind, with a graph hanging on it (which
    # copy.deepcopy refuses) and without the optimizer's last step.
    with torch.no_grad():
        original, mask = layer._parameters["weight_orig"], layer._buffers["weight_mask"]
        assert original is not None
        assert mask is not None
        original.mul_(mask)
        layer.weight = original.detach() * mask


def current_mask(layer: WeightLayer) -> Tensor:
    """Which weights of `layer` are left (1) and which were removed (0), in the weight's shape."""
    if is_masked(layer):
        return layer.get_buffer("weight_mask").detach()
    weight = layer.get_parameter("weight").detach()
    if stored_weights(layer) < weight.numel():
        return (weight != 0).to(weight.dtype)  # finalised before: its removed weights are among its zeros
    return torch.ones_like(weight)


def apply_masks(network: nn.Module) -> None:
    """Write the masks into the weights: whatever reads `weight` or `weight_orig` outside a forward pass sees zeros."""
    for layer in network.modules():
        if is_masked(layer):
            _refresh(layer)


def read_masks(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the masks by the name of their layer; layers without one are absent."""
    return {
        name: layer.get_buffer("weight_mask").detach().clone()
        for name, layer in network.named_modules()
        if is_masked(layer)
    }


def attach_masks(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Attach masks by the name of their layer: after layers were exchanged for quantized ones, or before loading.

    Raises PruningError for the name of a layer that the network does not have.
    """
    layers = dict(network.named_modules())
    for name, mask in masks.items():
        if name not in layers or not hasattr(layers[name], "weight"):
            raise PruningError(f"A mask belongs to layer {name!r}, but the network has no such layer.")
        set_mask(layers[name], mask)


def finalise(network: nn.Module) -> None:
    """Take the masks away for good: plain layers with exact zeros, no `_orig` or `_mask` in the state_dict.

    A zero does not say whether it was removed or just happens to be zero, and only the former lowers the score. So each
    layer that had a mask is given the plain attribute `stored_weights`: how many of its weights are left.
    """
    for layer in network.modules():
        if is_masked(layer):
            stored = int(layer.get_buffer("weight_mask").sum())
            prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
            layer.stored_weights = stored  # type: ignore[assignment]


def copy_network(network: Network) -> Network:
    """A deep copy, masks included (copy.deepcopy alone fails on a masked network that has just been trained)."""
    apply_masks(network)
    return copy.deepcopy(network)
