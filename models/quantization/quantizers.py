"""Convolutions and linear layers that quantize their own input and weight.

A layer's widths are `weight_bits` (of its weight) and `activation_bits` (of its input): 1 to 8 are integers times a
step, 16 is float16, 32 leaves everything as it is. So every multiplication that the score counts sees what it says.

In training the weight is a float that is rounded at every forward pass (`models.quantization.straight_through`).
`freeze` ends that: from then on `weight` lies on its grid and `integers` holds the integers, which folding batch norm
no longer changes: it scales the steps. `round_scales` finally rounds what is stored beside the integers to float16.

Masks of torch.nn.utils.prune work as on any layer: where `weight_mask` is 0 the weight is exactly 0, at every width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from slimfront.models.kernels.convolution import Convolution
from slimfront.models.quantization.straight_through import (
    SMALLEST_RATIO,
    quantize_activations,
    quantize_weights,
    round_to_half,
)
from torch import Tensor, nn
from torch.nn.utils import prune

INTEGER_WIDTHS = range(1, 9)


class _QuantizedLayer(nn.Module):
    """What QuantConv2d and QuantLinear share.

    Attributes:
        weight_bits: Bits of the weight.
        activation_bits: Bits of the input.
        signed: Whether the input's integers go below zero.
        ternary: Whether a 2-bit weight is -1, 0 or 1.
        learns_input_step: False where the step is known, as the image's is.
        frozen: Whether the weight is on its grid for good.
        weight_base, weight_ratio: (outputs,); the step of an output channel is their product. None above 8 bits.
        activation_base, activation_ratio: (); the step of the input is their product. None above 8 bits.
        integers: int8, the weight's shape, once frozen at 8 bits or fewer; else None.
    """

    score_kind: ClassVar[str] = "scale"  # tells the score what the ratios are: scales, not weights
    weight: Tensor
    weight_base: Tensor | None
    weight_ratio: Tensor | None
    activation_base: Tensor | None
    activation_ratio: Tensor | None
    integers: Tensor | None

    def _set_up(self, weight_bits: int, activation_bits: int, *, signed: bool, ternary: bool) -> None:
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.signed, self.ternary = signed, ternary
        self.learns_input_step = True
        self.frozen = False
        device = self.weight.device
        outputs = len(self.weight)
        integer_weight = weight_bits in INTEGER_WIDTHS
        integer_input = activation_bits in INTEGER_WIDTHS
        self.register_buffer("weight_base", torch.ones(outputs, device=device) if integer_weight else None)
        self.register_buffer("activation_base", torch.ones((), device=device) if integer_input else None)
        for name, there, shape in (("weight", integer_weight, (outputs,)), ("activation", integer_input, ())):
            ratio = nn.Parameter(torch.ones(shape, device=device)) if there else None
            self.register_parameter(f"{name}_ratio", ratio)
        self.register_buffer("integers", None)

    # --- forward

    def quantize_input(self, x: Tensor) -> Tensor:
        """The input as the layer's multiplications see it, same shape."""
        if self.activation_base is not None and self.activation_ratio is not None:
            base, ratio = self.activation_base, self.activation_ratio
            return quantize_activations(x, base, ratio, self.activation_bits, signed=self.signed)
        return round_to_half(x) if self.activation_bits == 16 else x

    def quantize_weight(self) -> Tensor:
        """The weight as the layer's multiplications see it, same shape."""
        weight = self.weight
        if self.frozen:
            return weight
        if self.weight_base is not None and self.weight_ratio is not None:
            weight = quantize_weights(
                weight, self.weight_base, self.weight_ratio, self.weight_bits, ternary=self.ternary
            )
            mask = self._buffers.get("weight_mask")
            # Any other grid has a 0, and a masked weight is on it.
            return weight * mask if self.weight_bits == 1 and mask is not None else weight
        return round_to_half(weight) if self.weight_bits == 16 else weight

    # --- steps

    def set_weight_step(self, step: Tensor) -> None:
        """Set the steps of the weight, (outputs,) and positive, and forget what was learned."""
        _set_step(self.weight_base, self.weight_ratio, step)

    def set_input_step(self, step: Tensor, *, signed: bool, learned: bool = True) -> None:
        """Set the step of the input, () and positive. Where it is not `learned` it stays as it is."""
        assert self.activation_ratio is not None
        _set_step(self.activation_base, self.activation_ratio, step)
        self.signed, self.learns_input_step = signed, learned
        self.activation_ratio.requires_grad_(learned)

    def weight_step(self) -> Tensor | None:
        """Steps of the output channels, (outputs,); negative where a folded batch norm was. None above 8 bits."""
        return _product(self.weight_base, self.weight_ratio)

    def input_step(self) -> Tensor | None:
        """Step of the input, (). None above 8 bits."""
        return _product(self.activation_base, self.activation_ratio)

    def latent_weight(self) -> Tensor:
        """The weight that training moves, masked, before it is rounded; without gradient."""
        original, mask = self._parameters.get("weight_orig"), self._buffers.get("weight_mask")
        # A mask is applied by a hook before each forward pass: the last optimizer step is not in `weight` yet.
        return self.weight.detach() if original is None or mask is None else original.detach() * mask

    # --- from training to the finished network

    @torch.no_grad()
    def freeze(self) -> None:
        """Put the weight on its grid for good. The layer's output stays the same."""
        if self.frozen:
            return
        step = self.weight_step()
        if "weight_orig" in self._parameters:
            self.weight = self.latent_weight()
        if step is not None:
            integers = (self.quantize_weight() / _over_outputs(step, self.weight)).round_()
            self.integers = integers.to(torch.int8)
            self.set_weight_step(step)
        elif self.weight_bits == 16:
            self._write_weight(round_to_half(self.weight))
        self.frozen = True
        self._write_grid()

    @torch.no_grad()
    def scale_filters(self, scale: Tensor) -> None:
        """Multiply every filter by its own signed number, (outputs,): what folding a batch norm comes to.

        Integers stay, the steps take it all; so the layer is frozen first.
        """
        self.freeze()
        if self.weight_base is not None:
            self.weight_base.mul_(scale.to(self.weight_base))
            self._write_grid()
        else:
            self._write_weight(self.weight * _over_outputs(scale, self.weight))

    @torch.no_grad()
    def round_scales(self) -> None:
        """Round to float16 whatever is stored beside integers or float16 weights: bias, steps; the weight follows."""
        self.freeze()
        step = self.input_step()
        if step is not None:
            step = round_to_half(step.clamp(min=2.0**-24))  # the smallest number of float16 above zero
            self.set_input_step(step, signed=self.signed, learned=self.learns_input_step)
        if self.weight_bits == 32:
            return
        bias = self._parameters.get("bias")
        if bias is not None:
            bias.copy_(round_to_half(bias))
        if self.weight_base is not None:
            self.weight_base.copy_(round_to_half(self.weight_base))
            self._write_grid()
        else:
            self._write_weight(round_to_half(self.weight))

    def load_grid(self, integers: Tensor, step: Tensor) -> None:
        """Take a stored weight: int8 integers in the weight's shape and steps (outputs,). The layer is frozen then."""
        self.set_weight_step(step)
        self.integers = integers.to(device=self.weight.device, dtype=torch.int8)
        self.frozen = True
        self._write_grid()

    def _write_grid(self) -> None:
        step = self.weight_step()
        if self.integers is not None and step is not None:
            self._write_weight(self.integers * _over_outputs(step, self.integers))

    def _write_weight(self, weight: Tensor) -> None:
        with torch.no_grad():
            original = self._parameters.get("weight_orig")
            if original is None:
                self.weight.copy_(weight)
            else:
                original.copy_(weight)
                self.weight = weight.detach().clone()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        integers = state_dict.get(prefix + "integers")
        if integers is not None and self.integers is None:
            self.integers = torch.zeros_like(integers)
            self.frozen = True
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class QuantConv2d(_QuantizedLayer, Convolution):
    """A convolution that quantizes its input and weight: (N, inputs, H, W) -> (N, outputs, H', W')."""

    @classmethod
    def of(
        cls, layer: nn.Conv2d, weight_bits: int, activation_bits: int, *, signed: bool = True, ternary: bool = False
    ) -> Self:
        """The quantized form of `layer`: its geometry, weight, mask and bias, steps of 1."""
        new = cls(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
            device="meta",
        )
        _take(new, layer)
        new._set_up(weight_bits, activation_bits, signed=signed, ternary=ternary)
        _take_mask(new, layer)
        return new

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H', W')."""
        out: Tensor = self._conv_forward(self.quantize_input(x), self.quantize_weight(), self.bias)
        return out

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{super().extra_repr()}{_describe(self)}"  # type: ignore[no-untyped-call]


class QuantLinear(_QuantizedLayer, nn.Linear):
    """A linear layer that quantizes its input and weight: (N, inputs) -> (N, outputs)."""

    @classmethod
    def of(
        cls, layer: nn.Linear, weight_bits: int, activation_bits: int, *, signed: bool = True, ternary: bool = False
    ) -> Self:
        """The quantized form of `layer`: its weight, mask and bias, steps of 1."""
        new = cls(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        _take(new, layer)
        new._set_up(weight_bits, activation_bits, signed=signed, ternary=ternary)
        _take_mask(new, layer)
        return new

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) -> (N, outputs)."""
        return nn.functional.linear(self.quantize_input(x), self.quantize_weight(), self.bias)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{super().extra_repr()}{_describe(self)}"


QuantizedLayer = QuantConv2d | QuantLinear


def quantized_layers(network: nn.Module) -> dict[str, QuantizedLayer]:
    """The quantized layers by name, in the order of definition."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, QuantizedLayer)}


def _take(new: nn.Conv2d | nn.Linear, layer: nn.Conv2d | nn.Linear) -> None:
    original = layer._parameters.get("weight_orig", layer._parameters.get("weight"))
    assert original is not None
    new.weight = nn.Parameter(original.detach().clone())
    if layer.bias is not None:
        new.bias = nn.Parameter(layer.bias.detach().clone())
    new.train(layer.training)
    stored = getattr(layer, "stored_weights", None)
    if isinstance(stored, int):
        new.stored_weights = stored  # type: ignore[assignment]


def _take_mask(new: nn.Module, layer: nn.Module) -> None:
    mask = layer._buffers.get("weight_mask")
    if mask is not None:
        with torch.no_grad():
            new.get_parameter("weight").mul_(mask)
        prune.CustomFromMask.apply(new, "weight", mask=mask.detach().clone())  # type: ignore[no-untyped-call]


def _over_outputs(values: Tensor, weight: Tensor) -> Tensor:
    return values.view(-1, *([1] * (weight.dim() - 1)))


def _set_step(base: Tensor | None, ratio: Tensor | None, step: Tensor) -> None:
    assert base is not None
    assert ratio is not None
    with torch.no_grad():
        base.copy_(step)
        ratio.fill_(1.0)


def _product(base: Tensor | None, ratio: Tensor | None) -> Tensor | None:
    """The step; None above 8 bits."""
    return None if base is None or ratio is None else base * ratio.detach().clamp(min=SMALLEST_RATIO)


def _describe(layer: _QuantizedLayer) -> str:
    sign = "" if layer.activation_bits not in INTEGER_WIDTHS else ", signed" if layer.signed else ", unsigned"
    ternary = ", ternary" if layer.ternary and layer.weight_bits == 2 else ""
    return f", weight_bits={layer.weight_bits}{ternary}, activation_bits={layer.activation_bits}{sign}"
