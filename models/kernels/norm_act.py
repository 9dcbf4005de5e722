"""Batch norm, sum with a shortcut, ReLU: as one operation in training on a CPU, as the modules they are elsewhere.

A small network's training step on a CPU is bound by memory traffic. As operations of their own, norm, sum and
activation read or write a tensor sixteen times in a step; the kernels of `norm_act.c` do it eight times, and keep
nothing for the backward pass but what the convolutions around keep anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from slimfront.models.kernels.guard import is_channels_last, kernels_serve
from slimfront.models.kernels.library import compiled, pointers
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

SLICES = 32  # sums are taken slice by slice, whatever the number of threads
MOST_CHANNELS = 8192  # rows of numbers lie on the stack


def norm_act(x: Tensor, norm: nn.Module, act: nn.Module, shortcut: Tensor | None = None) -> Tensor:
    """`act(norm(x) + shortcut)`, (N, C, H, W) -> the same shape.

    Args:
        x: What is normalised.
        norm: A batch norm, or whatever stands in its place.
        act: A ReLU, or whatever stands in its place.
        shortcut: Of the shape of `x`; None: nothing is added.
    """
    if _fits(x, norm, act):
        if shortcut is not None:
            shortcut = shortcut.to(x.dtype).contiguous(memory_format=torch.channels_last)
        return _fused(x, norm, isinstance(act, nn.ReLU), shortcut)  # type: ignore[arg-type]
    out = norm(x)
    result: Tensor = act(out if shortcut is None else out + shortcut)
    return result


def _fits(x: Tensor, norm: nn.Module, act: nn.Module) -> bool:
    """Whether the kernels compute the same: in training, with plain modules."""
    return (
        norm.training
        and torch.is_grad_enabled()
        and type(norm) is nn.BatchNorm2d
        and type(act) in (nn.ReLU, nn.Identity)
        and norm.affine
        and norm.running_mean is not None
        and norm.momentum is not None
        and kernels_serve(x, replaced=(norm, act))
        and norm.weight.dtype == torch.float32  # asked for last: a tracer notes whoever looks at a weight
        and is_channels_last(x)
        and x.shape[1] <= MOST_CHANNELS
        and x.numel() > x.shape[1]  # of one value there is no variance: the module says so
    )


def _fused(x: Tensor, norm: nn.BatchNorm2d, relu: bool, shortcut: Tensor | None) -> Tensor:
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    result: Tensor = _NormAct.apply(
        x, shortcut, norm.weight, norm.bias, norm.running_mean, norm.running_var, relu, norm.eps, norm.momentum
    )
    return result


class _NormAct(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_variance: Tensor,
        relu: bool,
        eps: float,
        momentum: float,
    ) -> Tensor:
        kernels = compiled()
        channels = x.shape[1]
        y = torch.empty_like(x)
        mean, inverse = torch.empty(2, channels).unbind()
        sums = _sums(channels)
        kernels.slimfront_norm_act(
            *pointers(x, shortcut, y),
            *_shape(x),
            *pointers(weight, bias),
            relu,
            eps,
            momentum,
            *pointers(mean, inverse, running_mean, running_variance, sums),
            SLICES,
            torch.get_num_threads(),
        )
        ctx.relu, ctx.has_shortcut = relu, shortcut is not None
        # Where ReLU cut off can be told from x alone, unless a shortcut was added.
        ctx.save_for_backward(x, y if relu and shortcut is not None else None, weight, bias, mean, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernels = compiled()
        x, y, weight, bias, mean, inverse = ctx.saved_tensors
        channels = x.shape[1]
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        gradient_x = torch.empty_like(x)
        passed = torch.empty_like(x) if y is not None else None
        gradient_weight, gradient_bias = torch.empty_like(weight), torch.empty_like(bias)
        sums = _sums(channels)
        kernels.slimfront_norm_act_backward(
            *pointers(gradient, x, y, passed, gradient_x),
            *_shape(x),
            *pointers(weight, bias),
            ctx.relu,
            *pointers(mean, inverse, gradient_weight, gradient_bias, sums),
            SLICES,
            torch.get_num_threads(),
        )
        gradient_shortcut = (passed if passed is not None else gradient) if ctx.has_shortcut else None
        return gradient_x, gradient_shortcut, gradient_weight, gradient_bias, None, None, None, None, None


def _sums(channels: int) -> Tensor:
    return torch.zeros(SLICES * 2 * channels, dtype=torch.float64)


def _shape(x: Tensor) -> tuple[int, int, bool]:
    """Rows, channels, and whether numbers are bfloat16."""
    return x.numel() // x.shape[1], x.shape[1], x.dtype == torch.bfloat16
