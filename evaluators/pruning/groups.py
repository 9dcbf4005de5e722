"""Which filters can only go together: groups of channels, and their physical removal, by torch-pruning.

The outputs of layers that are added up have to lose the same channels, a depthwise convolution loses those of the layer
before it, and whatever reads a channel loses the weights that read it. torch-pruning (DepGraph, arXiv:2301.12900)
traces the network and finds all of that; this module is the only one that knows the library.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from evaluators.pruning.masks import is_masked
from evaluators.pruning.methods import PruningError
from models.blocks import PaddingShortcut


@dataclass(frozen=True)
class Member:
    """A layer's share in a group: its channel `channels[i]` goes when the group's channel `roots[i]` goes."""

    name: str
    layer: nn.Module
    channels: Tensor  # (k,) int64
    roots: Tensor  # (k,) int64

    def spread(self, values: Tensor, size: int) -> Tensor:
        """Values by channel of the layer -> sums by channel of the group, (size,)."""
        return torch.zeros(size, dtype=values.dtype).index_add_(0, self.roots, values.detach().cpu()[self.channels])


@dataclass(frozen=True)
class Group:
    """Channels that go together.

    Attributes:
        name: The first layer that makes these channels.
        channels: How many there are.
        filters: The convolutions whose filters make them (several where outputs are added up, or where a depthwise
            convolution follows).
        norms: The batch norms that they pass.
        readers: The convolutions and linear layers that read them.
    """

    name: str
    channels: int
    filters: tuple[Member, ...]
    norms: tuple[Member, ...]
    readers: tuple[Member, ...]


class _PaddingPruner:
    """Tells torch-pruning how a padding shortcut follows: its two sides are independent of each other.

    A channel that is removed before the shortcut is zero behind it, and one removed behind it is no longer passed.
    """

    pruning_dim = 1

    def prune_in_channels(self, layer: PaddingShortcut, channels: list[int]) -> PaddingShortcut:
        layer.remove_inputs(channels)
        return layer

    def prune_out_channels(self, layer: PaddingShortcut, channels: list[int]) -> PaddingShortcut:
        layer.remove_outputs(channels)
        return layer

    def get_in_channels(self, layer: PaddingShortcut) -> None:
        return None

    def get_out_channels(self, layer: PaddingShortcut) -> int:
        return len(layer.source)

    def get_in_channel_groups(self, layer: PaddingShortcut) -> int:
        return 1

    get_out_channel_groups = get_in_channel_groups


class Graph:
    """The groups of a network, in the network's order, for networks with one image input.

    Raises PruningError for a network with masks (filters first, then weights of what is left) and for one that has no
    filters to prune. The outputs of linear layers are never pruned.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int]) -> None:
        masked = [
            name for name, layer in network.named_modules() if is_masked(layer) or hasattr(layer, "stored_weights")
        ]
        if masked:
            raise PruningError(f"Filters must be pruned before single weights, but layer {masked[0]!r} has a mask.")
        self._names = {layer: name for name, layer in network.named_modules()}
        example = torch.zeros(2, *input_shape, device=next(network.parameters()).device)
        modes = [(layer, layer.training) for layer in network.modules()]
        gradients = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
        try:
            network.requires_grad_(True)  # the tracing follows the graph of gradients
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._graph = torch_pruning.DependencyGraph().build_dependency(
                    network, example, customized_pruners={PaddingShortcut: _PaddingPruner()}
                )
        finally:
            for layer, training in modes:
                layer.training = training
            for parameter, wanted in gradients:
                parameter.requires_grad_(wanted)
        self._roots: dict[str, nn.Module] = {}
        self._order = {name: index for index, name in enumerate(self._names.values())}
        found = self._graph.get_all_groups(ignored_layers=self._fixed(network), root_module_types=[nn.Conv2d])
        groups = [group for group in map(self._describe, found) if group is not None]
        self.groups = tuple(sorted(groups, key=lambda group: self._order[group.name]))
        if not self.groups:
            raise PruningError(f"{type(network).__name__} has nothing to prune: no filters.")

    @staticmethod
    def _fixed(network: nn.Module) -> list[nn.Module]:
        return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]

    def _describe(self, found: Any) -> Group | None:
        filters: list[Member] = []
        norms: list[Member] = []
        readers: list[Member] = []
        for item in found.items:
            dependency, layer = item.dep, item.dep.target.module
            if layer not in self._names:
                continue  # an addition or a concatenation, not a layer
            member = Member(self._names[layer], layer, torch.tensor(item.idxs), torch.tensor(item.root_idxs))
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                norms.append(member)
            elif isinstance(layer, nn.Conv2d) and self._graph.is_out_channel_pruning_fn(dependency.handler):
                filters.append(member)
            elif isinstance(layer, nn.Conv2d | nn.Linear):
                readers.append(member)
        if not filters:
            return None
        for members in (filters, norms, readers):
            members.sort(key=lambda member: self._order[member.name])
        first = filters[0].name
        root = found[0].dep.target.module
        self._roots[first] = root
        return Group(first, root.out_channels, tuple(filters), tuple(norms), tuple(readers))

    def remove(self, name: str, channels: Tensor) -> None:
        """Remove `channels` (int64, of those there now) of the group `name` from every layer that makes or reads them.

        Afterwards the channel numbers in `groups` are out of date; each group may be cut once.
        """
        if len(channels):
            root = self._roots[name]
            handler = self._graph.get_pruner_of_module(root).prune_out_channels
            self._graph.get_pruning_group(root, handler, sorted(channels.tolist())).prune()
