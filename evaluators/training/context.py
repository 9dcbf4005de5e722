"""What a training is given besides its network: one frozen context that a job makes and its phases pass on.

Data, augmentation, classes, seed and device are the same for the whole job. A phase changes the rest with
`dataclasses.replace`: its recipe and length, its hooks, its checkpoint, and who teaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.training.views import Views
from slimfront.spaces.candidate import UNCOMPRESSED, Augmentation, Recipe
from torch import Tensor, nn

Teacher = nn.Module | Views  # a network that is asked, or what one said when it was asked before


CPU = torch.device("cpu")


class Hook:
    """Something that takes part in training; both methods do nothing unless overridden."""

    def penalty(self, network: nn.Module) -> Tensor | None:
        """A scalar that is added to the loss."""
        return None

    def after_step(self, network: nn.Module, progress: float) -> None:
        """Called after each optimizer step; `progress` in (0, 1] is the share of this training's steps done."""


@dataclass(frozen=True, eq=False)
class TrainContext:
    """All that a training needs but the network.

    Attributes:
        images: Training images, uint8.
        validation: Judged after every epoch; None: nothing is judged.
        recipe: Optimizer, schedule and the rest.
        augmentation: Applied to every batch.
        classes: Number of classes.
        seed: Order of the images and augmentation, and everything random in a phase. Same seed, machine and number of
            threads: same numbers.
        device: Where it runs.
        phase: Name of the phase, written into every Epoch; "dense" is the uncompressed training.
        epochs: Length of this training; None: the recipe's.
        teacher: Gives logits on the same augmented view, distilled with the recipe's `distillation` and `temperature`
            (Hinton et al. 2015, arXiv:1503.02531). With `Views` the images are moved as they were when it was asked.
        hooks: Take part in every step.
        checkpoint: File that the state is kept in after every epoch, and taken up from; None: nowhere.
        preview: Whether a phase that compresses also yields an epoch 0: the accuracy before its fine-tuning.
    """

    images: Images
    validation: Images | None
    recipe: Recipe
    augmentation: Augmentation
    classes: int
    seed: int
    device: torch.device = CPU
    phase: str = UNCOMPRESSED
    epochs: int | None = None
    teacher: Teacher | None = None
    hooks: tuple[Hook, ...] = ()
    checkpoint: Path | None = None
    preview: bool = False

    @property
    def length(self) -> int:
        """Epochs of this training."""
        return self.recipe.epochs if self.epochs is None else self.epochs

    def checkpoint_of(self, part: int) -> Path | None:
        """The file of a part of the phase that is a training of its own: "filters.safetensors", "filters-2.safe..."."""
        path = self.checkpoint
        return None if path is None else path.with_name(f"{path.stem}-{part}{path.suffix}")
