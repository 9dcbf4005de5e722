"""The strict score's view of a layer: every bit that has to be stored to run it, written the way an artifact writes it.

    weights             the cheapest of three codings, see `weight_storage`
    biases              one an output channel; a batch norm that can be folded is a bias
    batch norm          what cannot be folded: a factor and a summand a channel
    quantizer scales    one an output channel if weights have at most 8 bits, one for the input if that has at most 8

All but the weights take 16 bits where the layer's weights have at most 16, else 32.
"""

from __future__ import annotations

from dataclasses import dataclass

DENSE = "dense"  # a coding: every weight, one after the other


@dataclass(frozen=True)
class WeightStorage:
    """How a layer's weights are stored: the coding's name ("dense", "bitmap" or "index") and its bits in all."""

    coding: str
    bits: int


def weight_storage(weights: int, stored: int, weight_bits: int) -> WeightStorage:
    """The cheapest coding of `weights` weights of which `stored` are not pruned; the earlier one where equal.

    coding    bits
    dense     every weight at weight_bits, pruned ones as zeros; not at 1 bit (+1 and -1 only) where any is pruned
    bitmap    1 bit a weight (pruned or not), then the others at weight_bits
    index     for every weight that is not pruned its position, in the bits that the last position takes, and its value

    >>> weight_storage(1000, 1000, 4)
    WeightStorage(coding='dense', bits=4000)
    >>> weight_storage(1000, 500, 4)
    WeightStorage(coding='bitmap', bits=3000)
    >>> weight_storage(1000, 10, 4)
    WeightStorage(coding='index', bits=140)
    """
    choices = [
        WeightStorage("bitmap", weights + stored * weight_bits),
        WeightStorage("index", stored * (index_bits(weights) + weight_bits)),
    ]
    if stored == weights or weight_bits > 1:
        choices.insert(0, WeightStorage(DENSE, weights * weight_bits))
    return min(choices, key=lambda choice: choice.bits)


def index_bits(weights: int) -> int:
    """Bits of a position among `weights` weights: those of the last one, at least 1."""
    return max(1, (weights - 1).bit_length())


def side_bits(weight_bits: int) -> int:
    """Bits of a bias, a scale or a batch norm's number beside weights of `weight_bits`."""
    return 16 if weight_bits <= 16 else 32


def scale_count(outputs: int, weight_bits: int, activation_bits: int) -> int:
    """Quantizer scales of a layer: one an output channel for integer weights, one for an integer input."""
    return (outputs if weight_bits <= 8 else 0) + (1 if activation_bits <= 8 else 0)


def layer_storage_bits(
    *, weights: int, stored: int, outputs: int, weight_bits: int, activation_bits: int, bias: bool, scales: int = 0
) -> int:
    """All bits of a layer: weights, biases and scales.

    Args:
        weights: positions of its weight tensor.
        stored: how many of them are not pruned.
        outputs: output channels.
        weight_bits: of its weights.
        activation_bits: of its input.
        bias: whether it has a bias once batch norm is folded.
        scales: scales that it really owns, if more than `scale_count` says.
    """
    beside = (outputs if bias else 0) + max(scales, scale_count(outputs, weight_bits, activation_bits))
    return weight_storage(weights, stored, weight_bits).bits + beside * side_bits(weight_bits)
