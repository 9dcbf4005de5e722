"""At random: what every other criterion has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.criteria import Criterion

if TYPE_CHECKING:
    from slimfront.evaluators.pruning.groups import Group
    from slimfront.evaluators.pruning.importance import Sample
    from torch import Tensor, nn


def _of_weights(network: nn.Module, _sample: Sample, seed: int) -> dict[str, Tensor]:
    import torch
    from slimfront.evaluators.pruning.importance import weights_of

    generator = torch.Generator().manual_seed(seed)
    weights = weights_of(network)
    return {name: torch.rand(weight.shape, generator=generator).to(weight) for name, weight in weights.items()}


def _of_filters(_network: nn.Module, groups: tuple[Group, ...], _sample: Sample, seed: int) -> dict[str, Tensor]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {group.name: torch.rand(group.channels, generator=generator) for group in groups}


RANDOM = Criterion("random", _of_weights, _of_filters, words="at random")
