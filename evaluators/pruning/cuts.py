"""A step of pruning that can be carried further bit by bit: what was there, what is asked for, what is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.pruning.criteria import draw_sample
from slimfront.evaluators.pruning.filters import count_filters, find_filters, remove_filters
from slimfront.evaluators.pruning.groups import Group, find_groups
from slimfront.evaluators.pruning.masks import prunable_layers
from slimfront.evaluators.pruning.methods import PruningError
from slimfront.evaluators.pruning.report import Report, compare
from slimfront.evaluators.pruning.weights import count_weights, mask_weights
from slimfront.spaces.candidate import Sparsity
from torch import nn


class Cutter(Protocol):
    """Prunes one network by one step.

    Attributes:
        ratios: Share to be gone at the end, by layer (weights) or by group (filters), in the network's order.
    """

    ratios: dict[str, float]

    def cut(self, progress: float, only: str | None = None) -> None:
        """Remove as much as the schedule says at `progress` in [0, 1], from the layer or group `only`, or from all."""

    def report(self) -> Report:
        """What was there in the beginning, and what is there now."""


def make_cutter(
    network: nn.Module, step: Sparsity, images: Images, seed: int, device: torch.device | str = "cpu"
) -> Cutter:
    """A cutter for `network` as it is now; `images` are the training images, of which criteria may see a few.

    Raises PruningError where there is nothing to prune.
    """
    kind = _Weights if step.granularity == "weights" else _Filters
    return kind(network, step, images, seed, device)


def share_gone(schedule: str, ratio: float, progress: float) -> float:
    """Share of what was there at the beginning that is gone at `progress` in [0, 1]; exactly `ratio` at 1."""
    if progress >= 1:
        return ratio
    if schedule == "iterative":
        return float(1 - (1 - ratio) ** progress)
    if schedule == "gradual":
        return float(ratio * (1 - (1 - progress) ** 3))
    return ratio


def layer_ratios(step: Sparsity, layers: Sequence[str]) -> dict[str, float]:
    """The ratio of each layer (or group of filters, by its first layer).

    With scope "stage" what stands before the stages belongs to the first of them, and what stands behind, to the last.

    Raises PruningError where a network has more stages than there are ratios.
    """
    if step.scope != "stage":
        return dict.fromkeys(layers, step.ratio)
    result: dict[str, float] = {}
    for name in layers:
        part, _, rest = name.partition(".")
        edges = 0 if part == "stem" else len(step.ratios) - 1
        stage = int(rest.partition(".")[0]) if part == "stages" else edges
        if stage >= len(step.ratios):
            raise PruningError(f"sparsity.ratios must have one entry a stage, but {name!r} has none in {step.ratios}.")
        result[name] = step.ratios[stage]
    return result


class _Weights:
    """Cuts single weights: counts from the beginning of the stage, ratios by layer."""

    def __init__(
        self, network: nn.Module, step: Sparsity, images: Images, seed: int, device: torch.device | str
    ) -> None:
        self._network, self._step, self._seed = network, step, seed
        self._sample = draw_sample(images, seed, device)
        self._before = count_weights(network)
        self.ratios = layer_ratios(step, list(prunable_layers(network)))

    def cut(self, progress: float, only: str | None = None) -> None:
        """Mask as much as the schedule says at `progress`."""
        ratios = {
            name: share_gone(self._step.schedule, ratio, progress) if only in (None, name) else 0.0
            for name, ratio in self.ratios.items()
        }
        mask_weights(self._network, self._step, ratios, self._before, self._sample, self._seed)

    def report(self) -> Report:
        """Before and now."""
        by_layer = self._step.scope != "global"
        return compare("weights", self._before, count_weights(self._network), self.ratios, by_layer=by_layer)


class _Filters:
    """Cuts filters: counts from the beginning of the stage, ratios by group."""

    def __init__(
        self, network: nn.Module, step: Sparsity, images: Images, seed: int, device: torch.device | str
    ) -> None:
        self._network, self._step, self._seed = network, step, seed
        self._sample = draw_sample(images, seed, device)
        self._shape = images.shape
        self._groups: tuple[Group, ...] | None = find_groups(network, self._shape)  # of the network as it is now
        self._before = find_filters(network, self._groups)
        self.ratios = layer_ratios(step, list(self._before))

    def cut(self, progress: float, only: str | None = None) -> None:
        """Remove as much as the schedule says at `progress`."""
        ratios = {
            name: share_gone(self._step.schedule, ratio, progress)
            for name, ratio in self.ratios.items()
            if only in (None, name)
        }
        groups = self._groups or find_groups(self._network, self._shape, remember=False)
        self._groups = None
        remove_filters(self._network, self._step, ratios, self._before, groups, self._sample, self._seed)

    def report(self) -> Report:
        """Before and now."""
        before = {layer: count for layers in self._before.values() for layer, count in layers.items()}
        ratios = {layer: self.ratios[group] for group, layers in self._before.items() for layer in layers}
        after = count_filters(self._network, before)
        lump = max(len(layers) for layers in self._before.values())
        return compare("filters", before, after, ratios, by_layer=self._step.scope != "global", lump=lump)
