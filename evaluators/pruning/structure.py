"""Loading a pruned network: a freshly built one is given the shapes and masks of the stored one, then its tensors."""

from __future__ import annotations

from collections.abc import Mapping

from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.masks import attach_masks
from torch import Tensor, nn


def load_pruned(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Make `network` equal to the one whose `state_dict` is given.

    Args:
        network: Built from the same architecture, unpruned.
        state: Of a network that lost filters, weights, or both; with masks attached or finalised. (What `finalise`
            notes in `stored_weights` is not in a state_dict: whoever stores finalised networks stores it beside.)

    Raises:
        PruningError: The state belongs to another architecture.
    """
    for name, layer in network.named_modules():
        prefix = f"{name}." if name else ""
        for key, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            stored = state.get(prefix + key, state.get(f"{prefix}{key}_orig"))
            if stored is not None and stored.shape != tensor.shape and stored.ndim == tensor.ndim:
                empty = tensor.new_empty(stored.shape)
                setattr(layer, key, nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty)
        match_numbers(layer)
    masks = {key.removesuffix(".weight_mask"): mask for key, mask in state.items() if key.endswith(".weight_mask")}
    attach_masks(network, masks)
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise PruningError(
            f"The stored network has another architecture: {str(error).splitlines()[-1].strip()}"
        ) from None


def groups_left(before: int, groups: int, now: int) -> int:
    """Groups of a convolution that had `before` output channels in `groups`, and has `now`: each goes as a whole.

    The last one may lose channels, as it is an ordinary convolution then. Those of a depthwise one have one channel.

    >>> groups_left(32, 32, 5), groups_left(32, 4, 16), groups_left(32, 4, 3)
    (5, 2, 1)
    """
    return max(1, now // (before // groups))


def match_numbers(layer: nn.Module) -> None:
    """Set the numbers that a layer keeps beside its tensors to their shapes."""
    if isinstance(layer, nn.Conv2d):
        before, layer.out_channels, inputs = layer.out_channels, *layer.weight.shape[:2]
        layer.groups = groups_left(before, layer.groups, layer.out_channels)
        layer.in_channels = inputs * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
        layer.num_features = len(layer.weight)
