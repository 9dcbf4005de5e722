"""By what the next layer misses (ThiNet; Luo et al. 2017, arXiv:1707.06342): `pruning.reconstruction` has the sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from slimfront.spaces.criteria import Criterion

if TYPE_CHECKING:
    from slimfront.evaluators.pruning.groups import Group
    from slimfront.evaluators.pruning.importance import Sample
    from torch import Tensor, nn


def _of_filters(network: nn.Module, groups: tuple[Group, ...], sample: Sample, seed: int) -> dict[str, Tensor]:
    import torch
    from slimfront.evaluators.pruning.reconstruction import gram_matrices, removal_errors

    grams = gram_matrices(network, groups, sample.inputs, seed)
    return {group.name: removal_errors(torch.stack([*grams[group.name].values()]).mean(0)) for group in groups}


def _make_up(
    network: nn.Module, groups: tuple[Group, ...], gone: Mapping[str, Tensor], sample: Sample, seed: int
) -> None:
    """Scale the weights that read the kept channels, so that the next layers' sums change as little as possible."""
    import torch
    from slimfront.evaluators.pruning.reconstruction import gram_matrices, rescaling

    cut = tuple(group for group in groups if len(gone[group.name]))
    grams = gram_matrices(network, cut, sample.inputs, seed)
    for group in cut:
        stays = torch.ones(group.channels, dtype=torch.bool)
        stays[gone[group.name]] = False
        kept = stays.nonzero().flatten()
        for reader in group.readers:
            factors = torch.ones(group.channels, dtype=torch.float64)
            factors[kept] = rescaling(grams[group.name][reader.name], kept)
            weight = network.get_submodule(reader.name).get_parameter("weight")
            scale = torch.ones(weight.shape[1], dtype=weight.dtype)
            scale[reader.channels] = factors[reader.roots].to(weight.dtype)
            weight.mul_(scale.to(weight.device).view(1, -1, *[1] * (weight.ndim - 2)))


FEATURE_MAP = Criterion(
    "feature_map",
    filters=_of_filters,
    make_up=_make_up,
    words="error of the next layer's sums without it",
    paper="Luo et al. 2017, arXiv:1707.06342",
)
