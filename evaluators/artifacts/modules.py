"""Networks that are nothing but torch's own modules in a row: described in plain words, and built from them.

Such a network needs no code of anybody's: its file can be loaded everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slimfront.evaluators.artifacts.container import TamperedError
from slimfront.models.folding import Folded
from slimfront.models.kernels.convolution import Convolution
from slimfront.models.quantization.quantizers import QuantConv2d, QuantLinear
from torch import nn

_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_NORM = ("num_features", "eps")
_DEEPEST, _MOST, _LONGEST = 20, 10_000, 100  # modules in modules; modules in all; characters of a name

# By the exact type: what its constructor is told, as the attributes that it keeps it in.
_KNOWN: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: _CONVOLUTION,
    nn.Linear: ("in_features", "out_features"),
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.AdaptiveMaxPool2d: ("output_size",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Dropout: ("p",),
    nn.Dropout2d: ("p",),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.GELU: ("approximate",),
    nn.Softplus: ("beta", "threshold"),
    nn.PReLU: ("num_parameters",),
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid), ()),
    nn.Identity: (),
}
_BY_NAME = {kind.__name__: kind for kind in _KNOWN}
_PLAIN: Mapping[type[nn.Module], type[nn.Module]] = {
    QuantConv2d: nn.Conv2d,
    QuantLinear: nn.Linear,
    Convolution: nn.Conv2d,
    Folded: nn.Identity,
}


def described(module: nn.Module) -> dict[str, Any] | None:
    """A tree of `nn.Sequential` with known modules in it; None: there is something else."""
    if type(module) is nn.Sequential:
        if module._forward_hooks or len(set(module._modules.values())) < len(module._modules):
            return None
        children = {name: described(child) for name, child in module._modules.items() if child is not None}
        return None if None in children.values() else {"Sequential": children}
    kind = _PLAIN.get(type(module), type(module))
    if kind not in _KNOWN:
        return None
    told = {name: getattr(module, name) for name in _KNOWN[kind]}
    if kind in (nn.Conv2d, nn.Linear):
        told["bias"] = module.bias is not None
    return {kind.__name__: {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}}


def built(structure: object, depth: int = 0) -> nn.Module:
    """The inverse of `described`, with fresh weights, on the default device. Raises TamperedError."""
    if not isinstance(structure, dict) or len(structure) != 1 or depth > _DEEPEST:
        raise TamperedError("its structure is not described as one of ours.")
    ((name, told),) = structure.items()
    if not isinstance(told, dict) or len(told) > _MOST:
        raise TamperedError("its structure is not described as one of ours.")
    if name == "Sequential":
        network = nn.Sequential()
        for child, inner in told.items():
            if not child.isidentifier() and not child.isdecimal():
                raise TamperedError(f"its structure has a module {child[:_LONGEST]!r}.")
            network.add_module(child, built(inner, depth + 1))
        return network
    kind = _BY_NAME.get(name)
    if kind is None or not set(told) <= {*_KNOWN[kind], "bias"}:
        raise TamperedError(f"its structure has a module {name[:_LONGEST]!r}, which is not known.")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in told.items()})
    except Exception as error:  # whatever torch raises for numbers that a module cannot have
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise TamperedError(f"its structure has an impossible {name}: {text}.") from None
