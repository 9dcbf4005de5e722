"""Cutout: a grey square in every image (DeVries and Taylor 2017, arXiv:1708.04552)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.policies import Policy

if TYPE_CHECKING:
    from torch import Generator, Tensor


def _apply(
    images: Tensor, labels: Tensor, strength: float, _classes: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Squares with `strength` of the image's side, centred on any pixel and cut off at the edges."""
    import torch
    from slimfront.evaluators.training.augmentation import GREY
    from slimfront.evaluators.training.mixing import inside

    batch, _, height, width = images.shape
    side = max(1, round(strength * min(height, width)))
    centre = torch.rand(2, batch, 1, generator=generator, device=images.device)
    top = (centre[0] * height).floor() - side // 2
    left = (centre[1] * width).floor() - side // 2
    rows, columns = inside(height, top, top + side), inside(width, left, left + side)
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], GREY), labels


CUTOUT = Policy(
    "cutout",
    _apply,
    title="Cutout",
    words="a grey square on every image",
    paper="DeVries and Taylor 2017, arXiv:1708.04552",
)
