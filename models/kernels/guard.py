"""When the kernels serve: one question that every operator asks before it computes.

device    everything lies on the CPU
dtype     numbers are float32 or bfloat16, parameters are float32
layout    numbers lie in memory without gaps
tracing   nobody records the operations (torch.compile, torch.jit.trace, torch.fx, tensor subclasses)
hooks     nobody watches the modules whose forward pass the kernel would take the place of
switch    the library could be compiled, and is not switched off (SLIMFRONT_KERNELS=0)

Where one of them does not hold, the torch operations run, which are the definition. What a kernel asks for beyond this,
such as a size, its operator checks itself.
"""

from __future__ import annotations

import torch
from slimfront.models.kernels.library import library
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)
_DTYPES = (torch.float32, torch.bfloat16)


def kernels_serve(x: Tensor, *parameters: Tensor, replaced: tuple[nn.Module, ...] = ()) -> bool:
    """Whether the kernels may compute on `x` with `parameters`, in place of the modules `replaced`."""
    return (
        type(x) in _PLAIN  # first of all: the proxies of a tracer answer no question
        and x.dtype in _DTYPES
        and x.device.type == "cpu"
        and all(parameter.dtype == torch.float32 and parameter.device.type == "cpu" for parameter in parameters)
        and (x.is_contiguous() or is_channels_last(x))
        and not any(module._forward_hooks or module._forward_pre_hooks for module in replaced)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and library() is not None
    )


def is_channels_last(x: Tensor) -> bool:
    """Whether `x` is (N, C, H, W) and the channels of a position lie side by side in memory."""
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
