"""By size: L1 (Li et al. 2016, arXiv:1608.08710) and L2. A filter's norm is divided by the mean of its layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.criteria import Criterion

if TYPE_CHECKING:
    from slimfront.evaluators.pruning.groups import Group
    from slimfront.evaluators.pruning.importance import Sample
    from torch import Tensor, nn


def _l1_of_weights(network: nn.Module, _sample: Sample, _seed: int) -> dict[str, Tensor]:
    from slimfront.evaluators.pruning.importance import weights_of

    return {name: weight.abs() for name, weight in weights_of(network).items()}


def _l2_of_weights(network: nn.Module, _sample: Sample, _seed: int) -> dict[str, Tensor]:
    from slimfront.evaluators.pruning.importance import weights_of

    return {name: weight.square() for name, weight in weights_of(network).items()}


def _l1_of_filters(network: nn.Module, groups: tuple[Group, ...], _sample: Sample, _seed: int) -> dict[str, Tensor]:
    from slimfront.evaluators.pruning.importance import mean_over

    return {group.name: mean_over(network, group, group.filters, _l1) for group in groups}


def _l2_of_filters(network: nn.Module, groups: tuple[Group, ...], _sample: Sample, _seed: int) -> dict[str, Tensor]:
    from slimfront.evaluators.pruning.importance import mean_over

    return {group.name: mean_over(network, group, group.filters, _l2) for group in groups}


def _l1(layer: nn.Module) -> Tensor:
    sizes = layer.get_parameter("weight").detach().abs().flatten(1).sum(1)
    return sizes / sizes.mean().clamp_min(1e-12)


def _l2(layer: nn.Module) -> Tensor:
    sizes = layer.get_parameter("weight").detach().square().flatten(1).sum(1).sqrt()
    return sizes / sizes.mean().clamp_min(1e-12)


L1 = Criterion("l1", _l1_of_weights, _l1_of_filters, words="sum of |w|", paper="Li et al. 2016, arXiv:1608.08710")
L2 = Criterion("l2", _l2_of_weights, _l2_of_filters, words="root of the sum of w^2")
