"""Batch norm folded into the convolution before it: the same function in evaluation, with fewer numbers to store.

norm(conv(x)) = gamma / sqrt(variance + eps) * (conv(x) - mean) + beta is a convolution again: its filters are scaled by
gamma / sqrt(variance + eps), its bias is beta - mean times that scale (Jacob et al. 2017, arXiv:1712.05877, section
3.2). A norm whose input is not one convolution's output (a concatenation in a DenseNet) stays.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


class Folded(nn.Identity):
    """Where a batch norm was that the convolution before it has taken up."""


class FoldingError(ValueError):
    """A batch norm that cannot be folded."""


def foldable_pairs(network: nn.Module) -> dict[str, str]:
    """Names of the convolutions that a batch norm directly follows: {convolution: batch norm}.

    Blocks say so in their attribute `foldable`; in an `nn.Sequential` it is the next module, unless one of the two
    stands elsewhere, too. A norm that is folded already, or that keeps no running statistics, is not among them, and
    neither is a convolution whose weight another layer has, too: it would be scaled for both.
    """
    modules = dict(network.named_modules())
    places = Counter(module for _, module in network.named_modules(remove_duplicate=False))
    shared: set[nn.Module | None] = {module for module, count in places.items() if count > 1}
    held = Counter(id(parameter) for module in modules.values() for parameter in module._parameters.values())
    pairs = {}
    for name, module in modules.items():
        declared = list(getattr(module, "foldable", ()))
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            declared += [
                pair for pair in pairwise(module._modules) if shared.isdisjoint(map(module._modules.get, pair))
            ]
        for first, second in declared:
            conv, norm = (f"{name}.{child}" if name else child for child in (first, second))
            layer = modules.get(conv)
            if isinstance(layer, nn.Conv2d) and _is_foldable(modules.get(norm)) and held[id(layer.weight)] < 2:
                pairs[conv] = norm
    return pairs


def fold_batch_norm(network: AnyNetwork) -> AnyNetwork:
    """Fold every batch norm that directly follows a convolution, in place, and return the network.

    The folded norms become `Folded`, the convolutions have a bias. In evaluation mode the logits are the same up to
    rounding. Weights masked by `torch.nn.utils.prune` stay masked. A layer that has to do more than scale its weight
    (a quantizer's steps grow with the filters) offers a method `scale_filters(scale)`, which is called instead with the
    signed scale (outputs,).

    Raises:
        FoldingError: a convolution's weight is parametrized: remove the parametrization first.
    """
    pairs = foldable_pairs(network)
    for conv in pairs:
        if is_parametrized(network.get_submodule(conv)):
            raise FoldingError(f"{conv} is parametrized: remove its parametrization before folding batch norm.")
    for conv, norm in pairs.items():
        _fold(network.get_submodule(conv), network.get_submodule(norm))
        parent, _, child = norm.rpartition(".")
        setattr(network.get_submodule(parent), child, Folded())
    return network


def _is_foldable(module: nn.Module | None) -> bool:
    return isinstance(module, nn.BatchNorm2d) and module.running_mean is not None


@torch.no_grad()
def _fold(conv: nn.Module, norm: nn.Module) -> None:
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = torch.rsqrt(variance.double() + norm.eps)  # (outputs,), in double: one rounding instead of four
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -mean.double() * scale
    if norm.affine:
        shift = shift + norm.bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    scale_filters = getattr(conv, "scale_filters", None)
    if scale_filters is not None:
        scale_filters(scale.to(conv.weight.dtype))
    else:
        masked = hasattr(conv, "weight_mask")
        weight: Tensor = conv.weight_orig if masked else conv.weight  # type: ignore[assignment]
        weight.copy_(weight.double() * scale.view(-1, 1, 1, 1))
        if masked:
            # The mask is applied anew at every forward pass; until then, too, the weight should be the folded one.
            conv.weight = weight * conv.weight_mask  # type: ignore[operator]
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype), requires_grad=norm.affine)
