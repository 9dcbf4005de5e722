"""Rounding with a gradient: the straight-through estimators that quantized layers are trained with.

A training step on a CPU waits for memory, not for arithmetic, and activations are by far the largest tensors. So each
function here is written by hand: one new tensor on the way forward, changed in place; one masking pass and two dot
products on the way back; nothing saved but what the convolution behind it saves anyway.

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
    result: Tensor = _Activations.apply(x, base, ratio, *bounds(bits, signed=signed), bits == 1 and signed)
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
    """One step for all of x. `binary`: -1 and 1 instead of every integer from low to high."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: Tensor, ratio: Tensor, low: int, high: int, binary: bool) -> Tensor:
        start = float(base)
        step = start * max(float(ratio), SMALLEST_RATIO)
        # Clamped first: what is negative on an unsigned grid is a plain 0, as after a ReLU.
        y = _signs(x).mul_(step) if binary else x.div(step).clamp_(low, high).round_().mul_(step)
        ctx.save_for_backward(x, y)
        # Both sides of +-1 get the width that they would have between neighbours: a gradient for |x| < 2 s.
        ctx.limits = (2 * low * step, 2 * high * step) if binary else (low * step, high * step)
        ctx.binary = binary
        features = x.numel() // max(1, x.shape[0])
        ctx.gradient_scale = 1 / (math.sqrt(max(1, features) * high) * step * start)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        gradient_x = torch.ops.aten.hardtanh_backward(gradient, x, *ctx.limits)
        gradient_ratio = None
        if ctx.needs_input_grad[2]:
            # sum of gradient * (q - v inside the bounds), times s: two dot products of tensors that are there already.
            total = _dot(gradient, y)
            if not ctx.binary:
                total = total - _dot(gradient_x, x)
            gradient_ratio = total * ctx.gradient_scale
        return gradient_x, None, gradient_ratio, None, None, None


class _Weights(Function):
    """One step per output channel."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, base: Tensor, ratio: Tensor, low: int, high: int) -> Tensor:
        step = _per_channel(base * ratio.clamp(min=SMALLEST_RATIO), weight)
        v = weight / step
        q = v.clamp(low, high).round_()
        ctx.save_for_backward(v, q, base)
        ctx.limits = (low, high)
        return q * step

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        v, q, base = ctx.saved_tensors
        low, high = ctx.limits
        gradient_weight = torch.ops.aten.hardtanh_backward(gradient, v, low, high)
        change = torch.mul(gradient, q).addcmul_(gradient_weight, v, value=-1)
        return gradient_weight, None, _ratio_gradient(change, base, high), None, None


class _Signs(Function):
    """Sign times step, one step per output channel."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, base: Tensor, ratio: Tensor) -> Tensor:
        step = _per_channel(base * ratio.clamp(min=SMALLEST_RATIO), weight)
        signs = _signs(weight)
        ctx.save_for_backward(signs, base)
        return signs * step

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        signs, base = ctx.saved_tensors
        return gradient, None, _ratio_gradient(gradient * signs, base, 1)


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


def _per_channel(values: Tensor, weight: Tensor) -> Tensor:
    return values.view(-1, *([1] * (weight.dim() - 1)))


def _ratio_gradient(change: Tensor, base: Tensor, high: int) -> Tensor:
    """LSQ's 1 / sqrt(weights * largest integer), and 1 / base, see the top. The weights of a channel share its step."""
    scale = 1 / math.sqrt(max(1, change.numel() // len(change)) * high)
    return change.flatten(1).sum(1).mul_(scale).div_(base)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a * b, read in the order that it lies in memory where both lie alike: one pass, nothing allocated."""
    if a.stride() == b.stride() and _is_dense(a):
        return torch.dot(_flat(a), _flat(b))
    return (a * b).sum()


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _flat(x: Tensor) -> Tensor:
    return x.as_strided((x.numel(),), (1,), x.storage_offset())
