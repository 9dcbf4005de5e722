"""Unstructured pruning: single weights of convolutions and linear layers are masked, exactly as many as asked for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from slimfront.evaluators.pruning.importance import Sample, weight_importance
from slimfront.evaluators.pruning.masks import current_mask, prunable_layers, set_mask
from slimfront.evaluators.pruning.report import Report, compare, rounded
from slimfront.evaluators.pruning.schedules import layer_ratios, share_gone
from slimfront.evaluators.scoring.score import stored_weights
from slimfront.spaces.candidate import Sparsity
from torch import nn


class WeightCutter:
    """Cuts single weights: counts from the beginning of the phase, ratios by layer."""

    def __init__(self, network: nn.Module, step: Sparsity, sample: Sample, seed: int) -> None:
        self._network, self._step, self._sample, self._seed = network, step, sample, seed
        self._before = count_weights(network)
        self.ratios = layer_ratios(step, list(self._before))

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


def count_weights(network: nn.Module) -> dict[str, int]:
    """Weights that are not removed, by layer."""
    return {name: stored_weights(layer) for name, layer in prunable_layers(network).items()}


def mask_weights(
    network: nn.Module,
    step: Sparsity,
    ratios: Mapping[str, float],
    before: Mapping[str, int],
    sample: Sample,
    seed: int,
) -> None:
    """Mask the least important weights until `ratios` of those that were there `before` are gone.

    What is masked already stays masked, so that a second call with higher ratios goes on from the first. The counts are
    exact: ratio times count, rounded; only the last weight of a layer (with scope "global": of the network) stays.

    Args:
        network: Gets masks on all convolutions and linear layers.
        step: Says criterion and scope.
        ratios: Share to be gone afterwards, by layer.
        before: Weights that were there when the step began, by layer.
        sample: For criteria that look at data.
        seed: Of the random criterion.
    """
    layers = prunable_layers(network)
    importance = weight_importance(network, step.criterion, sample, seed)
    masks = {name: current_mask(layer) for name, layer in layers.items()}
    pools = [list(layers)] if step.scope == "global" else [[name] for name in layers]
    for pool in pools:
        asked = sum(before[name] * ratios[name] for name in pool)
        kept = max(1, sum(before[name] for name in pool) - rounded(asked))
        mask = torch.cat([masks[name].flatten() for name in pool])
        values = torch.cat([importance[name].flatten() for name in pool])
        present = int(mask.sum())
        if kept >= present:
            continue
        # Only what is there can go; what is gone must come last whatever its importance.
        values = torch.where(mask > 0, values, float("-inf"))
        mask = torch.zeros_like(mask)
        mask[values.topk(kept).indices] = 1
        for name, part in zip(pool, torch.split(mask, [masks[name].numel() for name in pool]), strict=True):
            masks[name] = part.view_as(masks[name])
    for name, layer in layers.items():
        set_mask(layer, masks[name])
