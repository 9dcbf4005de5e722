"""The score of a candidate before anything is trained."""

from __future__ import annotations

from evaluators.score import Score, score
from models import build
from models.network import weight_layers
from models.precision import assign_bits
from spaces.candidate import Candidate


def expected_score(
    candidate: Candidate,
    input_shape: tuple[int, int, int],
    classes: int,
    uniform_bits: tuple[int, int] | None = None,
) -> Score:
    """Build the candidate's network, give it its bits, and count.

    Args:
        candidate: What would be trained.
        input_shape: (channels, height, width) of an image.
        classes: Number of classes.
        uniform_bits: (of weights, of activations) of every layer, stem and classifier included, instead of the
            candidate's own.
    """
    network = build(candidate.architecture, classes, channels=input_shape[0], seed=0)
    if uniform_bits is None:
        assign_bits(network, candidate.bits)
    else:
        for layer in weight_layers(network).values():
            layer.weight_bits, layer.activation_bits = uniform_bits  # type: ignore[assignment]
    return score(network, input_shape)
