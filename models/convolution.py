"""Convolutions as the networks use them: nn.Conv2d, with gradients of our own where torch's are slow on a CPU.

Forward, oneDNN is as fast as the machine lets it be. Back, it is not (torch 2.14):

* Gradients of depthwise convolutions with a stride of 2 or a 5x5 kernel fall back to loops that take up to fifty times
  as long in bfloat16 (`depthwise.c`).
* Gradients of weights in bfloat16 reach half of the forward pass's speed where the channels do not fill whole vectors
  (`weight_gradient.c`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.kernels import has_weight_gradient, library, pointers

_KERNELS = (1, 3, 5)
_FEWEST_CHANNELS, _LARGEST_WEIGHT = 8, 2**18  # outside, oneDNN is faster


class Convolution(nn.Conv2d):
    """nn.Conv2d, the same in everything but the speed of its training on a CPU."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        function = _gradients(self) if bias is None and self.training else None
        if function is not None:
            x = input.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else input
            if _fits(x, weight) and (function is _Depthwise or x.dtype == torch.bfloat16):
                result: Tensor = function.apply(x, weight, self.stride[0])
                return result
        plain: Tensor = super()._conv_forward(input, weight, bias)
        return plain


def _gradients(layer: nn.Conv2d) -> type[Function] | None:
    """What computes the gradients of this layer, None: torch."""
    if not _is_square(layer):
        return None
    kernel, channels, outputs = layer.kernel_size[0], layer.in_channels, layer.out_channels
    if channels == outputs == layer.groups > 1 and kernel in _KERNELS:
        return _Depthwise
    whole = layer.groups == 1 and kernel > 1 and channels >= _FEWEST_CHANNELS
    if whole and channels * outputs * kernel**2 <= _LARGEST_WEIGHT and has_weight_gradient():
        return _Whole
    return None


def _is_square(layer: nn.Conv2d) -> bool:
    """Whether all is the same in both directions, and padded by half of an odd kernel."""
    kernel = layer.kernel_size[0]
    return (
        kernel % 2 == 1
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
        and x.shape[0] > 0
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


class _Whole(Function):
    """A convolution of all channels in bfloat16; the gradient of its weight is float32, and never rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return torch.conv2d(x, weight, None, stride, weight.shape[2] // 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernels = library()
        assert kernels is not None
        x, weight = ctx.saved_tensors
        kernel, stride = weight.shape[2], ctx.stride
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        gradient_x = None
        if ctx.needs_input_grad[0]:
            rest = ([stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], 1, [True, False, False])
            gradient_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *rest)[0]
        gradient_weight = torch.empty_like(weight, dtype=torch.float32, memory_format=torch.channels_last)
        images, channels, height, width = x.shape
        shape = (channels, len(weight), height, width, kernel, stride)
        threads = torch.get_num_threads()
        room = torch.empty(kernels.slimfront_weight_gradient_room(*shape, threads))
        kernels.slimfront_weight_gradient(
            *pointers(gradient, x, gradient_weight), images, *shape, room.data_ptr(), threads
        )
        return gradient_x, gradient_weight, None
