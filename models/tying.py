"""Tied parameters: one tensor that several modules hold, such as the weight of two convolutions.

A network keeps them tied as long as it is what its owner made. Compression gives every layer filters, a mask and a grid
of its own, so it unties them first.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from slimfront.models.network import weight_layers
from torch import nn


def ties(network: nn.Module) -> dict[str, str]:
    """Names of parameters that are another's tensor, with the name of that: a layer's weight before all others."""
    layers = set(weight_layers(network).values())
    owners: dict[int, str] = {}
    for of_layers in (True, False):
        for name, module, key, parameter in _parameters(network):
            if of_layers == (module in layers and key == "weight"):
                owners.setdefault(id(parameter), name)
    return {
        name: owners[id(parameter)] for name, _, _, parameter in _parameters(network) if owners[id(parameter)] != name
    }


def untie(network: nn.Module, keep: Container[str] = ()) -> dict[str, str]:
    """Give tied parameters tensors of their own, in place, but for those in `keep`; returns the `ties` that were."""
    found = {name: owner for name, owner in ties(network).items() if name not in keep}
    for name, module, key, parameter in list(_parameters(network)):
        if name in found:
            setattr(module, key, nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad))
    return found


def tie(network: nn.Module, wanted: dict[str, str]) -> None:
    """The inverse. Raises ValueError where there are no such parameters, or none of one shape."""
    places = {name: (module, key, parameter) for name, module, key, parameter in _parameters(network)}
    for name, owner in wanted.items():
        if name not in places or owner not in places or owner in wanted:
            raise ValueError(f"{name[:100]!r} and {owner[:100]!r} are no parameters to tie.")
        module, key, parameter = places[name]
        if parameter.shape != places[owner][2].shape:
            raise ValueError(f"{name[:100]!r} and {owner[:100]!r} differ in shape.")
        setattr(module, key, places[owner][2])


def _parameters(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """(name, module, its attribute, parameter) of every module's own, a shared module once."""
    for name, module in network.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                yield f"{name}.{key}" if name else key, module, key, parameter
