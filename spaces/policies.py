"""Augmentation policies: what is done to a training batch on top of shifts and mirrors, at most one of them.

The product's own are the files of `slimfront.evaluators.training.policies`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimfront.spaces.registry import Registry

if TYPE_CHECKING:
    from torch import Generator, Tensor

NO_POLICY = "none"  # what candidates and study files say where there is none


@dataclass(frozen=True)
class Policy:
    """An augmentation policy.

    Attributes:
        name: Small letters, digits, underscores.
        apply: (images, labels, strength, classes, generator) -> (images, targets). The images that it is given are
            (B, C, H, W), uint8, shifted and mirrored; what it gives back are such pixels, or float32 as
            `augmentation.normalise` makes them. Targets are the labels (B,), int64, or the share of each class
            (B, classes), float32, each row of which sums to 1. All randomness comes from the generator.
        most: The largest strength; the least is above 0.
        strength: Where a study file says none.
        title: In reports; "": the name.
        words: What it does, in a few words.
        paper: Where it was published.
    """

    name: str
    apply: Callable[[Tensor, Tensor, float, int, Generator], tuple[Tensor, Tensor]]
    most: float = 1.0
    strength: float = 0.5
    title: str = ""
    words: str = ""
    paper: str = ""


POLICIES: Registry[Policy] = Registry("augmentation policy", Policy, "slimfront.evaluators.training.policies")
