"""Convolutions as the networks use them: nn.Conv2d, with gradients of our own for depthwise ones on a CPU.

oneDNN's forward pass of a depthwise convolution is as fast as memory lets it be. Its gradients are not: with a stride
of 2 or a 5x5 kernel they fall back to loops that take up to fifty times as long (bfloat16; torch 2.14).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.kernels import library, pointers

_KERNELS = (1, 3, 5)


class Convolution(nn.Conv2d):
    """nn.Conv2d, the same in everything but the speed of its depthwise form when it is trained on a CPU."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None and self.training and _is_depthwise(self):
            x = input.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else input
            if _fits(x, weight):
                result: Tensor = _Depthwise.apply(x, weight, self.stride[0])
                return result
        plain: Tensor = super()._conv_forward(input, weight, bias)
        return plain


def _is_depthwise(layer: nn.Conv2d) -> bool:
    kernel, channels = layer.kernel_size[0], layer.in_channels
    return (
        channels == layer.out_channels == layer.groups > 1
        and kernel in _KERNELS
        and layer.kernel_size == (kernel, kernel)
        and layer.padding == (kernel // 2, kernel // 2)
        and layer.stride == (layer.stride[0], layer.stride[0])
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
    )


def _fits(x: Tensor, weight: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and weight.dtype == torch.float32
        and x.dim() == 4
        and x.shape[1] == weight.shape[0]
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
        and library() is not None
    )


class _Depthwise(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        kernel = weight.shape[2]
        y = torch.conv2d(x, weight.to(x.dtype), None, stride, kernel // 2, 1, len(weight))
        ctx.save_for_backward(x, weight.contiguous())
        ctx.stride = stride
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernels = library()
        assert kernels is not None
        x, weight = ctx.saved_tensors
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        gradient_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        gradient_weight = torch.empty_like(weight)
        shape = (*x.shape, weight.shape[2], ctx.stride)
        threads = torch.get_num_threads()
        room = torch.empty(kernels.slimfront_depthwise_room(*shape, threads))
        kernels.slimfront_depthwise_backward(
            *pointers(gradient, x, weight, gradient_x, gradient_weight),
            *shape,
            x.dtype == torch.bfloat16,
            room.data_ptr(),
            threads,
        )
        return gradient_x, gradient_weight, None
