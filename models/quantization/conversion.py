"""From a trained network to a quantized one that can be trained on, to lower widths, and to its final form.

convert   exchanges the layers for quantized ones, with steps from a calibration
lower     gives quantized layers smaller widths and new steps
deploy    ends it: batch norm folded, weights on their grid, everything beside them in float16
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from slimfront.models.folding import fold_batch_norm
from slimfront.models.layout import layout_of
from slimfront.models.network import Network, weight_layers
from slimfront.models.quantization.calibration import Observation, input_step, weight_steps
from slimfront.models.quantization.quantizers import (
    INTEGER_WIDTHS,
    QuantConv2d,
    QuantizedLayer,
    QuantLinear,
    quantized_layers,
)
from slimfront.models.quantization.straight_through import round_to_half
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm

IMAGE_LAYER = "stem.conv"  # sees the image itself
IMAGE_STEP = 1 / 64  # pixels are (0..255 - 128) / 64: signed 8-bit integers at this step

Widths = Mapping[str, tuple[int, int]]  # layer name -> (bits of its weight, bits of its input)


class ConversionError(ValueError):
    """A network that cannot be quantized as asked."""


def convert(network: nn.Module, widths: Widths, observed: Mapping[str, Observation], *, ternary: bool = False) -> None:
    """Exchange convolutions and linear layers for quantized ones, in place.

    Steps are those of the least squared error. A layer at (32, 32) stays a plain one and is only told its widths.
    Signed or unsigned follows from what was observed: after a ReLU nothing is below zero.

    Args:
        network: A float network, trained; masks of torch.nn.utils.prune stay.
        widths: Of every layer that is meant; others stay.
        observed: From `slimfront.models.quantization.calibration.observe` on this network.
        ternary: 2-bit weights as -1, 0, 1.

    Raises:
        ConversionError: an unknown layer, or one whose input was never observed.
    """
    layers = weight_layers(network)
    for name, (weight_bits, activation_bits) in widths.items():
        if name not in layers:
            raise ConversionError(f"There is no layer {name!r} to quantize; there are {', '.join(layers)}.")
        if isinstance(layers[name], QuantizedLayer):
            raise ConversionError(f"Layer {name!r} is quantized already.")
        new = layers[name]
        if (weight_bits, activation_bits) == (32, 32):
            new.weight_bits, new.activation_bits = 32, 32  # type: ignore[assignment]
            continue
        if isinstance(new, nn.Conv2d):
            new = QuantConv2d.of(new, weight_bits, activation_bits, ternary=ternary)
        else:
            new = QuantLinear.of(new, weight_bits, activation_bits, ternary=ternary)
        _set_steps(network, name, new, observed)
        exchange(network, layers[name], new)
    absorb_activations(network)


def lower(network: nn.Module, widths: Widths, observed: Mapping[str, Observation]) -> None:
    """Give quantized layers new widths, in place; those whose widths change take new steps of the least squared error.

    Args:
        network: From `convert`, not yet frozen.
        widths: Of some or all quantized layers. Widths of at most 8 bits stay at most 8, others stay as they are.
        observed: From `slimfront.models.quantization.calibration.observe` on this network.

    Raises:
        ConversionError: another change of width, or an input that was never observed.
    """
    layers = quantized_layers(network)
    for name, new in widths.items():
        if name not in layers:
            continue
        layer = layers[name]
        for before, after in zip((layer.weight_bits, layer.activation_bits), new, strict=True):
            if before != after and not (before in INTEGER_WIDTHS and after in INTEGER_WIDTHS):
                raise ConversionError(f"Layer {name!r} cannot go from {before} to {after} bits: both must be 1 to 8.")
        weight_changes, input_changes = layer.weight_bits != new[0], layer.activation_bits != new[1]
        layer.weight_bits, layer.activation_bits = new
        _set_steps(network, name, layer, observed, weight=weight_changes, inputs=input_changes, keep_sign=True)


def exchange(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a layer in another's place, wherever in the network that stands: a layer may be shared."""
    for module in network.modules():
        for child, found in module._modules.items():
            if found is old:
                setattr(module, child, new)


def absorb_activations(network: nn.Module) -> None:
    """Take out the ReLUs that a quantized layer makes superfluous: it alone reads them, on an unsigned grid.

    Such a grid clamps at zero itself. Blocks say in their attribute `read_once` which layer alone reads an activation.
    """
    for module in network.modules():
        for act, reader in getattr(module, "read_once", ()):
            layer = _find(module, reader)
            relu = _find(module, act)
            if isinstance(relu, nn.ReLU) and isinstance(layer, QuantizedLayer) and _clamps(layer):
                parent, _, child = act.rpartition(".")
                setattr(module.get_submodule(parent), child, nn.Identity())


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Evaluation mode, and every 4-dimensional tensor in channels_last, unless the network cannot run so.

    Another order may take another convolution routine, which rounds differently. A 1x1 kernel is in every order at
    once, and has whatever strides it was left with, which matters as well: it gets those of a product with its mask.
    """
    wanted = layout_of(network)
    for module in network.eval().modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and tensor.ndim == 4:
                order = wanted if tensor.shape[2:].numel() > 1 else torch.contiguous_format
                tensor.data = tensor.data.clone(memory_format=order)


@torch.no_grad()
def deploy(network: nn.Module) -> None:
    """Bring a network to its final form, in place: what an artifact stores, number for number.

    Quantized weights go on their grid for good, batch norm is folded (the integers stay, their scales take it), and
    biases, scales, steps and 16-bit weights are rounded to float16. A batch norm that cannot be folded becomes a factor
    and a summand a channel, and other parameters of a user's own network are rounded likewise. The function is the
    same up to that rounding. Float networks are only folded.
    """
    for layer in quantized_layers(network).values():
        layer.freeze()
    fold_batch_norm(network)
    for layer in quantized_layers(network).values():
        layer.round_scales()
    half = norms_are_half(network)
    for norm in running_norms(network).values():
        _simplify(norm, half=half)
    if half:
        for parameter in parameters_beside(network).values():
            parameter.copy_(round_to_half(parameter))
    settle(network)


def running_norms(network: nn.Module) -> dict[str, AnyBatchNorm]:
    """The batch norms that keep running statistics, by name: in evaluation a factor and a summand a channel."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, AnyBatchNorm) and module.running_mean is not None and module.running_var is not None
    }


def parameters_beside(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are of no convolution, no linear layer and no batch norm with running statistics, by name."""
    inside = {id(part) for layer in weight_layers(network).values() for part in layer.modules()}
    inside |= {id(norm) for norm in running_norms(network).values()}
    return {
        f"{name}.{key}" if name else key: parameter
        for name, module in network.named_modules()
        if id(module) not in inside
        for key, parameter in module._parameters.items()
        if parameter is not None
    }


def norms_are_half(network: nn.Module) -> bool:
    """Whether a batch norm that stays is stored in float16: where no layer's weights take more."""
    return all(getattr(layer, "weight_bits", 32) <= 16 for layer in weight_layers(network).values())


def set_plain_norm(norm: AnyBatchNorm, factor: Tensor, summand: Tensor) -> None:
    """Make `norm` compute x * factor + summand in evaluation, both (channels,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    norm.eps = 0.0
    norm.affine = True
    norm.weight = nn.Parameter(factor)
    norm.bias = nn.Parameter(summand)


def _simplify(norm: AnyBatchNorm, *, half: bool) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.affine:
        factor = factor * norm.weight.double()
    summand = -norm.running_mean.double() * factor
    if norm.affine:
        summand = summand + norm.bias.double()
    factor, summand = factor.float(), summand.float()
    if half:
        factor, summand = round_to_half(factor), round_to_half(summand)
    set_plain_norm(norm, factor, summand)


def _set_steps(
    network: nn.Module,
    name: str,
    layer: QuantizedLayer,
    observed: Mapping[str, Observation],
    *,
    weight: bool = True,
    inputs: bool = True,
    keep_sign: bool = False,
) -> None:
    if weight and layer.weight_bits in INTEGER_WIDTHS:
        layer.set_weight_step(weight_steps(layer.latent_weight(), layer.weight_bits, ternary=layer.ternary))
    if not inputs or layer.activation_bits not in INTEGER_WIDTHS:
        return
    if layer.activation_bits == 8 and _sees_images(network, name, observed):
        layer.set_input_step(torch.tensor(IMAGE_STEP), signed=True, learned=False)
        return
    if name not in observed:
        if not isinstance(network, Network):
            return  # of a user's own network, which may have heads that do not run
        raise ConversionError(f"Layer {name!r} cannot be calibrated: no input reached it.")
    signed = layer.signed if keep_sign else observed[name].signed
    layer.set_input_step(input_step(observed[name], layer.activation_bits, signed=signed), signed=signed)


def _sees_images(network: nn.Module, name: str, observed: Mapping[str, Observation]) -> bool:
    """Whether a layer's input is the image; in a network of a user's own, whether it has an image's numbers."""
    if isinstance(network, Network):
        return name == IMAGE_LAYER
    values = observed[name].values / IMAGE_STEP if name in observed else torch.zeros(0)
    return bool(len(values)) and bool((values == values.round().clamp(-128, 127)).all()) and observed[name].signed


def _clamps(layer: QuantizedLayer) -> bool:
    return layer.activation_bits in INTEGER_WIDTHS and not layer.signed


def _find(module: nn.Module, path: str) -> nn.Module | None:
    for part in path.split("."):
        found = getattr(module, part, None)
        if not isinstance(found, nn.Module):
            return None
        module = found
    return module
