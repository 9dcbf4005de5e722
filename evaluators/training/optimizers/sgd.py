"""Stochastic gradient descent with Nesterov momentum (Sutskever et al. 2013)."""

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

    groups, momentum = decayed_groups(network, recipe.weight_decay), recipe.momentum
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=momentum, nesterov=momentum > 0, foreach=True)


SGD = Optimizer(
    "sgd",
    _make,
    learning_rate=0.1,
    fine_tuning=0.2,
    title="SGD",
    words="gradient steps with Nesterov momentum",
    paper="Sutskever et al. 2013",
)
