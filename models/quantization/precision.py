"""Bit-widths by layer: from the Bits of a candidate to the layers of a network."""

from __future__ import annotations

from fnmatch import fnmatchcase

from slimfront.models.kernels.convolution import Convolution
from slimfront.models.network import Network, weight_layers
from slimfront.models.quantization.quantizers import QuantConv2d, QuantLinear
from slimfront.spaces.candidate import Bits
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

STEM, CLASSIFIER = "stem", "classifier"
_FORWARDS = (nn.Conv2d.forward, nn.Linear.forward, QuantConv2d.forward, QuantLinear.forward)
_CONVOLUTIONS = (None, nn.Conv2d._conv_forward, Convolution._conv_forward)


class PrecisionError(ValueError):
    """Bits that do not fit the network."""


def layer_bits(network: nn.Module, bits: Bits) -> dict[str, tuple[int, int]]:
    """The bits of every convolution and linear layer: {name: (of its weights, of its input)}.

    Stem and classifier take `bits.stem` and `bits.classifier` for both; a stage takes its entry; the head belongs to
    the last stage; `bits.layers` overrides single layers, by name or by a pattern such as "features.*". In a network
    that is no `Network` the first and the last layer that it defines are stem and classifier, and all between them is
    one stage; what cannot be quantized (`unquantizable`) stays at 32 bits.

    Raises:
        PrecisionError: `bits` has entries for another number of stages, or names a layer that the network lacks, or
            one that cannot be quantized.
    """
    stages = len(network.stages) if isinstance(network, Network) else 1
    weights, activations = (_per_stage(name, getattr(bits, name), stages) for name in ("weights", "activations"))
    result = {}
    for name, stage in _places(network).items():
        if stage in (STEM, CLASSIFIER):
            outer = bits.stem if stage == STEM else bits.classifier
            result[name] = (outer, outer)
        else:
            result[name] = (weights[int(stage)], activations[int(stage)])
    left = unquantizable(network)
    result |= dict.fromkeys(left, (32, 32))
    for pattern, weight_bits, activation_bits in bits.layers:
        named = [pattern] if pattern in result else [name for name in result if fnmatchcase(name, pattern)]
        if not named:
            raise PrecisionError(f"bits.layers names {pattern!r}, but the network's layers are: {', '.join(result)}.")
        if pattern in left and (weight_bits, activation_bits) != (32, 32):
            raise PrecisionError(f"bits.layers names {pattern!r}, which cannot be quantized: {left[pattern]}.")
        result |= {name: (weight_bits, activation_bits) for name in named if name not in left}
    return result


def unquantizable(network: nn.Module) -> dict[str, str]:
    """The layers of a user's own network that stay at 32 bits, and why: what they do is not what their kind does."""
    if isinstance(network, Network):
        return {}
    return {name: reason for name, layer in weight_layers(network).items() if (reason := _unlike_its_kind(layer))}


def _unlike_its_kind(layer: nn.Module) -> str:
    kind = type(layer)
    if {"weight", "weight_orig"}.isdisjoint(name for name, found in layer._parameters.items() if found is not None):
        return "its weight is computed from other numbers"
    if isinstance(layer, NonDynamicallyQuantizableLinear):
        return "attention multiplies by its weight itself"
    if kind.forward not in _FORWARDS or getattr(kind, "_conv_forward", None) not in _CONVOLUTIONS:
        return f"{kind.__name__} has a forward pass of its own"
    return ""


def _places(network: nn.Module) -> dict[str, int | str]:
    """Of every layer its stage, or that it is the stem or the classifier."""
    names = list(weight_layers(network))
    if not isinstance(network, Network):
        return (
            dict.fromkeys(names, 0)
            | dict(zip(names[:1], [STEM], strict=False))
            | dict.fromkeys(names[1:][-1:], CLASSIFIER)
        )
    places: dict[str, int | str] = {}
    for name in names:
        part, _, rest = name.partition(".")
        outside = part if part in (STEM, CLASSIFIER) else len(network.stages) - 1
        places[name] = int(rest.partition(".")[0]) if part == "stages" else outside
    return places


def assign_bits(network: nn.Module, bits: Bits) -> None:
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
