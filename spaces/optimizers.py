"""Optimizers, and how the learning rate falls.

The product's own are the files of `slimfront.evaluators.training.optimizers` and `...training.decays`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimfront.spaces.registry import Registry

if TYPE_CHECKING:
    from slimfront.spaces.candidate import Recipe
    from torch import nn
    from torch.optim import Optimizer as TorchOptimizer


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    Attributes:
        name: Small letters, digits, underscores.
        make: (network, recipe) -> an optimizer over all parameters of the network that want gradients, at the recipe's
            learning rate; the training loop sets the rate of every group anew at each step.
        learning_rate: Where a study file says none.
        fine_tuning: Share of the uncompressed training's learning rate that is used after pruning.
        title: In reports; "": the name.
        words: What it does, in a few words.
        paper: Where it was published.
    """

    name: str
    make: Callable[[nn.Module, Recipe], TorchOptimizer]
    learning_rate: float
    fine_tuning: float
    title: str = ""
    words: str = ""
    paper: str = ""


@dataclass(frozen=True)
class Decay:
    """How the learning rate falls after the warm-up.

    Attributes:
        name: Small letters, digits, underscores.
        factor: Share of the peak rate, at a progress in [0, 1] from the end of the warm-up to the end of training.
        title: In reports; "": the name.
        words: What it does, in a few words.
        paper: Where it was published.
    """

    name: str
    factor: Callable[[float], float]
    title: str = ""
    words: str = ""
    paper: str = ""


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", Optimizer, "slimfront.evaluators.training.optimizers")
DECAYS: Registry[Decay] = Registry("learning-rate decay", Decay, "slimfront.evaluators.training.decays")
