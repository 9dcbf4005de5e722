"""Which filters can only go together: groups of channels, found by torch-pruning, and their physical removal.

The outputs of layers that are added up have to lose the same channels, a depthwise convolution loses those of the layer
before it, and whatever reads a channel loses the weights that read it. torch-pruning (DepGraph, arXiv:2301.12900)
traces the network and finds all of that; this module is the only one that knows the library. The removal is our own: it
cuts every tensor once, where torch-pruning walks its graph again for each group and cuts layer by layer.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_pruning
from slimfront.evaluators.pruning.cuts.checking import agreeing
from slimfront.evaluators.pruning.cuts.tolerance import tolerant
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.masks import is_masked
from slimfront.evaluators.pruning.structure import match_numbers
from slimfront.models.blocks import PaddingShortcut
from slimfront.models.network import architecture_of
from torch import Tensor, nn

_REMEMBERED = 30  # networks whose groups are kept: a search proposes the same architectures again and again
_known: OrderedDict[Hashable, tuple[tuple[Group, ...], dict[str, str]]] = OrderedDict()


@dataclass(frozen=True, eq=False)
class Member:
    """A layer's share in a group: its channel `channels[i]` goes when the group's channel `roots[i]` goes."""

    name: str
    channels: Tensor  # (k,) int64
    roots: Tensor  # (k,) int64

    def spread(self, values: Tensor, size: int) -> Tensor:
        """Values by channel of the layer -> sums by channel of the group, (size,)."""
        return torch.zeros(size, dtype=values.dtype).index_add_(0, self.roots, values.detach().cpu()[self.channels])


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that go together.

    Attributes:
        name: The first layer that makes these channels.
        channels: How many there are.
        filters: The convolutions whose filters make them (several where outputs are added up, or where a depthwise
            convolution follows).
        norms: The batch norms that they pass.
        readers: The convolutions and linear layers that read them.
        entering: The padding shortcuts that take them in.
        leaving: The padding shortcuts that hand them on. The two sides of one are independent of each other: a channel
            that is removed before it is zero behind it, and one removed behind it is no longer passed.
        size: Filters that each layer loses with one of the channels: more than one where a convolution in groups makes
            or reads them, whose groups go as a whole, with what is inside of them.
    """

    name: str
    channels: int
    filters: tuple[Member, ...]
    norms: tuple[Member, ...]
    readers: tuple[Member, ...]
    entering: tuple[Member, ...]
    leaving: tuple[Member, ...]
    size: int = field(default=1, kw_only=True)


# What torch-pruning raises where its rules do not fit a network.
_UNFOLLOWED = (PruningError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError)
_PARTS = ("filters", "norms", "readers", "entering", "leaving")


def find_groups(
    network: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    remember: bool = True,
    left: dict[str, str] | None = None,
) -> tuple[Group, ...]:
    """The groups of a network with one image input, in the network's order; the network is the same afterwards.

    The outputs of linear layers are in no group: they are never pruned.

    Args:
        network: Convolutions, batch norms, linear layers and padding shortcuts, and what has no channels of its own.
        input_shape: (channels, height, width) of an image.
        remember: Keep the answer for networks of the same make; of no use for one that is half pruned.
        left: Of a network that may hold anything: takes the layers that cannot be cut, and why. Every group is tried
            out then (`slimfront.evaluators.pruning.cuts`). None: one that cannot be cut is an error.

    Raises:
        PruningError: The network has masks (filters first, then weights of what is left), no filters that can go, or
            layers whose channels cannot be removed.
    """
    for name, layer in network.named_modules():
        if is_masked(layer) or hasattr(layer, "stored_weights"):
            raise PruningError(f"Filters must be pruned before single weights, but layer {name!r} has a mask.")
        if left is None and _is_uneven(layer):
            raise PruningError(_uneven(name, layer))
    if not remember or architecture_of(network) is None:
        return _found(network, input_shape, left)
    key = (input_shape, left is None, _structure(network))
    if key not in _known:
        noted: dict[str, str] | None = None if left is None else {}
        _known[key] = (_found(network, input_shape, noted), noted or {})
    _known.move_to_end(key)
    if len(_known) > _REMEMBERED:
        _known.popitem(last=False)
    groups, reasons = _known[key]
    if left is not None:
        left.update(reasons)
    return groups


def _found(network: nn.Module, input_shape: tuple[int, int, int], left: dict[str, str] | None) -> tuple[Group, ...]:
    """The groups, tried out where the network may hold anything."""
    if left is None:
        return _trace(network, input_shape)
    groups = agreeing(network, _trace(network, input_shape, left), input_shape, left)
    if not groups:
        why = "; ".join(f"{name}: {reason}" for name, reason in [*left.items()][:3])
        raise PruningError(f"{type(network).__name__} has no filters that can be removed: {why or 'no convolution'}.")
    return groups


def remove_channels(network: nn.Module, groups: Iterable[Group], gone: Mapping[str, Tensor]) -> None:
    """Remove channels from every layer that makes, passes or reads them.

    Args:
        network: Is cut in place; what is cut has new parameters afterwards.
        groups: Of the network as it is; out of date afterwards.
        gone: By name of a group: which of its channels (int64).
    """
    made: dict[str, list[int]] = defaultdict(list)
    read: dict[str, list[int]] = defaultdict(list)
    for group in groups:
        goes = torch.zeros(group.channels, dtype=torch.bool, device="cpu")
        goes[gone[group.name]] = True
        for member in (*group.filters, *group.norms, *group.leaving):
            made[member.name] += member.channels[goes[member.roots]].tolist()
        for member in (*group.readers, *group.entering):
            read[member.name] += member.channels[goes[member.roots]].tolist()
    for sides, tensors, dim in ((made, ("weight", "bias", "running_mean", "running_var"), 0), (read, ("weight",), 1)):
        for name, channels in sides.items():
            layer = network.get_submodule(name)
            if not isinstance(layer, PaddingShortcut):
                _cut(layer, tensors, dim, channels)
            elif dim == 0:
                layer.remove_outputs(channels)
            else:
                layer.remove_inputs(channels)


def _cut(layer: nn.Module, tensors: tuple[str, ...], dim: int, channels: list[int]) -> None:
    if not channels:
        return
    present = {name: tensor for name in tensors if (tensor := getattr(layer, name, None)) is not None}
    if not present:  # a batch norm without anything to learn or to keep
        return
    first = next(iter(present.values()))
    stays = torch.ones(first.shape[dim], dtype=torch.bool, device="cpu")
    stays[channels] = False
    kept = stays.nonzero().flatten().to(first.device)
    for name, tensor in present.items():
        smaller = tensor.detach().index_select(dim, kept)
        is_parameter = isinstance(tensor, nn.Parameter)
        setattr(layer, name, nn.Parameter(smaller, tensor.requires_grad) if is_parameter else smaller)
    match_numbers(layer)


def _structure(network: nn.Module) -> Hashable:
    """The same for two networks only if the same channels go together in both: kinds of layers, shapes, shortcuts."""
    return (
        architecture_of(network),
        tuple((name, type(layer)) for name, layer in network.named_modules()),
        tuple(tuple(tensor.shape) for tensor in network.state_dict().values()),
        tuple(tuple(layer.source.tolist()) for layer in network.modules() if isinstance(layer, PaddingShortcut)),
    )


class _PaddingSides:
    """Tells torch-pruning that a padding shortcut has two sides that do not follow each other; cuts nothing itself."""

    pruning_dim = 1

    def prune_in_channels(self, layer: PaddingShortcut, channels: list[int]) -> None:
        raise NotImplementedError("remove_channels cuts")

    def prune_out_channels(self, layer: PaddingShortcut, channels: list[int]) -> None:
        raise NotImplementedError("remove_channels cuts")

    def get_in_channels(self, layer: PaddingShortcut) -> None:
        return None

    def get_out_channels(self, layer: PaddingShortcut) -> int:
        return len(layer.source)

    def get_in_channel_groups(self, layer: PaddingShortcut) -> int:
        return 1

    get_out_channel_groups = get_in_channel_groups


def _trace(
    network: nn.Module, input_shape: tuple[int, int, int], left: dict[str, str] | None = None
) -> tuple[Group, ...]:
    example = torch.zeros(2, *input_shape, device=next(network.parameters()).device)
    modes = [(layer, layer.training) for layer in network.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.requires_grad_(True)  # the tracing follows the graph of gradients
        with torch.enable_grad(), warnings.catch_warnings(), nullcontext() if left is None else tolerant():
            warnings.simplefilter("ignore")
            graph = torch_pruning.DependencyGraph().build_dependency(
                network, example, customized_pruners={PaddingShortcut: _PaddingSides()}
            )
    finally:
        for layer, training in modes:
            layer.training = training
        for parameter, wanted in gradients:
            parameter.requires_grad_(wanted)
    names = {layer: name for name, layer in network.named_modules()}
    order = {name: index for index, name in enumerate(names.values())}
    convolutions = [layer for layer in graph.module2node if isinstance(layer, nn.Conv2d)]
    with nullcontext() if left is None else tolerant():  # the rules run again for every group
        described = [*_described(graph, convolutions, names, order, left)]
    groups = _joined(network, described, left)
    if not groups and left is None:
        raise PruningError(f"{type(network).__name__} has nothing to prune: no filters.")
    return tuple(sorted(groups, key=lambda group: order[group.name]))


def _described(
    graph: Any,
    convolutions: Iterable[nn.Conv2d],
    names: Mapping[nn.Module, str],
    order: Mapping[str, int],
    left: dict[str, str] | None,
) -> Iterator[Group]:
    """The groups of these convolutions' filters; where that is allowed, those that cannot be cut are left."""
    seen: set[nn.Module] = set()
    for layer in convolutions:
        if layer in seen:
            continue
        try:
            group = graph.get_pruning_group(
                layer, graph.get_pruner_of_module(layer).prune_out_channels, list(range(layer.out_channels))
            )
            described = _describe(graph, group, names, order)
        except _UNFOLLOWED as error:
            if left is None:
                raise
            told = (
                str(error).rstrip(".")
                if isinstance(error, PruningError)
                else f"torch-pruning cannot follow it ({type(error).__name__})"
            )
            left[names[layer]] = told
            continue
        makers = {item.dep.target.module for item in group.items if graph.is_out_channel_pruning_fn(item.dep.handler)}
        seen |= makers
        # Channels that a linear layer gives, too: they are outputs, or as good as.
        if not any(isinstance(maker, nn.Linear) for maker in makers):
            yield described


def _describe(graph: Any, found: Any, names: Mapping[nn.Module, str], order: Mapping[str, int]) -> Group:
    parts: dict[str, list[Member]] = defaultdict(list)
    for item in found.items:
        layer = item.dep.target.module
        if layer not in names and not isinstance(layer, nn.Parameter):
            continue  # an addition or a concatenation
        part = _part(layer, makes=graph.is_out_channel_pruning_fn(item.dep.handler))
        if part is not None:
            channels, roots = (torch.tensor(index, device="cpu") for index in (item.idxs, item.root_idxs))
            parts[part].append(Member(names[layer], channels, roots))
        elif isinstance(layer, nn.Parameter) or any(True for _ in layer.parameters()):
            name = names.get(layer, "a parameter")
            raise PruningError(f"{name!r} is a {type(layer).__name__}: its channels cannot be removed.")
    for members in parts.values():
        members.sort(key=lambda member: order[member.name])
    count = found[0].dep.target.module.out_channels
    for member in parts["filters"]:
        if sorted(member.roots.tolist()) != list(range(count)):
            raise PruningError(f"The filters of {member.name!r} are read in a way that cannot be pruned.")
    return Group(parts["filters"][0].name, count, *(tuple(parts[part]) for part in _PARTS))


def _joined(network: nn.Module, groups: list[Group], left: dict[str, str] | None) -> list[Group]:
    """What a convolution in groups reads goes with what it makes, a whole group of it at once."""
    if left is not None:
        groups = _without_uneven(network, groups, left)
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d) or layer.groups in (1, layer.in_channels):
            continue
        size = layer.in_channels // layer.groups
        before = next((group for group in groups if any(member.name == name for member in group.readers)), None)
        behind = next((group for group in groups if any(member.name == name for member in group.filters)), None)
        if before is None or behind is None or before is behind or (before.size, behind.size) != (1, 1):
            text = f"{name!r} is a convolution in groups, as another one beside it is: none can be cut."
            if left is None:
                raise PruningError(text)
            left |= {group.name: text.rstrip(".") for group in (before, behind) if group is not None}
            groups = [group for group in groups if group is not before and group is not behind]
            continue
        read = next(member for member in before.readers if member.name == name)
        made = next(member for member in behind.filters if member.name == name)
        parts = [
            tuple(
                Member(member.name, member.channels, _units(own, size)[member.roots])
                for group, own in ((before, read), (behind, made))
                for member in getattr(group, part)
                if not (part == "readers" and member.name == name)
            )
            for part in _PARTS
        ]
        groups = [group for group in groups if group is not before and group is not behind]
        groups.append(Group(before.name, layer.groups, *parts, size=size))
    return groups


def _is_uneven(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.in_channels != layer.out_channels


def _uneven(name: str, layer: nn.Module) -> str:
    return (
        f"{name!r} is a convolution in groups that has {layer.in_channels} channels before it and "
        f"{layer.out_channels} behind it: only where they are as many can it be pruned."
    )


def _without_uneven(network: nn.Module, groups: list[Group], left: dict[str, str]) -> list[Group]:
    """The groups in which no such convolution is."""
    uneven = {name: layer for name, layer in network.named_modules() if _is_uneven(layer)}
    for group in groups:
        name = next((member.name for member in (*group.filters, *group.readers) if member.name in uneven), None)
        if name is not None:
            left[group.name] = _uneven(name, uneven[name]).rstrip(".")
    return [group for group in groups if group.name not in left]


def _units(member: Member, size: int) -> Tensor:
    """By channel of a group, which group of the convolution it belongs to."""
    units = torch.empty_like(member.roots)
    units[member.roots] = member.channels // size
    return units


def _part(layer: nn.Module, makes: bool) -> str | None:
    """Which attribute of a group a layer belongs to; `makes` tells its outputs from its inputs."""
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return "norms"
    if isinstance(layer, PaddingShortcut):
        return "leaving" if makes else "entering"
    if isinstance(layer, nn.Conv2d) and makes:
        return "filters"
    return "readers" if isinstance(layer, nn.Conv2d | nn.Linear) else None
