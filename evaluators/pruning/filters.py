"""Structured pruning: whole filters are removed physically, so that weights and multiply-adds really fall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from slimfront.evaluators.pruning.cuts.checking import confirmed
from slimfront.evaluators.pruning.groups import Group, find_groups, remove_channels
from slimfront.evaluators.pruning.importance import Sample, filter_importance
from slimfront.evaluators.pruning.report import Report, compare, rounded
from slimfront.evaluators.pruning.schedules import layer_ratios, share_gone
from slimfront.models.network import is_known
from slimfront.spaces.candidate import Sparsity
from slimfront.spaces.criteria import criterion_named
from torch import Tensor, nn

Filters = dict[str, dict[str, int]]  # group, by its first layer -> layer -> number of filters


class FilterCutter:
    """Cuts filters: counts from the beginning of the phase, ratios by group."""

    def __init__(self, network: nn.Module, step: Sparsity, sample: Sample, seed: int) -> None:
        self._network, self._step, self._sample, self._seed = network, step, sample, seed
        channels, height, width = sample.inputs.shape[1:]
        self._shape = (channels, height, width)
        # Layers that cannot be cut, and why; None: every block is the product's own, and nothing need be tried.
        self._left: dict[str, str] | None = None if is_known(network) else {}
        found = find_groups(network, self._shape, left=self._left)
        self._groups: tuple[Group, ...] | None = found  # of the network as it is now
        self._before = find_filters(network, found)
        self._sizes = {group.name: group.size for group in found}
        self.ratios = layer_ratios(step, list(self._before))

    def cut(self, progress: float, only: str | None = None) -> None:
        """Remove as much as the schedule says at `progress`."""
        ratios = {
            name: share_gone(self._step.schedule, ratio, progress)
            for name, ratio in self.ratios.items()
            if only in (None, name)
        }
        groups = self._groups or find_groups(self._network, self._shape, remember=False, left=self._left)
        self._groups = None
        remove_filters(self._network, self._step, ratios, self._before, groups, self._sample, self._seed, self._left)

    def report(self) -> Report:
        """Before and now."""
        before = {layer: count for layers in self._before.values() for layer, count in layers.items()}
        ratios = {layer: self.ratios[group] for group, layers in self._before.items() for layer in layers}
        after = count_filters(self._network, before)
        lump = max(len(layers) * self._sizes[name] for name, layers in self._before.items())
        by_layer, size = self._step.scope != "global", max(self._sizes.values())
        report = compare("filters", before, after, ratios, by_layer=by_layer, lump=lump, size=size)
        return report if self._left is None else replace(report, left=dict(self._left))


def find_filters(network: nn.Module, groups: Iterable[Group]) -> Filters:
    """Which filters there are and which can only go together, in the network's order."""
    return {group.name: count_filters(network, (member.name for member in group.filters)) for group in groups}


def count_filters(network: nn.Module, layers: Iterable[str]) -> dict[str, int]:
    """Filters that the named layers have now."""
    return {name: len(network.get_submodule(name).get_parameter("weight")) for name in layers}


def remove_filters(
    network: nn.Module,
    step: Sparsity,
    ratios: Mapping[str, float],
    before: Filters,
    groups: Iterable[Group],
    sample: Sample,
    seed: int,
    left: dict[str, str] | None = None,
) -> None:
    """Remove the least important filters until `ratios` of those that were there `before` are gone.

    Every group of filters that go together keeps at least one; the outputs of linear layers are never pruned.

    Args:
        network: Is cut in place; its parameters are new objects afterwards, so optimizers have to be made anew.
        step: Says criterion and scope.
        ratios: Share to be gone afterwards, by the name of a group; groups that are not named are left alone.
        before: Filters that were there when the step began.
        groups: Of the network as it stands; of no use afterwards.
        sample: For criteria that look at data.
        seed: Of the random criterion.
        left: As for `find_groups`: where it is given, a cut is first compared with silence, and what does not agree is
            noted and not made.
    """
    groups = tuple(group for group in groups if group.name in ratios)
    importance = filter_importance(network, groups, step.criterion, sample, seed)
    if step.scope == "global":
        asked = sum(ratios[name] * sum(layers.values()) for name, layers in before.items() if name in ratios)
        done = sum(
            count - len(network.get_submodule(layer).get_parameter("weight"))
            for name, layers in before.items()
            if name in ratios
            for layer, count in layers.items()
        )
        gone = _lowest_of_all(groups, importance, asked - done)
    else:
        gone = {}
        for group in groups:
            width = before[group.name][group.name] // group.size
            count = rounded(width * ratios[group.name]) - (width - group.channels)
            gone[group.name] = _lowest(importance[group.name], count)
    if left is not None:
        channels, height, width = sample.inputs.shape[1:]
        gone = confirmed(network, groups, gone, (channels, height, width), left)
    make_up = criterion_named(step.criterion).make_up
    if make_up is not None:
        with torch.no_grad():
            make_up(network, groups, gone, sample, seed)
    remove_channels(network, groups, gone)


def _lowest(importance: Tensor, count: int) -> Tensor:
    count = min(max(0, count), len(importance) - 1)
    return importance.argsort(stable=True)[:count]


def _lowest_of_all(groups: tuple[Group, ...], importance: Mapping[str, Tensor], missing: float) -> dict[str, Tensor]:
    # One ranking of all channels; removing one removes as many filters as there are layers in its group.
    left = {group.name: group.channels for group in groups}
    cost = {group.name: len(group.filters) * group.size for group in groups}
    gone: dict[str, list[int]] = {group.name: [] for group in groups}
    owners = [(group.name, channel) for group in groups for channel in range(group.channels)]
    ranking = torch.cat([importance[group.name].double() for group in groups]).argsort(stable=True)
    for index in ranking.tolist():
        name, channel = owners[index]
        if missing < cost[name] / 2:  # nearer to what was asked without it
            break
        if left[name] > 1:
            left[name] -= 1
            missing -= cost[name]
            gone[name].append(channel)
    return {name: torch.tensor(channels, dtype=torch.int64) for name, channels in gone.items()}
