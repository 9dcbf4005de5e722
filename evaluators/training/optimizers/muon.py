"""Muon for convolutions, Adam for everything else (`slimfront.evaluators.training.muon`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.optimizers import Optimizer

if TYPE_CHECKING:
    import torch
    from slimfront.spaces.candidate import Recipe
    from torch import nn


def _make(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    from slimfront.evaluators.training.muon import Muon
    from slimfront.evaluators.training.parameters import trained

    named = trained(network)
    matrices = [parameter for _, parameter in named if parameter.ndim >= 2]
    vectors = [parameter for _, parameter in named if parameter.ndim < 2]
    hidden = [p for _, p in named if p.ndim == 4 and p.shape[1] > 1]
    taken = {id(parameter) for parameter in hidden}
    others = [p for p in matrices if id(p) not in taken]
    return Muon(
        [
            {"params": hidden, "orthogonal": True, "weight_decay": recipe.weight_decay},
            {"params": others, "orthogonal": False, "weight_decay": recipe.weight_decay},
            {"params": vectors, "orthogonal": False, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
    )


MUON = Optimizer(
    "muon",
    _make,
    learning_rate=0.02,
    fine_tuning=0.3,
    title="Muon",
    words="orthogonalised updates of the weight matrices",
    paper="Jordan et al. 2024",
)
