"""Bit-widths by layer: from the Bits of a candidate to the layers of a network."""

from __future__ import annotations

from slimfront.models.network import Network, weight_layers
from slimfront.spaces.candidate import Bits
from torch import nn


class PrecisionError(ValueError):
    """Bits that do not fit the network."""


def layer_bits(network: Network, bits: Bits) -> dict[str, tuple[int, int]]:
    """The bits of every convolution and linear layer: {name: (of its weights, of its input)}.

    Stem and classifier take `bits.stem` and `bits.classifier` for both; a stage takes its entry; the head belongs to
    the last stage; `bits.layers` overrides single layers.

    Raises:
        PrecisionError: `bits` has entries for another number of stages, or names a layer that the network lacks.
    """
    stages = len(network.stages)
    weights, activations = (_per_stage(name, getattr(bits, name), stages) for name in ("weights", "activations"))
    result = {}
    for name in weight_layers(network):
        part, _, rest = name.partition(".")
        if part == "stem":
            result[name] = (bits.stem, bits.stem)
        elif part == "classifier":
            result[name] = (bits.classifier, bits.classifier)
        else:
            stage = int(rest.partition(".")[0]) if part == "stages" else stages - 1
            result[name] = (weights[stage], activations[stage])
    for name, weight_bits, activation_bits in bits.layers:
        if name not in result:
            raise PrecisionError(f"bits.layers names {name!r}, but the network's layers are: {', '.join(result)}.")
        result[name] = (weight_bits, activation_bits)
    return result


def assign_bits(network: Network, bits: Bits) -> None:
    """Set `weight_bits` and `activation_bits` on every convolution and linear layer: what the score reads.

    Nothing is rounded by that. Raises PrecisionError as `layer_bits` does.
    """
    layers: dict[str, nn.Module] = dict(weight_layers(network))
    for name, (weight_bits, activation_bits) in layer_bits(network, bits).items():
        setattr(layers[name], "weight_bits", weight_bits)  # noqa: B010 (nn.Module's types know no such attribute)
        setattr(layers[name], "activation_bits", activation_bits)  # noqa: B010


def _per_stage(name: str, values: tuple[int, ...], stages: int) -> tuple[int, ...]:
    if len(values) not in (1, stages):
        raise PrecisionError(f"bits.{name} has {len(values)} entries, but needs 1 or {stages}, one a stage.")
    return values * stages if len(values) == 1 else values
