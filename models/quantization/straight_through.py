"""Rounding with a gradient: the straight-through estimators that quantized layers are trained with.

A training step on a CPU is bound by memory traffic, not by arithmetic, and activations are by far the largest tensors.
So the functions are written by hand on top of `models.quantization.rounding`: one pass over memory each way, and
nothing saved for the backward pass but the layer's input.

Learned steps follow LSQ (Esser et al. 2019, arXiv:1902.08153): with v = x / s, q = round(clamp(v)),
between -n and p,

    y = q s        dy/dx = [-n < v < p]        dy/ds = q - v [-n < v < p]

A step is stored as s = base * ratio. `base` is what calibration found, `ratio` is learned and starts at 1: optimizers
that give every parameter steps of the same size (Adam) then change a step in proportion to itself. The gradient of the
ratio is ds / base, so that gradient descent on it moves s exactly as gradient descent on s would.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from slimfront.models.quantization.rounding import round_rows, round_rows_backward, round_tensor, round_tensor_backward
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

SMALLEST_RATIO = 1e-3  # a learned step stays above this share of its base: zero would divide by zero


def bounds(bits: int, *, signed: bool, ternary: bool = False) -> tuple[int, int]:
    """Smallest and largest integer of a width from 1 to 8: (-2^(b-1), 2^(b-1) - 1) signed, (0, 2^b - 1) unsigned.

    A signed bit is -1 or 1, the two without 0 between them. `ternary` is (-1, 1) at 2 bits, with 0.

    >>> bounds(4, signed=True), bounds(4, signed=False), bounds(1, signed=True)
    ((-8, 7), (0, 15), (-1, 1))
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"Integers have 1 to 8 bits, but got {bits}.")
    if not signed:
        return 0, 2**bits - 1
    if bits == 1 or (ternary and bits == 2):
        return -1, 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def quantize_activations(x: Tensor, base: Tensor, ratio: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Round a whole tensor to the grid of one learned step.

    A negative number becomes 0 where the grid is unsigned, gradient included: a ReLU before it changes nothing.

    Args:
        x: Any shape; the first dimension counts the images.
        base: Scalar (), the step at calibration.
        ratio: Scalar (), learned; the step is base * ratio.
        bits: 1 to 8.
        signed: Which integers there are, see `bounds`.
    """
    result: Tensor
    if bits == 1 and signed:
        result = _SignedBits.apply(x, base, ratio)
    else:
        result = _Activations.apply(x, base, ratio, *bounds(bits, signed=signed))
    return result


def quantize_weights(weight: Tensor, base: Tensor, ratio: Tensor, bits: int, *, ternary: bool = False) -> Tensor:
    """Round a weight to the grid of one learned step per output channel.

    With 1 bit: sign times step, zero counting as positive, and every weight passes its gradient.

    Args:
        weight: (outputs, ...).
        base: (outputs,), the steps at calibration.
        ratio: (outputs,), learned; the steps are base * ratio.
        bits: 1 to 8.
        ternary: -1, 0, 1 at 2 bits.
    """
    result: Tensor
    if bits == 1:
        result = _Signs.apply(weight, base, ratio)
    else:
        result = _Weights.apply(weight, base, ratio, *bounds(bits, signed=True, ternary=ternary))
    return result


def round_to_half(x: Tensor) -> Tensor:
    """The nearest float16, in the type of `x`; beyond its range the largest there is. The gradient passes unchanged."""
    result: Tensor = _Half.apply(x)
    return result


class _Activations(Function):
    """One step for all of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Tensor, ratio: Tensor, low: int, high: int) -> Tensor:
        step = base * ratio.clamp(min=SMALLEST_RATIO)  # a tensor throughout: a GPU is never waited for
        ctx.save_for_backward(x, step, base)
        ctx.bounds = (low, high)
        return round_tensor(x, step, low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step, base = ctx.saved_tensors
        low, high = ctx.bounds
        gradient_x, gradient_step = round_tensor_backward(gradient, x, step, low, high)
        return gradient_x, None, gradient_step * _gradient_scale(x, high) / base, None, None


class _SignedBits(Function):
    """-step and step. Each gets the width that it would have between neighbours: a gradient for |x| < 2 step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Tensor, ratio: Tensor) -> Tensor:
        step = base * ratio.clamp(min=SMALLEST_RATIO)
        ctx.save_for_backward(x, step, base)
        return _signs(x) * step.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step, base = ctx.saved_tensors
        inside = x.abs() < 2 * step
        gradient_step = (gradient * _signs(x)).sum(dtype=step.dtype)
        return gradient * inside, None, gradient_step * _gradient_scale(x, 1) / base


class _Weights(Function):
    """One step per output channel."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, base: Tensor, ratio: Tensor, low: int, high: int) -> Tensor:
        steps = base * ratio.clamp(min=SMALLEST_RATIO)
        ctx.save_for_backward(weight, steps, base)
        ctx.bounds = (low, high)
        return round_rows(weight, steps, low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, steps, base = ctx.saved_tensors
        low, high = ctx.bounds
        gradient_weight, gradient_steps = round_rows_backward(gradient, weight, steps, low, high)
        return gradient_weight, None, gradient_steps * _gradient_scale(weight, high) / base, None, None


class _Signs(Function):
    """Sign times step, one step per output channel."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, base: Tensor, ratio: Tensor) -> Tensor:
        signs = _signs(weight)
        ctx.save_for_backward(signs, base)
        steps = base * ratio.clamp(min=SMALLEST_RATIO)
        return signs * steps.view(-1, *([1] * (weight.dim() - 1)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        signs, base = ctx.saved_tensors
        gradient_steps = (gradient * signs).flatten(1).sum(1)
        return gradient, None, gradient_steps * _gradient_scale(signs, 1) / base


class _Half(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        largest = torch.finfo(torch.float16).max
        return x.clamp(-largest, largest).to(torch.float16).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def _signs(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x.dtype)


def _gradient_scale(x: Tensor, high: int) -> float:
    """LSQ's 1 / sqrt(numbers that share the step * largest integer): of one image, or of one filter."""
    return 1 / math.sqrt(max(1, x.numel() // max(1, x.shape[0])) * high)
