"""When it is pruned: at once, in rounds, gradually, or layer after layer, with fine-tuning in between.

`prune_stage` is one stage of a job: a generator of the shared training loop's epochs that returns a Report. Every
round after a change of shape is a training of its own, with an optimizer, an average of weights and a learning-rate
schedule made for the network as it is then: none of them ever meets a parameter of another shape.

schedule    share of the ratio that is gone after round k of K                              source
once        all of it, then fine-tuning
iterative   an equal share of what is left goes in every round, fine-tuning after each      arXiv:1506.02626
gradual     1 - (1 - t)^3, t the progress: many weights early, few late                     arXiv:1710.01878
layerwise   all of it, in one layer after the other, fine-tuning in between                 arXiv:1608.08710

Gradual pruning of single weights updates the masks within one training, UPDATES times over its first three quarters,
and leaves the rest to recovery; gradual pruning of filters does it in rounds. Where there are fewer epochs than rounds,
the epochs are spread evenly and the last round has one. Layer after layer, half of the epochs come after the last cut,
as in ThiNet, and the other half is spread over the cuts before it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.pruning.cuts import make_cutter
from slimfront.evaluators.pruning.masks import apply_masks
from slimfront.evaluators.pruning.report import Report
from slimfront.evaluators.training.loop import Epoch, Hook, Teacher, train, untrained
from slimfront.spaces.candidate import Augmentation, Recipe, Sparsity
from torch import nn

FINE_TUNING_RATE = {"sgd": 0.2, "adamw": 0.3, "muon": 0.3}  # of the dense training's learning rate
UPDATES = 40  # of the masks, in gradual pruning of weights
RECOVERY = 0.25  # share of gradual pruning's training that is left to the final masks


@dataclass(frozen=True)
class Round:
    """One cut and the fine-tuning after it.

    Attributes:
        progress: In (0, 1]: how far the schedule is after this cut.
        only: Cut this layer (or group of filters) alone; None: all.
        epochs: Fine-tuning after it.
    """

    progress: float
    only: str | None
    epochs: int


def plan(step: Sparsity, layers: Sequence[str]) -> list[Round]:
    """The rounds of a schedule; their epochs sum to the step's.

    Args:
        step: Says schedule, rounds and epochs.
        layers: Layers (or groups of filters) that can be cut, in order.
    """
    if step.schedule == "layerwise":
        last = step.epochs if len(layers) == 1 else (step.epochs + 1) // 2
        shares = [*share_epochs(step.epochs - last, len(layers) - 1, centred=True), last]
        return [Round(1.0, name, epochs) for name, epochs in zip(layers, shares, strict=True)]
    # Without fine-tuning in between, rounds of a cut come to the same as one, but for the drift of what they look at.
    rounds = 1 if step.schedule == "once" else step.rounds
    if step.schedule == "gradual" and step.granularity == "weights":
        rounds = 1
    return [Round((k + 1) / rounds, None, epochs) for k, epochs in enumerate(share_epochs(step.epochs, rounds))]


def share_epochs(epochs: int, rounds: int, *, centred: bool = False) -> list[int]:
    """`epochs` spread evenly over `rounds`, whole numbers; the last gets its share in any case unless `centred`.

    >>> share_epochs(5, 3), share_epochs(2, 4), share_epochs(1, 5, centred=True)
    ([1, 2, 2], [0, 1, 0, 1], [0, 0, 1, 0, 0])
    """
    ends = [(epochs * (k + 1) + (rounds // 2 if centred else 0)) // rounds for k in range(rounds)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def fine_tuning(recipe: Recipe) -> Recipe:
    """The recipe for training that goes on from a trained network: the same at a lower learning rate."""
    factor = FINE_TUNING_RATE[recipe.optimizer]
    return dataclasses.replace(recipe, learning_rate=recipe.learning_rate * factor)


def prune_stage(
    network: nn.Module,
    step: Sparsity,
    images: Images,
    validation: Images | None,
    *,
    recipe: Recipe,
    augmentation: Augmentation,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
    teacher: Teacher | None = None,
    hooks: Sequence[Hook] = (),
    checkpoint: Path | None = None,
    preview: bool = False,
) -> Generator[Epoch, None, Report]:
    """Prune `network` in place and fine-tune it; yields every epoch (numbered through) and returns what was removed.

    Masks stay attached (`masks.finalise` takes them away). At ratio 0 nothing happens at all, not even fine-tuning.

    Args:
        network: Trained. For filters it must not have masks yet.
        step: What, how much, when, and for how many epochs.
        images: Training images; a few of them serve criteria that look at data.
        validation: As in `train`.
        recipe: The dense training's; fine-tuning takes a share of its learning rate (FINE_TUNING_RATE).
        augmentation: As in `train`.
        classes: As in `train`.
        seed: Of the order of images and of everything random in the criteria.
        device: Where it runs.
        teacher: As in `train`.
        hooks: As in `train`.
        checkpoint: File of the fine-tuning's state; rounds after the first add their number to its name. Run again from
            the same dense network, the stage repeats its cuts and replays or resumes its trainings.
        preview: Yield an epoch 0 as well, the accuracy after the first cut, before any training; not where weights go
            gradually, as there is no such cut.

    Raises:
        PruningError: Nothing to prune, or masks where filters are to be removed.
        TrainingError: As `train`.
    """
    network.to(device)
    cutter = make_cutter(network, step, images, seed, device)
    if not any(cutter.ratios.values()):
        return cutter.report()
    done = 0
    start = time.perf_counter()
    for number, part in enumerate(plan(step, list(cutter.ratios))):
        more: list[Hook] = []
        if part.epochs > 0 and step.schedule == "gradual" and step.granularity == "weights":
            cutter.cut(0.0, None)  # masks of ones: a resumed training has to find them
            more.append(_GradualMasks(cutter.cut))
        else:
            cutter.cut(part.progress, part.only)
            if preview and number == 0 and validation is not None:
                yield untrained(network, validation, device, stage=step.granularity, epochs=step.epochs, start=start)
        if part.epochs == 0:
            continue
        for epoch in train(
            network,
            images,
            validation,
            recipe=fine_tuning(recipe),
            augmentation=augmentation,
            classes=classes,
            seed=seed + 7919 * number,  # another order of the images in every round
            device=device,
            epochs=part.epochs,
            stage=step.granularity,
            teacher=teacher,
            hooks=[*hooks, *more],
            checkpoint=_round_file(checkpoint, number),
        ):
            yield dataclasses.replace(epoch, epoch=done + epoch.epoch, epochs=step.epochs)
        done += part.epochs
    return cutter.report()


def _round_file(checkpoint: Path | None, number: int) -> Path | None:
    if checkpoint is None or number == 0:
        return checkpoint
    return checkpoint.with_name(f"{checkpoint.stem}-{number}{checkpoint.suffix}")


class _GradualMasks(Hook):
    """Raises the share of masked weights along Zhu and Gupta's cubic curve while the training runs."""

    def __init__(self, cut: Callable[[float, str | None], None]) -> None:
        self._cut = cut
        self._updates = 0

    def after_step(self, network: nn.Module, progress: float) -> None:
        """Update the masks where the next update is due; how far they are follows from `progress` alone."""
        due = min(UPDATES, int(progress / (1 - RECOVERY) * UPDATES + 1e-9))
        if due > self._updates:
            self._updates = due
            self._cut(due / UPDATES, None)
        # Momentum moves what is masked already, unseen. Without that, a resumed training is the same to the last bit.
        apply_masks(network)
