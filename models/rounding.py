"""Rounding to a grid and its gradient, without autograd: in compiled kernels on a CPU, in torch operations elsewhere.

Both give the same values bit for bit; only the sums for a step's gradient are added in another order. v = x / step is
clamped to low..high and rounded half to even.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.kernels import library


def round_tensor(x: Tensor, step: float, low: int, high: int) -> Tensor:
    """round(clamp(x / step, low, high)) * step, of the shape of `x`.

    Clamped first: what is negative on an unsigned grid is a plain 0, as after a ReLU.
    """
    kernels = library() if _fits(x) else None
    if kernels is None:
        return x.div(step).clamp_(low, high).round_().mul_(step)
    y = torch.empty_like(x)
    kernels.slimfront_round(x.data_ptr(), y.data_ptr(), x.numel(), step, low, high, torch.get_num_threads())
    return y


def round_tensor_backward(
    gradient: Tensor, x: Tensor, y: Tensor, step: float, low: int, high: int
) -> tuple[Tensor, Tensor]:
    """Gradients of `round_tensor` of x, of its shape, and of the step, ().

    Args:
        gradient: Of the result.
        x: The argument.
        y: The result.
        step: As before.
        low: As before.
        high: As before.
    """
    kernels = library() if _fits(x) else None
    if kernels is None:
        gradient_x = torch.ops.aten.hardtanh_backward(gradient, x, low * step, high * step)
        # sum of gradient * (q - v inside the bounds), times step: dot products of tensors that are there already.
        return gradient_x, (_dot(gradient, y) - _dot(gradient_x, x)) / step
    gradient = _laid_out_as(gradient, x)
    gradient_x = torch.empty_like(x)
    threads = torch.get_num_threads()
    total = kernels.slimfront_round_backward(
        gradient.data_ptr(), x.data_ptr(), gradient_x.data_ptr(), x.numel(), step, low, high, threads
    )
    return gradient_x, torch.tensor(total, dtype=x.dtype)


def round_rows(x: Tensor, steps: Tensor, low: int, high: int) -> Tensor:
    """`round_tensor` of every x[i] with its own steps[i]; `x` is (rows, ...), `steps` (rows,)."""
    kernels = library() if _fits(x) else None
    if kernels is None:
        columns = steps.view(-1, *([1] * (x.dim() - 1)))
        return x.div(columns).clamp_(low, high).round_().mul_(columns)
    y, steps = torch.empty_like(x), steps.contiguous()
    rows = x.shape[0]
    kernels.slimfront_round_rows(
        x.data_ptr(), y.data_ptr(), rows, x.numel() // max(1, rows), steps.data_ptr(), low, high
    )
    return y


def round_rows_backward(gradient: Tensor, x: Tensor, steps: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Gradients of `round_rows`: of x, of its shape, and of the steps, (rows,)."""
    kernels = library() if _fits(x) else None
    if kernels is None:
        v = x / steps.view(-1, *([1] * (x.dim() - 1)))
        gradient_x = torch.ops.aten.hardtanh_backward(gradient, v, low, high)
        change = v.clamp(low, high).round_().mul_(gradient).addcmul_(gradient_x, v, value=-1)
        return gradient_x, change.flatten(1).sum(1)
    gradient, steps = _laid_out_as(gradient, x), steps.contiguous()
    gradient_x, totals = torch.empty_like(x), torch.empty_like(steps)
    rows = x.shape[0]
    pointers = (gradient.data_ptr(), x.data_ptr(), gradient_x.data_ptr())
    kernels.slimfront_round_rows_backward(
        *pointers, rows, x.numel() // max(1, rows), steps.data_ptr(), low, high, totals.data_ptr()
    )
    return gradient_x, totals


def _fits(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and _is_dense(x)


def _is_dense(x: Tensor) -> bool:
    """Without gaps, the first dimension outermost."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _laid_out_as(gradient: Tensor, x: Tensor) -> Tensor:
    """`gradient` in the type and memory order of `x`."""
    if gradient.stride() == x.stride() and gradient.dtype == x.dtype:
        return gradient
    return torch.empty_like(x).copy_(gradient)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a * b, read in the order that it lies in memory where both lie alike: one pass, nothing allocated."""
    if a.stride() == b.stride() and _is_dense(a):
        return torch.dot(_flat(a), _flat(b))
    return (a * b).sum()


def _flat(x: Tensor) -> Tensor:
    return x.as_strided((x.numel(),), (1,), x.storage_offset())
