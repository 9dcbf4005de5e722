"""The score: what a network costs, in weights and operations, as a share of half of ResNet-18. Lower is better.

    score = (1 - (p_s + p_u)) * (q_w / 32) * w / 5.6e6  +  (1 - p_s) * (max(q_w, q_a) / 32) * f / 2.8e8
            --------------- params term --------------     --------------- ops term ----------------

w counts weights, f multiply-adds (MACs) of one image, both of convolutions and linear layers of the unpruned network;
p_s and p_u are the shares of w removed by structured and unstructured pruning; q_w and q_a are the bits of weights and
activations. `formula` is that line. `score` measures a network as it stands, layer by layer: pruned channels are gone
from w and f by then, masked weights are not counted, and every layer has its own bits. docs/score.md has examples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimfront.evaluators.scoring.counting import LAYER_PARAMETERS, Counts, Product, ScoreError, count, key_of
from slimfront.evaluators.scoring.strict import layer_storage_bits, side_bits
from slimfront.models.folding import foldable_pairs
from slimfront.models.network import WeightLayer, weight_layers
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["LayerScore", "Score", "ScoreError", "formula", "score", "stored_weights"]

REFERENCE_WEIGHTS = 5.6e6  # half of ResNet-18's 11.17 M
REFERENCE_MACS = 2.8e8  # half of ResNet-18's 555.4 M at 3x32x32


@dataclass(frozen=True)
class LayerScore:
    """One convolution or linear layer, or another module that multiplies.

    Attributes:
        name: where it is in the network, as in `stages.0.1.conv2`.
        kind: "conv", "linear", or "product" for other modules.
        weights: positions of its weight tensor; biases are not weights, and a tensor that several layers share is the
            first one's. Of other modules: of every tensor that they multiply by and that is not made from the image.
        stored_weights: those of them that are not pruned by a mask.
        macs: multiply-adds for one image.
        weight_bits: of its weights.
        activation_bits: of its input.
        strict_bits: bits to store all of it: weights with their mask, biases, scales.
    """

    name: str
    kind: str
    weights: int
    stored_weights: int
    macs: int
    weight_bits: int
    activation_bits: int
    strict_bits: int = 0


@dataclass(frozen=True)
class Score:
    """What a network costs.

    Attributes:
        parameters: all numbers of the network's parameters as it stands, trainable or frozen.
        weights: those that it multiplies by, without biases; also of a layer that never runs, as it has to be stored.
        stored_weights: weights that are not pruned by a mask.
        macs: multiply-adds for one image.
        score: params term plus ops term.
        score_params: sum over layers of stored_weights * weight_bits / 32, over 5.6e6.
        score_ops: sum over layers of macs * max(weight_bits, activation_bits) / 32, over 2.8e8.
        strict_score: score_ops plus strict_bits / 32 over 5.6e6.
        strict_bits: bits to store the network: weights, masks, biases, scales, batch norm that cannot be folded.
        layers: one entry a convolution or linear layer, in the order of definition; then one for every other module
            that multiplies.
    """

    parameters: int
    weights: int
    stored_weights: int
    macs: int
    score: float
    score_params: float
    score_ops: float
    strict_score: float
    strict_bits: int
    layers: tuple[LayerScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; `layers` a list of dictionaries."""
        result = dataclasses.asdict(self)
        result["layers"] = list(result["layers"])
        return result


def formula(
    w: float,
    f: float,
    p_s: float = 0.0,
    p_u: float = 0.0,
    q_w: float = 32,
    q_a: float = 32,
    *,
    reference_weights: float = REFERENCE_WEIGHTS,
    reference_macs: float = REFERENCE_MACS,
) -> float:
    """The score in closed form, from the counts of the *unpruned* network and one pair of bits for all of it.

    Args:
        w: weights of the unpruned network.
        f: multiply-adds of the unpruned network for one image.
        p_s: share of w removed by structured pruning, in [0, 1].
        p_u: share of w (not of what is left) removed by unstructured pruning; p_s + p_u <= 1.
        q_w: bits of weights, in [1, 32].
        q_a: bits of activations, in [1, 32].
        reference_weights: what w is measured against.
        reference_macs: what f is measured against.

    Raises:
        ScoreError: a number outside its range.

    >>> round(formula(11.17e6, 555.4e6, q_w=16, q_a=16), 2)
    1.99
    """
    for name, value in (("w", w), ("f", f)):
        _require(value >= 0, name, value, "at least 0")
    for name, value in (("p_s", p_s), ("p_u", p_u)):
        _require(0 <= value <= 1, name, value, "a share in [0, 1]")
    # Shares such as 0.7 + 0.3 may exceed 1 by a rounding error.
    _require(p_s + p_u <= 1 + 1e-12, "p_s + p_u", p_s + p_u, "at most 1: both are shares of the original weights")
    for name, value in (("q_w", q_w), ("q_a", q_a)):
        _require(1 <= value <= 32, name, value, "a number of bits in [1, 32]")
    _check_references(reference_weights, reference_macs)
    params = max(0.0, 1 - (p_s + p_u)) * (q_w / 32) * w / reference_weights
    ops = (1 - p_s) * (max(q_w, q_a) / 32) * f / reference_macs
    return params + ops


def score(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    reference_weights: float = REFERENCE_WEIGHTS,
    reference_macs: float = REFERENCE_MACS,
    macs: Mapping[str, int] | None = None,
) -> Score:
    """Measure a network as it stands; nothing of it changes.

    Bits are the modules' attributes `weight_bits` and `activation_bits`, 32 where absent.

    Args:
        network: any module. Convolutions and linear layers are counted by their shapes, everything else that multiplies
            by what it does (`slimfront.evaluators.scoring.operations`); parameters that nothing multiplies by a sum
            over are in the strict score alone.
        input_shape: of one image, (channels, height, width); of other data whatever the network takes.
        reference_weights: what weights are measured against.
        reference_macs: what multiply-adds are measured against.
        macs: what `count_macs` would say of it, where that is known already and nothing but layers multiplies; counted
            where None.

    Raises:
        ScoreError: an operation that is not known, impossible bits, a wrong input shape, and whatever `count` refuses.

    >>> from torch import nn
    >>> score(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), (3, 32, 32)).macs
    221184
    """
    _check_references(reference_weights, reference_macs)
    network = getattr(network, "_orig_mod", network)  # what torch.compile wraps
    counts = count(network, input_shape) if macs is None else Counts(dict(macs))
    folded = foldable_pairs(network)
    layers = _layers(network, counts, set(folded))
    strict_bits = sum(layer.strict_bits for layer in layers) + _bits_outside_layers(
        network, set(folded.values()), layers, counts.products
    )
    score_params = sum(layer.stored_weights * layer.weight_bits for layer in layers) / 32 / reference_weights
    operations = sum(layer.macs * max(layer.weight_bits, layer.activation_bits) for layer in layers)
    score_ops = operations / 32 / reference_macs
    return Score(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights=sum(layer.weights for layer in layers),
        stored_weights=sum(layer.stored_weights for layer in layers),
        macs=sum(layer.macs for layer in layers),
        score=score_params + score_ops,
        score_params=score_params,
        score_ops=score_ops,
        strict_score=strict_bits / 32 / reference_weights + score_ops,
        strict_bits=strict_bits,
        layers=layers,
    )


def weight_parameter(layer: WeightLayer) -> Tensor:
    """The tensor that a layer keeps its weight in: what it is masked or computed from, where it is."""
    masked = layer._parameters.get("weight_orig")
    if masked is not None:
        return masked
    made = getattr(getattr(layer, "parametrizations", None), "weight", None)
    original = getattr(made, "original", None)
    return original if isinstance(original, Tensor) else layer.weight


def stored_weights(layer: WeightLayer) -> int:
    """Weights of a layer that are not pruned by a mask. A weight that merely is zero counts as stored.

    The mask is `weight_mask`, as torch.nn.utils.prune keeps it. A layer whose mask is gone (`prune.remove`) remembers
    the count in an integer attribute `stored_weights`.
    """
    mask = layer._buffers.get("weight_mask")
    if mask is not None and "weight_orig" in layer._parameters:  # a buffer of that name alone may be anything
        return int(mask.count_nonzero())
    return int(getattr(layer, "stored_weights", layer.weight.numel()))


def _layers(network: nn.Module, counts: Counts, folded: set[str]) -> tuple[LayerScore, ...]:
    """The layers, then the other modules that multiply. A tensor that several share is stored once, by the first."""
    found, stored_in = [], dict[Any, str]()
    layers = weight_layers(network)
    for name, layer in layers.items():
        owner = stored_in.setdefault(key_of(weight_parameter(layer)), name)
        found.append(_layer(name, layer, counts.layers[name], name in folded, shared=owner != name))
    for product in counts.products:
        weights = 0
        for key, numbers in product.weights.items():
            if stored_in.setdefault(key, product.name) == product.name:
                weights += numbers
        found.append(_product(product, weights))
    return tuple(found)


def _layer(name: str, layer: WeightLayer, macs: int, folded: bool, *, shared: bool) -> LayerScore:
    weights, stored = layer.weight.numel(), stored_weights(layer)
    if not 0 <= stored <= weights:
        raise ScoreError(f"{name}.stored_weights must be in 0..{weights}, its number of weights, but got {stored}.")
    if shared:
        weights = stored = 0
    bits = _bits(name, layer)
    strict_bits = layer_storage_bits(
        weights=weights,
        stored=stored,
        outputs=layer.weight.shape[0],
        bias=layer.bias is not None or folded,
        scales=_scales(layer),
        **bits,
    )
    kind = "conv" if isinstance(layer, nn.Conv2d) else "linear"
    return LayerScore(name, kind, weights, stored, macs, strict_bits=strict_bits, **bits)


def _product(product: Product, weights: int) -> LayerScore:
    bits = _bits(product.name or "the network itself", product.module)
    storage = layer_storage_bits(
        weights=weights, stored=weights, outputs=0, bias=False, weight_bits=bits["weight_bits"], activation_bits=32
    )
    return LayerScore(product.name, "product", weights, weights, product.macs, strict_bits=storage, **bits)


def _bits(name: str, module: nn.Module) -> dict[str, int]:
    bits = {}
    for key in ("weight_bits", "activation_bits"):
        bits[key] = getattr(module, key, 32)
        if type(bits[key]) is not int or not 1 <= bits[key] <= 32:
            raise ScoreError(f"{name}.{key} must be a whole number in 1..32, but got {bits[key]!r}.")
    return bits


def _scales(module: nn.Module) -> int:
    """Scales that a module and everything in it own."""
    return sum(
        parameter.numel()
        for part in module.modules()
        if getattr(part, "score_kind", None) == "scale"
        for name, parameter in part._parameters.items()
        if parameter is not None and not (isinstance(part, WeightLayer) and name in LAYER_PARAMETERS)
    )


def _bits_outside_layers(
    network: nn.Module, folded_norms: set[str], layers: tuple[LayerScore, ...], products: tuple[Product, ...]
) -> int:
    """Batch norm that stays, two numbers a channel, and every parameter that is none of a layer's."""
    inside = {part for layer in weight_layers(network).values() for part in layer.modules()}
    elsewhere = {key for product in products for key in product.weights}
    elsewhere |= {key_of(weight_parameter(layer)) for layer in weight_layers(network).values()}
    numbers = 0
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            numbers += 0 if name in folded_norms else 2 * module.num_features
        elif module not in inside:
            numbers += sum(
                parameter.numel()
                for parameter in module._parameters.values()
                if parameter is not None and key_of(parameter) not in elsewhere
            )
        elif isinstance(module, WeightLayer) and getattr(module, "score_kind", None) != "scale":
            numbers += sum(
                parameter.numel()
                for key, parameter in module._parameters.items()
                if parameter is not None and key not in LAYER_PARAMETERS
            )
    # They stand between layers: as precise as the most precise layer.
    return numbers * side_bits(max((layer.weight_bits for layer in layers), default=32))


def _check_references(reference_weights: float, reference_macs: float) -> None:
    for name, value in (("reference_weights", reference_weights), ("reference_macs", reference_macs)):
        _require(value > 0, name, value, "above 0")


def _require(condition: bool, name: str, value: float, allowed: str) -> None:
    if not condition or not math.isfinite(value):
        raise ScoreError(f"{name} must be {allowed}, but got {value:g}.")
