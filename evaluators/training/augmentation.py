"""Random changes of a training batch, on the device that it lies on.

Everything is one gather or one arithmetic operation for the whole batch: no loop over images, and no value is brought
back to the host, so a GPU is never waited for. Images stay uint8, a quarter of the memory traffic, for as long as
pixels are only moved; they become floats once. All randomness comes from one generator: its state decides the result.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from slimfront.spaces.candidate import Augmentation
from slimfront.spaces.policies import NO_POLICY, POLICIES
from torch import Generator, Tensor

GREY = 128  # the pixel that normalisation turns into zero, which is also what a convolution pads with
BLACK, WHITE = -2.0, 127 / 64  # the pixels 0 and 255, normalised


def normalise(images: Tensor) -> Tensor:
    """Pixels as the networks take them: (pixel - 128) / 64, exact in float32.

    Args:
        images: (B, C, H, W), uint8.

    Returns:
        (B, C, H, W), float32, channels_last.

    Raises:
        ValueError: The images are not uint8; normalised twice, they would be nearly black.
    """
    return channels_last(planes(images))


def planes(images: Tensor) -> Tensor:
    """As `normalise`, but each channel still a plane of its own."""
    if images.dtype != torch.uint8:
        raise ValueError(f"Images to normalise must be uint8, but are {images.dtype}.")
    return images.to(torch.float32).sub_(GREY).mul_(1 / 64)


def channels_last(planes: Tensor) -> Tensor:
    """Last of all: what is done to whole planes takes half the time that it takes pixel by pixel."""
    return planes.clone(memory_format=torch.channels_last)


def augment(
    images: Tensor,
    labels: Tensor,
    augmentation: Augmentation,
    classes: int,
    generator: Generator,
    moves: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A batch as it is trained on: shifted, mirrored, changed by the policy, normalised.

    Args:
        images: (B, C, H, W), uint8; not changed.
        labels: (B,), int64.
        augmentation: What to do.
        classes: Number of classes.
        generator: Source of randomness, on the device of the images.
        moves: How each image is shifted and mirrored, as `draw_moves` gives it; None: drawn here.

    Returns:
        Inputs (B, C, H, W), float32, channels_last, and targets: the labels (B,), int64, or with a policy that mixes
        images the share of each class (B, classes), float32, each row of which sums to 1.
    """
    if augmentation.crop or augmentation.flip:
        if moves is None:
            moves = draw_moves(len(images), augmentation, generator)
        images = _shift_and_flip(images, augmentation.crop, moves)
    if augmentation.policy == NO_POLICY:
        return normalise(images), labels
    apply = POLICIES[augmentation.policy].apply
    changed, targets = apply(images, labels, augmentation.strength, classes, generator)
    if changed.dtype == torch.uint8:
        return normalise(changed), targets
    return changed.contiguous(memory_format=torch.channels_last), targets


def draw_moves(count: int, augmentation: Augmentation, generator: Generator) -> Tensor:
    """How `count` images are moved: (count, 3), int64, of rows and columns from 0 to 2 * crop, and 1 where mirrored."""
    device = generator.device
    moves = torch.zeros(count, 3, dtype=torch.int64, device=device)
    if augmentation.crop:
        shifts = torch.randint(0, 2 * augmentation.crop + 1, (2, count, 1), generator=generator, device=device)
        moves[:, :2] = shifts[:, :, 0].T
    if augmentation.flip:
        moves[:, 2:] = torch.rand(count, 1, generator=generator, device=device) < 0.5
    return moves


def _shift_and_flip(images: Tensor, crop: int, moves: Tensor) -> Tensor:
    """Shifted by up to `crop` pixels each way, the gap filled with grey, and mirrored, as `moves` say: one gather."""
    batch, channels, height, width = images.shape
    device = images.device
    rows = torch.arange(height, device=device) + moves[:, :1]
    columns = torch.arange(width, device=device) + moves[:, 1:2]
    columns = torch.where(moves[:, 2:] > 0, columns.flip(1), columns)
    if crop:
        images = F.pad(images, (crop, crop, crop, crop), value=GREY)
    pixels = rows[:, :, None] * images.shape[3] + columns[:, None, :]  # (B, H, W), positions in the padded image
    index = pixels.view(batch, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).view(batch, channels, height, width)
