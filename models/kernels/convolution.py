"""Convolutions as the networks use them: nn.Conv2d, trained by kernels of our own where torch's are slow on a CPU.

oneDNN multiplies about as fast forward as the machine lets it. But (torch 2.14):

* In float32 it multiplies every weight with every position. For 3x3 kernels a quarter of the multiplications is enough
  (`winograd.c`).
* Gradients of depthwise convolutions with a stride of 2 or a 5x5 kernel fall back to loops that take up to fifty times
  as long in bfloat16 (`depthwise.c`).
* Gradients of weights in bfloat16 reach half of the forward pass's speed where the channels do not fill whole vectors
  (`weight_gradient.c`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from slimfront.models.kernels.guard import is_channels_last, kernels_serve
from slimfront.models.kernels.library import compiled, has_weight_gradient, has_winograd, pointers
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_KERNELS = (1, 3, 5)
_FEWEST_CHANNELS = 8  # below, oneDNN is faster
_LARGEST_WEIGHT = 2**18  # in bfloat16; above, oneDNN is faster
_TILE, _LEAST_FILLED = 4, 0.5  # of winograd.c: its side, and the share of the tiles that has to lie in the image


class Convolution(nn.Conv2d):
    """nn.Conv2d, the same but for the speed of its training on a CPU, the last digits, and second derivatives.

    Attributes:
        exact: Whether torch computes it outside of training, so that no accuracy that is reported depends on our
            kernels. False: they compute it wherever no gradient is asked for, too (see `quick_answers`).
    """

    exact = True

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wanted = self.training if torch.is_grad_enabled() else not self.exact
        if wanted and bias is None and _fits(self, input, weight):
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
            function = _function(self, input, dtype)
            if function is not None:
                result: Tensor = function.apply(input.to(dtype), weight, self.stride[0])
                return result
        plain: Tensor = super()._conv_forward(input, weight, bias)
        return plain


@contextlib.contextmanager
def quick_answers(network: nn.Module) -> Iterator[None]:
    """Within the block the convolutions of `network` are not `exact`, and as quick without gradients as in training.

    For answers whose last digits do not matter: a teacher's, and an accuracy that only guides early stopping.
    """
    layers = [module for module in network.modules() if isinstance(module, Convolution) and module.exact]
    for layer in layers:
        layer.exact = False
    try:
        yield
    finally:
        for layer in layers:
            layer.exact = True


def _function(layer: nn.Conv2d, x: Tensor, dtype: torch.dtype) -> type[Function] | None:
    """What computes a layer that fits in `dtype`; None: torch."""
    kernel, channels, outputs = layer.kernel_size[0], layer.in_channels, layer.out_channels
    if channels == outputs == layer.groups > 1 and kernel in _KERNELS:
        return _Depthwise
    if layer.groups > 1 or kernel == 1 or channels < _FEWEST_CHANNELS:
        return None
    if dtype == torch.bfloat16:
        fits = channels * outputs * kernel**2 <= _LARGEST_WEIGHT and has_weight_gradient()
        return _Whole if fits else None
    tiles = -(-x.shape[2] // _TILE) * -(-x.shape[3] // _TILE)
    filled = x.shape[2] * x.shape[3] >= _LEAST_FILLED * tiles * _TILE**2
    fits = kernel == 3 and layer.stride[0] == 1 and outputs >= _FEWEST_CHANNELS and dtype == torch.float32
    return _Winograd if fits and filled and has_winograd() else None


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


def _fits(layer: nn.Conv2d, x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels could compute the layer; what is wrong with x or weight otherwise, torch says."""
    return (
        _is_square(layer)
        and kernels_serve(x, weight)
        and is_channels_last(x)
        and x.numel() > 0
        and x.shape[1] == layer.in_channels
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
        kernels = compiled()
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
        kernels = compiled()
        x, weight = ctx.saved_tensors
        kernel, stride = weight.shape[2], ctx.stride
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        gradient_x = None
        if ctx.needs_input_grad[0]:
            rest = ([stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], 1, [True, False, False])
            gradient_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *rest)[0]
        if not ctx.needs_input_grad[1]:
            return gradient_x, None, None
        gradient_weight = torch.empty_like(weight, dtype=torch.float32, memory_format=torch.channels_last)
        images, channels, height, width = x.shape
        shape = (channels, len(weight), height, width, kernel, stride)
        threads = torch.get_num_threads()
        room = torch.empty(kernels.slimfront_weight_gradient_room(*shape, threads))
        kernels.slimfront_weight_gradient(
            *pointers(gradient, x, gradient_weight), images, *shape, room.data_ptr(), threads
        )
        return gradient_x, gradient_weight, None


class _Winograd(Function):
    """A convolution of all channels, 3x3 with a stride of 1, in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        weight = weight.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        shape = (x.shape[0], len(weight), *x.shape[2:])
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        _winograd(x, weight, y, turned=False)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernels = compiled()
        x, weight = ctx.saved_tensors
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        gradient_x = None
        if ctx.needs_input_grad[0]:
            gradient_x = torch.empty_like(x)
            _winograd(gradient, weight, gradient_x, turned=True)
        if not ctx.needs_input_grad[1]:
            return gradient_x, None, None
        gradient_weight = torch.empty_like(weight)
        images, channels, height, width = x.shape
        shape = (images, channels, len(weight), height, width)
        threads = torch.get_num_threads()
        room = torch.empty(kernels.slimfront_winograd_gradient_room(*shape, threads))
        kernels.slimfront_winograd_gradient(*pointers(gradient, x, gradient_weight), *shape, room.data_ptr(), threads)
        return gradient_x, gradient_weight, None


def _winograd(x: Tensor, weight: Tensor, y: Tensor, *, turned: bool) -> None:
    """Writes y, or where the kernel is turned the gradient of what x is the gradient of."""
    kernels = compiled()
    outputs, channels, threads = len(weight), weight.shape[1], torch.get_num_threads()
    room = torch.empty(kernels.slimfront_winograd_room(channels, outputs, turned, threads))
    shape = (len(x), channels, outputs, *x.shape[2:])
    kernels.slimfront_winograd(*pointers(x, weight, y), *shape, turned, room.data_ptr(), threads)
