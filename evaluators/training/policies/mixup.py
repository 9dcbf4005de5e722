"""Mixup: every image is blended with another, and so are their labels (Zhang et al. 2017, arXiv:1710.09412)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.policies import Policy

if TYPE_CHECKING:
    from torch import Generator, Tensor


def _apply(images: Tensor, labels: Tensor, alpha: float, classes: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each pair by a weight of its own, drawn from Beta(alpha, alpha)."""
    import torch
    from slimfront.evaluators.training.augmentation import normalise
    from slimfront.evaluators.training.mixing import beta, partners, shares

    inputs = normalise(images)
    share = beta(alpha, len(inputs), generator)
    other = partners(len(inputs), generator)
    mixed = torch.lerp(inputs[other], inputs, share[:, :, None, None])
    return mixed, shares(labels, labels[other], share, classes)


MIXUP = Policy(
    "mixup",
    _apply,
    most=4.0,
    title="Mixup",
    words="mixes two images and their labels",
    paper="Zhang et al. 2017, arXiv:1710.09412",
)
