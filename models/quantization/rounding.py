"""Rounding to a grid and its gradient, without autograd: in compiled kernels on a CPU, in torch operations elsewhere.

Both give the same values bit for bit; only the sums for a step's gradient are added in another order. v = x / step is
clamped to low..high and rounded half to even. Activations may be bfloat16: they are computed with as float32 all the
same, and only the result is rounded.
"""

from __future__ import annotations

import torch
from slimfront.models.kernels.guard import kernels_serve
from slimfront.models.kernels.library import compiled, pointers
from torch import Tensor


def round_tensor(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """round(clamp(x / step, low, high)) * step, of the shape and type of `x`; `step` is a scalar () of float32.

    Clamped first: what is negative on an unsigned grid is a plain 0, as after a ReLU.
    """
    if not kernels_serve(x):
        return _rounded(x, step, low, high)
    y = torch.empty_like(x)
    half, threads = x.dtype == torch.bfloat16, torch.get_num_threads()
    compiled().slimfront_round(*pointers(x, y), x.numel(), half, float(step), low, high, threads)
    return y


def round_tensor_backward(gradient: Tensor, x: Tensor, step: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Gradients of `round_tensor` of x, of its shape and type, and of the step, ()."""
    if not kernels_serve(x):
        gradient_x, change = _rounded_backward(gradient, x, step, low, high)
        return gradient_x, change.sum()
    gradient = _laid_out_as(gradient, x)
    gradient_x = torch.empty_like(x)
    half, threads = x.dtype == torch.bfloat16, torch.get_num_threads()
    total = compiled().slimfront_round_backward(
        *pointers(gradient, x, gradient_x), x.numel(), half, float(step), low, high, threads
    )
    return gradient_x, torch.tensor(total, dtype=step.dtype)


def round_rows(x: Tensor, steps: Tensor, low: int, high: int) -> Tensor:
    """`round_tensor` of every x[i] with its own steps[i]; `x` is (rows, ...), `steps` (rows,)."""
    if not kernels_serve(x, x):
        return _rounded(x, _columns(steps, x), low, high)
    y, steps = torch.empty_like(x), steps.contiguous()
    rows = x.shape[0]
    compiled().slimfront_round_rows(
        x.data_ptr(), y.data_ptr(), rows, x.numel() // max(1, rows), steps.data_ptr(), low, high
    )
    return y


def round_rows_backward(gradient: Tensor, x: Tensor, steps: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Gradients of `round_rows`: of x, of its shape, and of the steps, (rows,)."""
    if not kernels_serve(x, x):
        gradient_x, change = _rounded_backward(gradient, x, _columns(steps, x), low, high)
        return gradient_x, change.flatten(1).sum(1)
    gradient, steps = _laid_out_as(gradient, x), steps.contiguous()
    gradient_x, totals = torch.empty_like(x), torch.empty_like(steps)
    rows = x.shape[0]
    pointers = (gradient.data_ptr(), x.data_ptr(), gradient_x.data_ptr())
    compiled().slimfront_round_rows_backward(
        *pointers, rows, x.numel() // max(1, rows), steps.data_ptr(), low, high, totals.data_ptr()
    )
    return gradient_x, totals


def _rounded(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """In float32, whatever the type of `x`; the host does not wait for the device."""
    return _wide(x).div(step).clamp_(low, high).round_().mul_(step).to(x.dtype)


def _rounded_backward(gradient: Tensor, x: Tensor, step: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """The gradient of x, and what every number adds to that of its step."""
    v = _wide(x) / step
    wide = gradient.to(v.dtype)
    gradient_x = torch.ops.aten.hardtanh_backward(wide, v, low, high)
    change = v.clamp(low, high).round_().mul_(wide).addcmul_(gradient_x, v, value=-1)
    return gradient_x.to(x.dtype), change


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _columns(steps: Tensor, x: Tensor) -> Tensor:
    return steps.view(-1, *([1] * (x.dim() - 1)))


def _laid_out_as(gradient: Tensor, x: Tensor) -> Tensor:
    """`gradient` in the type and memory order of `x`."""
    if gradient.stride() == x.stride() and gradient.dtype == x.dtype:
        return gradient
    return torch.empty_like(x).copy_(gradient)
