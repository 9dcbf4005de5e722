"""What a candidate costs before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.pruning.criteria.magnitude import L1
from slimfront.evaluators.pruning.phase import PruningPhase
from slimfront.evaluators.scoring.cost import Rating, Subject, known_before, measure
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.evaluators.scoring.counting import count, one_thread
from slimfront.evaluators.scoring.score import Score, score
from slimfront.evaluators.training.context import TrainContext
from slimfront.models import build
from slimfront.models.network import Network, weight_layers
from slimfront.models.own import check_network
from slimfront.models.quantization.precision import assign_bits
from slimfront.models.tying import untie
from slimfront.spaces.candidate import Architecture, Candidate, Sparsity
from slimfront.spaces.family import FAMILIES, Family
from torch import nn

_REMEMBERED = 1000  # architectures
# Of the family itself, too: a user's own may be another one by now under the same name.
_positions: dict[tuple[Family, str, tuple[int, int, int], int], dict[str, int] | None] = {}


def rate(candidate: Candidate, input_shape: tuple[int, int, int], classes: int, names: Iterable[str] = ()) -> Rating:
    """The score of a candidate, and those of the costs `names` that are known before training.

    Raises:
        PruningError: The network has nothing to prune.
        CostError: One of them cannot be measured.
    """
    subject = expected(candidate, input_shape, classes)
    return Rating(subject.score.to_dict(), measure(dict.fromkeys((SCORE.name, *known_before(names))), subject))


def expected_score(
    candidate: Candidate,
    input_shape: tuple[int, int, int],
    classes: int,
    uniform_bits: tuple[int, int] | None = None,
) -> Score:
    """The score of `expected`, which see."""
    return expected(candidate, input_shape, classes, uniform_bits).score


@one_thread()
def expected(
    candidate: Candidate,
    input_shape: tuple[int, int, int],
    classes: int,
    uniform_bits: tuple[int, int] | None = None,
) -> Subject:
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
        OwnNetworkError: A network of the user's own cannot be used.
    """
    network = build(candidate.architecture, classes, channels=input_shape[0], seed=0)
    positions = None
    if isinstance(network, Network):
        positions = _output_positions(network, candidate.architecture, input_shape, classes)
    else:
        check_network(network, candidate.architecture.family, input_shape, classes)
        if candidate.is_compressed:  # as compression does
            untie(network)
    for step in (candidate.pruning.filters, candidate.pruning.weights):
        if step is not None:
            _prune(network, step, candidate, input_shape, classes)
    if uniform_bits is None:
        assign_bits(network, candidate.bits)
    else:
        for layer in weight_layers(network).values():
            layer.weight_bits, layer.activation_bits = uniform_bits  # type: ignore[assignment]
    if positions is None:
        return Subject(network.eval(), input_shape, score(network, input_shape))
    macs = {name: layer.weight.numel() * positions[name] for name, layer in weight_layers(network).items()}
    return Subject(network.eval(), input_shape, score(network, input_shape, macs=macs))


def _output_positions(
    network: nn.Module, architecture: Architecture, input_shape: tuple[int, int, int], classes: int
) -> dict[str, int] | None:
    """How often each layer applies every one of its weights to an image: its multiply-adds by weight.

    Pruning takes weights away, and with them their multiply-adds, but no positions: so whatever is made of an
    architecture needs one count, that of the whole network. None: blocks of a user's own multiply beside layers, too.
    """
    key = (FAMILIES[architecture.family], architecture.to_json(), input_shape, classes)
    if key not in _positions:
        if len(_positions) >= _REMEMBERED:
            _positions.clear()
        counts = count(network, input_shape)
        _positions[key] = (
            None
            if counts.products
            else {name: counts.layers[name] // layer.weight.numel() for name, layer in weight_layers(network).items()}
        )
    return _positions[key]


def _prune(
    network: nn.Module, step: Sparsity, candidate: Candidate, input_shape: tuple[int, int, int], classes: int
) -> None:
    """The same counts by the cheapest way: by magnitude, at once, without training."""
    scope = "layer" if step.scope == "global" and step.granularity == "filters" else step.scope
    simple = dataclasses.replace(step, criterion=L1.name, scope=scope, schedule="once", rounds=1, epochs=0, penalty=0.0)
    blank = Images(torch.zeros(2, *input_shape, dtype=torch.uint8), torch.arange(2) % classes)
    context = TrainContext(blank, None, candidate.recipe, candidate.augmentation, classes, seed=0)
    for _ in PruningPhase(simple).run(network, context):
        raise AssertionError("nothing is trained here")
