"""What each layer can bear: accuracy when only that one is pruned, without retraining (arXiv:1608.08710, figure 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.pruning.masks import copy_network
from slimfront.evaluators.pruning.phase import make_cutter
from slimfront.evaluators.training.loop import accuracy
from slimfront.spaces.candidate import Sparsity
from torch import nn


@dataclass(frozen=True)
class Sensitivity:
    """Accuracy with one layer (or group of filters that go together, by its first layer) pruned by `ratio`."""

    layer: str
    ratio: float
    accuracy: float


def sensitivity(
    network: nn.Module,
    step: Sparsity,
    ratios: Sequence[float],
    images: Images,
    validation: Images,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> Iterator[Sensitivity]:
    """Prune one layer at a time, each on a copy of its own, and judge; layers in the network's order.

    Args:
        network: Trained; is not changed.
        step: Granularity and criterion; its ratio, scope and schedule do not matter here.
        ratios: Shares to remove from each layer.
        images: Training images.
        validation: What accuracy is measured on.
        seed: Of the random criterion.
        device: Where it runs.

    Raises:
        PruningError: There is nothing to prune.
    """
    for layer in make_cutter(network, step, images, seed, device).ratios:
        for ratio in ratios:
            alone = dataclasses.replace(step, scope="layer", schedule="once", ratio=ratio, ratios=(), epochs=0)
            copy = copy_network(network)
            make_cutter(copy, alone, images, seed, device).cut(1.0, only=layer)
            yield Sensitivity(layer, ratio, accuracy(copy, validation, device))
