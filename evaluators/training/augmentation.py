"""Random changes of a training batch, on the device that it lies on.

Everything is one gather or one arithmetic operation for the whole batch: no loop over images, and no value is brought
back to the host, so a GPU is never waited for. Images stay uint8, a quarter of the memory traffic, for as long as
pixels are only moved; they become floats once. All randomness comes from one generator: its state decides the result.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from slimfront.spaces.candidate import Augmentation
from torch import Generator, Tensor

GREY = 128  # the pixel that normalisation turns into zero, which is also what a convolution pads with
BLACK, WHITE = -2.0, 127 / 64  # the pixels 0 and 255, normalised
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in perceived brightness (ITU-R BT.601)


def normalise(images: Tensor) -> Tensor:
    """Pixels as the networks take them: (pixel - 128) / 64, exact in float32.

    Args:
        images: (B, C, H, W), uint8.

    Returns:
        (B, C, H, W), float32, channels_last.

    Raises:
        ValueError: The images are not uint8; normalised twice, they would be nearly black.
    """
    return _channels_last(_planes(images))


def _planes(images: Tensor) -> Tensor:
    """As `normalise`, but each channel still a plane of its own."""
    if images.dtype != torch.uint8:
        raise ValueError(f"Images to normalise must be uint8, but are {images.dtype}.")
    return images.to(torch.float32).sub_(GREY).mul_(1 / 64)


def _channels_last(planes: Tensor) -> Tensor:
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
        Inputs (B, C, H, W), float32, channels_last, and targets: the labels (B,), int64, or with mixup and cutmix the
        share of each class (B, classes), float32, each row of which sums to 1.
    """
    if augmentation.crop or augmentation.flip:
        if moves is None:
            moves = draw_moves(len(images), augmentation, generator)
        images = _shift_and_flip(images, augmentation.crop, moves)
    policy, strength = augmentation.policy, augmentation.strength
    if policy == "cutout":
        return normalise(_cutout(images, strength, generator)), labels
    if policy == "cutmix":
        mixed, targets = _cutmix(images, labels, strength, classes, generator)
        return normalise(mixed), targets
    if policy == "light":
        return _channels_last(_light(_planes(images), strength, generator)), labels
    inputs = normalise(images)
    if policy == "mixup":
        return _mixup(inputs, labels, strength, classes, generator)
    return inputs, labels


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


def _inside(size: int, start: Tensor, end: Tensor) -> Tensor:
    """(B, size), bool: which positions are in start..end - 1; both (B, 1)."""
    positions = torch.arange(size, device=start.device)
    return (positions >= start) & (positions < end)


def _cutout(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """A grey square in every image, centred on any pixel and cut off at the edges (arXiv:1708.04552)."""
    batch, _, height, width = images.shape
    side = max(1, round(strength * min(height, width)))
    centre = torch.rand(2, batch, 1, generator=generator, device=images.device)
    top = (centre[0] * height).floor() - side // 2
    left = (centre[1] * width).floor() - side // 2
    rows, columns = _inside(height, top, top + side), _inside(width, left, left + side)
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], GREY)


def _beta(alpha: float, batch: int, generator: Generator) -> Tensor:
    """(B, 1), float32, from Beta(alpha, alpha): the share of one of two equal gamma variables in their sum."""
    concentration = torch.full((2, batch, 1), alpha, dtype=torch.float64, device=generator.device)
    # torch.distributions takes no generator; this is what it calls. Of two tiny values either may underflow to zero.
    gammas: Tensor = torch._standard_gamma(concentration, generator=generator).clamp_(min=1e-300)
    return (gammas[0] / gammas.sum(0)).float()


def _shares(labels: Tensor, others: Tensor, share: Tensor, classes: int) -> Tensor:
    """(B, classes), float32: `share` (B, 1) of the class in `labels`, the rest of the one in `others`."""
    index = torch.arange(classes, device=labels.device)
    targets: Tensor = (labels[:, None] == index) * share + (others[:, None] == index) * (1 - share)
    return targets


def _partners(batch: int, generator: Generator) -> Tensor:
    return torch.randperm(batch, generator=generator, device=generator.device)


def _mixup(inputs: Tensor, labels: Tensor, alpha: float, classes: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Every image blended with another, each pair by a weight of its own (arXiv:1710.09412)."""
    share = _beta(alpha, len(inputs), generator)
    other = _partners(len(inputs), generator)
    mixed = torch.lerp(inputs[other], inputs, share[:, :, None, None])
    return mixed, _shares(labels, labels[other], share, classes)


def _cutmix(images: Tensor, labels: Tensor, alpha: float, classes: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """A box of another image pasted into every image, its area drawn, its shape that of the image (arXiv:1905.04899).

    The box is cut off at the edges, so the targets follow the pixels that were really replaced.
    """
    batch, _, height, width = images.shape
    half = (1 - _beta(alpha, batch, generator)).sqrt() / 2  # (B, 1), of the image's side
    other = _partners(batch, generator)
    centre = torch.rand(2, batch, 1, generator=generator, device=images.device)
    rows = _inside(height, ((centre[0] - half) * height).round(), ((centre[0] + half) * height).round())
    columns = _inside(width, ((centre[1] - half) * width).round(), ((centre[1] + half) * width).round())
    mixed = torch.where(rows[:, None, :, None] & columns[:, None, None, :], images[other], images)
    replaced = rows.sum(1, keepdim=True) * columns.sum(1, keepdim=True)  # (B, 1), pixels
    return mixed, _shares(labels, labels[other], 1 - replaced / (height * width), classes)


def _light(planes: Tensor, strength: float, generator: Generator) -> Tensor:
    """One of brightness, contrast and saturation in every image, by a factor of 1 - strength to 1 + strength.

    All three are the same: they move a pixel away from, or towards, an anchor. It is black for brightness, the image's
    mean brightness for contrast, the pixel's own brightness for saturation. One channel has no saturation.
    """
    batch, channels = planes.shape[:2]
    kinds = 3 if channels == 3 else 2
    device = planes.device
    kind = torch.randint(0, kinds, (batch, 1, 1, 1), generator=generator, device=device)
    factor = 1 + strength * (2 * torch.rand(batch, 1, 1, 1, generator=generator, device=device) - 1)
    if kinds == 3:
        brightness = LUMA[0] * planes[:, :1] + LUMA[1] * planes[:, 1:2] + LUMA[2] * planes[:, 2:]  # (B, 1, H, W)
    else:
        brightness = planes.mean(1, keepdim=True)
    anchor = torch.where(kind == 1, brightness.mean((2, 3), keepdim=True), brightness)
    anchor = torch.where(kind == 0, BLACK, anchor)
    return torch.lerp(anchor, planes, factor).clamp_(BLACK, WHITE)
