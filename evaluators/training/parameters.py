"""A network's parameters in groups, as optimizers take them."""

from __future__ import annotations

from typing import Any

from torch import nn


def trained(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that want gradients, with their names."""
    return [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]


def decayed_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer of torch's: weight decay falls on weights of two and more dimensions only.

    Batch-norm parameters, biases and quantizer steps are left alone, as is usual.
    """
    parameters = [parameter for _, parameter in trained(network)]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
