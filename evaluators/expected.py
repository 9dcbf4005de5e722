"""The score of a candidate before anything is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from evaluators.counting import count_macs, one_thread
from evaluators.data import Images
from evaluators.pruning import prune_stage
from evaluators.score import Score, score
from models import build
from models.network import Network, weight_layers
from models.precision import assign_bits
from spaces.candidate import Candidate, Sparsity

_REMEMBERED = 1000  # networks
_counted: dict[tuple[Any, ...], dict[str, int]] = {}


@one_thread()
def expected_score(
    candidate: Candidate,
    input_shape: tuple[int, int, int],
    classes: int,
    uniform_bits: tuple[int, int] | None = None,
) -> Score:
    """Build the candidate's network, prune it as far as the candidate says, give it its bits, and count.

    Exact but for what is chosen over the whole network: how many filters go in which layer is known only after training
    and taken to be the same share of each here; of single weights the sum is exact, but not their places, which matters
    where layers have different bits.

    Args:
        candidate: What would be trained.
        input_shape: (channels, height, width) of an image.
        classes: Number of classes.
        uniform_bits: (of weights, of activations) of every layer, stem and classifier included, instead of the
            candidate's own.

    Raises:
        PruningError: The network has nothing to prune.
    """
    network = build(candidate.architecture, classes, channels=input_shape[0], seed=0)
    for step in (candidate.pruning.filters, candidate.pruning.weights):
        if step is not None:
            _prune(network, step, candidate, input_shape, classes)
    if uniform_bits is None:
        assign_bits(network, candidate.bits)
    else:
        for layer in weight_layers(network).values():
            layer.weight_bits, layer.activation_bits = uniform_bits  # type: ignore[assignment]
    return score(network, input_shape, macs=_macs(network, candidate, input_shape))


def _macs(network: Network, candidate: Candidate, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-adds by layer, counted once for networks that are alike but for their bits and masks.

    An architecture says everything about its layers but how many of their channels pruning has left.
    """
    shapes = tuple(tuple(layer.weight.shape) for layer in weight_layers(network).values())
    key = (candidate.architecture.to_json(), shapes, input_shape)
    if key not in _counted:
        if len(_counted) >= _REMEMBERED:
            _counted.clear()
        _counted[key] = count_macs(network, input_shape)
    return _counted[key]


def _prune(
    network: Network, step: Sparsity, candidate: Candidate, input_shape: tuple[int, int, int], classes: int
) -> None:
    """The same counts by the cheapest way: by magnitude, at once, without training."""
    scope = "layer" if step.scope == "global" and step.granularity == "filters" else step.scope
    simple = dataclasses.replace(step, criterion="l1", scope=scope, schedule="once", rounds=1, epochs=0, penalty=0.0)
    blank = Images(torch.zeros(2, *input_shape, dtype=torch.uint8), torch.arange(2) % classes)
    rounds = prune_stage(
        network,
        simple,
        blank,
        None,
        recipe=candidate.recipe,
        augmentation=candidate.augmentation,
        classes=classes,
        seed=0,
    )
    for _ in rounds:
        raise AssertionError("nothing is trained here")
