"""By the scale of the batch norm behind a filter (network slimming; Liu et al. 2017, arXiv:1708.06519)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.criteria import Criterion

if TYPE_CHECKING:
    from slimfront.evaluators.pruning.groups import Group
    from slimfront.evaluators.pruning.importance import Sample
    from torch import Tensor, nn


def _of_filters(network: nn.Module, groups: tuple[Group, ...], _sample: Sample, _seed: int) -> dict[str, Tensor]:
    from slimfront.evaluators.pruning.errors import PruningError
    from slimfront.evaluators.pruning.importance import mean_over

    for group in groups:
        if not group.norms:
            raise PruningError(f"Criterion batch_norm needs a batch norm behind {group.name!r}, which has none.")
    return {group.name: mean_over(network, group, group.norms, _scale) for group in groups}


def _scale(layer: nn.Module) -> Tensor:
    return layer.get_parameter("weight").detach().abs()


BATCH_NORM = Criterion(
    "batch_norm",
    filters=_of_filters,
    words="scale of the batch norm behind a filter",
    paper="Liu et al. 2017, arXiv:1708.06519",
)
