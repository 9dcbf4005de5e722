"""What a teacher says of every training image in a few fixed views, asked once instead of at every step.

A view is one drawing of shifts and mirrors for all images. Epoch after epoch a student goes through the views in turn
and learns the answers that belong to the very pixels it sees, which is what makes distillation work (Beyer et al. 2022,
arXiv:2106.05237); any number of students share them, and a step costs no more than without a teacher.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.training.augmentation import augment, draw_moves
from slimfront.models.kernels.convolution import quick_answers
from slimfront.spaces.candidate import Augmentation
from slimfront.spaces.policies import NO_POLICY
from torch import Tensor, nn

VIEWS = 12
BATCH = 500  # images in half precision; half as many in float32, which come to the same memory
LARGEST = 2**30  # bytes of answers; above it a teacher is better asked at every step


@dataclass(frozen=True, eq=False)
class Views:
    """V views of N images.

    Attributes:
        moves: (V, N, 3), uint8: as `augmentation.draw_moves` gives them.
        logits: (V, N, classes), float16.
    """

    moves: Tensor
    logits: Tensor

    def of(self, epoch: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Moves (B, 3), int64, of the images at `chosen` (B,) in the view of `epoch`, and the logits (B, classes)."""
        view = epoch % len(self.moves)
        return self.moves[view, chosen].long(), self.logits[view, chosen]

    def to(self, device: torch.device | str) -> Self:
        """The same on `device`."""
        return type(self)(self.moves.to(device), self.logits.to(device))


def can_be_asked_before(augmentation: Augmentation, images: int, classes: int) -> bool:
    """Whether views hold all that the augmentation does, and their answers fit in memory."""
    return augmentation.policy == NO_POLICY and VIEWS * images * classes * 2 <= LARGEST


@torch.no_grad()
def ask(
    teacher: nn.Module,
    images: Images,
    augmentation: Augmentation,
    classes: int,
    autocast: torch.dtype | None,
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Moves (N, 3), uint8, and logits (N, classes), float16, view by view; each view is the same whenever it is drawn.

    Args:
        teacher: In evaluation mode, on the device of `images`.
        images: Training images.
        augmentation: Its crop and flip are used.
        classes: Number of classes.
        autocast: The precision that it answers in; None: its own.
        first: Number of the view to begin with.
    """
    device = images.images.device
    batch = BATCH if autocast is not None else BATCH // 2
    for view in range(first, VIEWS):
        generator = torch.Generator(device).manual_seed(view)
        moves = draw_moves(len(images), augmentation, generator)
        logits = torch.empty(len(images), classes, dtype=torch.float16, device=device)
        for start in range(0, len(images), batch):
            part = slice(start, start + batch)
            inputs, _ = augment(images.images[part], images.labels[part], augmentation, classes, generator, moves[part])
            precision = torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None)
            with precision, quick_answers(teacher):
                logits[part] = teacher(inputs)
        yield moves.to(torch.uint8), logits
