"""By the first-order change of the loss on a few images (Molchanov et al. 2016 and 2019).

A weight w with gradient g counts (w g)^2 (arXiv:1906.10771). A filter counts |scale g + shift g| of the batch norm
behind it (arXiv:1611.06440): a filter in front of one can be scaled at will without changing anything, so its own term
says nothing. A filter without a batch norm behind it is judged by |sum of w g|. Terms of filters are divided by the
mean of their group, as section 2.2 of arXiv:1611.06440 scales by layer: as they are, the last layers would lose nearly
everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.criteria import Criterion

if TYPE_CHECKING:
    from slimfront.evaluators.pruning.groups import Group
    from slimfront.evaluators.pruning.importance import Sample
    from torch import Tensor, nn


def _of_weights(network: nn.Module, sample: Sample, _seed: int) -> dict[str, Tensor]:
    import torch
    from slimfront.evaluators.pruning.importance import gradients, parameters_of, weights_of

    weights = weights_of(network)
    result = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for _ in gradients(network, sample):
        for name, parameter in parameters_of(network).items():
            if parameter.grad is not None:
                result[name] += (weights[name] * parameter.grad) ** 2
    return result


def _of_filters(network: nn.Module, groups: tuple[Group, ...], sample: Sample, _seed: int) -> dict[str, Tensor]:
    import torch
    from slimfront.evaluators.pruning.importance import gradients, mean_over

    result = {group.name: torch.zeros(group.channels) for group in groups}
    for _ in gradients(network, sample):
        for group in groups:
            result[group.name] += mean_over(network, group, group.norms or group.filters, _first_order)
    return {name: effects / effects.mean().clamp_min(1e-12) for name, effects in result.items()}


def _first_order(layer: nn.Module) -> Tensor:
    """|sum over a channel's parameters of value times gradient|."""
    import torch

    effects = [
        (parameter.detach() * parameter.grad).flatten(1).sum(1)
        if parameter.ndim > 1
        else parameter.detach() * parameter.grad
        for parameter in layer.parameters(recurse=False)
        if parameter.grad is not None
    ]
    return torch.stack(effects).sum(0).abs()


TAYLOR = Criterion(
    "taylor",
    _of_weights,
    _of_filters,
    words="change of the loss without it, to first order",
    paper="Molchanov et al. 2016 and 2019, arXiv:1611.06440, arXiv:1906.10771",
)
