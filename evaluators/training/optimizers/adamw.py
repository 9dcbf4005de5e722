"""AdamW: adaptive steps, weight decay apart from them (Loshchilov and Hutter 2017, arXiv:1711.05101)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.optimizers import Optimizer

if TYPE_CHECKING:
    import torch
    from slimfront.spaces.candidate import Recipe
    from torch import nn


def _make(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    import torch
    from slimfront.evaluators.training.parameters import decayed_groups

    groups, betas = decayed_groups(network, recipe.weight_decay), (recipe.momentum, 0.999)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=betas, foreach=True)


ADAMW = Optimizer(
    "adamw",
    _make,
    learning_rate=0.002,
    fine_tuning=0.3,
    title="AdamW",
    words="adaptive steps with decoupled weight decay",
    paper="Loshchilov and Hutter 2017, arXiv:1711.05101",
)
