"""CutMix: a box of another image is pasted into every image (Yun et al. 2019, arXiv:1905.04899)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.policies import Policy

if TYPE_CHECKING:
    from torch import Generator, Tensor


def _apply(images: Tensor, labels: Tensor, alpha: float, classes: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """The box's area is drawn from Beta(alpha, alpha), its shape is that of the image.

    It is cut off at the edges, so the targets follow the pixels that were really replaced.
    """
    import torch
    from slimfront.evaluators.training.mixing import beta, inside, partners, shares

    batch, _, height, width = images.shape
    half = (1 - beta(alpha, batch, generator)).sqrt() / 2  # (B, 1), of the image's side
    other = partners(batch, generator)
    centre = torch.rand(2, batch, 1, generator=generator, device=images.device)
    rows = inside(height, ((centre[0] - half) * height).round(), ((centre[0] + half) * height).round())
    columns = inside(width, ((centre[1] - half) * width).round(), ((centre[1] + half) * width).round())
    mixed = torch.where(rows[:, None, :, None] & columns[:, None, None, :], images[other], images)
    replaced = rows.sum(1, keepdim=True) * columns.sum(1, keepdim=True)  # (B, 1), pixels
    return mixed, shares(labels, labels[other], 1 - replaced / (height * width), classes)


CUTMIX = Policy(
    "cutmix",
    _apply,
    most=4.0,
    title="CutMix",
    words="pastes a part of another image",
    paper="Yun et al. 2019, arXiv:1905.04899",
)
