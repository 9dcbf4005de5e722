"""The phase that prunes: cuts by a schedule, with fine-tuning in between.

Every round after a change of shape is a training of its own, with an optimizer, an average of weights and a
learning-rate schedule made for the network as it is then: none of them ever meets a parameter of another shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.pruning.filters import FilterCutter
from slimfront.evaluators.pruning.importance import draw_sample
from slimfront.evaluators.pruning.masks import apply_masks
from slimfront.evaluators.pruning.report import Report
from slimfront.evaluators.pruning.schedules import plan
from slimfront.evaluators.pruning.weights import WeightCutter
from slimfront.evaluators.training.context import Hook, TrainContext
from slimfront.evaluators.training.loop import Epoch, train, untrained
from slimfront.spaces.candidate import GRADUAL, Recipe, Sparsity
from slimfront.spaces.optimizers import OPTIMIZERS
from torch import nn

UPDATES = 40  # of the masks, in gradual pruning of weights
RECOVERY = 0.25  # share of gradual pruning's training that is left to the final masks


class Cutter(Protocol):
    """Prunes one network by one step, bit by bit.

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
    kind = WeightCutter if step.granularity == "weights" else FilterCutter
    return kind(network, step, draw_sample(images, seed, device), seed)


def fine_tuning(recipe: Recipe) -> Recipe:
    """The recipe for training that goes on from a trained network: the same at a lower learning rate."""
    return replace(recipe, learning_rate=recipe.learning_rate * OPTIMIZERS[recipe.optimizer].fine_tuning)


@dataclass(frozen=True)
class PruningPhase:
    """Removes filters or masks single weights.

    Attributes:
        step: What, how much, when, and for how many epochs.
    """

    step: Sparsity

    def run(self, network: nn.Module, context: TrainContext) -> Generator[Epoch, None, Report]:
        """Prune `network` in place and fine-tune it; yields every epoch (numbered through), returns what was removed.

        Masks stay attached (`masks.finalise` takes them away). At ratio 0 nothing happens at all, not even fine-tuning.

        Args:
            network: Trained. For filters it must not have masks yet.
            context: Its recipe is the uncompressed training's: fine-tuning takes its optimizer's share of
                its learning rate. Rounds after the first add their number to the checkpoint's name; run again from the
                same uncompressed network, the phase repeats its cuts and replays or resumes its trainings. There is no
                preview where weights go gradually, as there is no first cut then.

        Raises:
            PruningError: Nothing to prune, or masks where filters are to be removed.
            TrainingError: As `train`.
        """
        step = self.step
        context = replace(context, phase=step.granularity, recipe=fine_tuning(context.recipe))
        network.to(context.device)
        cutter = make_cutter(network, step, context.images, context.seed, context.device)
        if not any(cutter.ratios.values()):
            return cutter.report()
        done = 0
        start = time.perf_counter()
        for number, part in enumerate(plan(step, list(cutter.ratios))):
            hooks = context.hooks
            if part.epochs > 0 and step.schedule == GRADUAL and step.granularity == "weights":
                cutter.cut(0.0)  # masks of ones: a resumed training has to find them
                hooks = (*hooks, _GradualMasks(cutter.cut))
            else:
                cutter.cut(part.progress, part.only)
                if number == 0:
                    yield from untrained(network, context, step.epochs, start)
            if part.epochs == 0:
                continue
            fine = replace(
                context,
                seed=context.seed + 7919 * number,  # another order of the images in every round
                epochs=part.epochs,
                hooks=hooks,
                checkpoint=context.checkpoint_of(number) if number > 0 else context.checkpoint,
            )
            for epoch in train(network, fine):
                yield replace(epoch, epoch=done + epoch.epoch, epochs=step.epochs)
            done += part.epochs
        return cutter.report()


class _GradualMasks(Hook):
    """Raises the share of masked weights along Zhu and Gupta's cubic curve while the training runs."""

    def __init__(self, cut: Callable[[float], None]) -> None:
        self._cut = cut
        self._updates = 0

    def after_step(self, network: nn.Module, progress: float) -> None:
        """Update the masks where the next update is due; how far they are follows from `progress` alone."""
        due = min(UPDATES, int(progress / (1 - RECOVERY) * UPDATES + 1e-9))
        if due > self._updates:
            self._updates = due
            self._cut(due / UPDATES)
        # Momentum moves what is masked already, unseen. Without that, a resumed training is the same to the last bit.
        apply_masks(network)
