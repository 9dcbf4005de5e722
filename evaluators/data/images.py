"""Labelled images in memory, and the stratified split that sets a part of them aside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

SPLIT_SEED = 0


class DataError(ValueError):
    """Data that cannot be had or used: the text says what, where and what to do, one line for each source tried."""


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels and labels of N images.

    Attributes:
        images: (N, C, H, W), uint8.
        labels: (N,), int64, class indices.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise DataError(f"images must be uint8 (N, C, H, W), but got {self.images.dtype} {[*self.images.shape]}.")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise DataError(f"labels must be int64 (N,), but got {self.labels.dtype} {[*self.labels.shape]}.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def subset(self, indices: Tensor) -> Self:
        """A copy of the images at `indices` (int64), in that order."""
        return type(self)(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Self:
        """The same images on `device`."""
        return type(self)(self.images.to(device), self.labels.to(device))

    def hash(self, *more: Tensor) -> str:
        """SHA-256 (hexadecimal) of shape, pixels and labels, and of further tensors that belong to them."""
        result = hashlib.sha256(repr([*self.images.shape]).encode())
        for tensor in (self.images, self.labels, *more):
            result.update(tensor.contiguous().numpy().data)
        return result.hexdigest()


@dataclass(frozen=True, eq=False)
class Collection:
    """A whole data set in memory as a source delivers it; `evaluators.data.cache.Cached` is the same thing on disk.

    Attributes:
        train: All training images.
        test: The test images.
        validation: (V,), int64, rising: which of the training images the search validates on.
        class_names: One a class.
        origin: Where the bytes came from, for people.
        check: What the bytes were compared with, for people.
    """

    train: Images
    test: Images
    validation: Tensor
    class_names: tuple[str, ...]
    origin: str
    check: str

    @cached_property
    def train_hash(self) -> str:
        """SHA-256 over the training images and the validation indices."""
        return self.train.hash(self.validation)

    def training(self) -> TrainingPart:
        """What a search may see: everything but the test images."""
        return TrainingPart(self.train, self.validation, self.class_names, self.train_hash, self.origin, self.check)

    def testing(self) -> Images:
        """The test images."""
        return self.test


@dataclass(frozen=True, eq=False)
class TrainingPart:
    """A `Collection` without its test images; `hash` covers images, labels and validation indices."""

    train: Images
    validation: Tensor
    class_names: tuple[str, ...]
    hash: str
    origin: str
    check: str


def stratified(labels: Tensor, count: int) -> Tensor:
    """Which `count` images to set aside so that every class keeps its share.

    A class with n of the N images gives count * n / N of them, rounded by largest remainders, so the total is exact
    and no class is off by one or more. The choice depends on the labels alone: it draws from NumPy's legacy generator,
    whose stream is frozen (NEP 19), and so is the same on every machine and with every version.

    Args:
        labels: (N,), int64, class indices.
        count: How many, 0..N.

    Returns:
        (count,), int64, rising.

    Raises:
        DataError: `count` is not in 0..N.
    """
    total = len(labels)
    if not 0 <= count <= total:
        raise DataError(f"The part set aside must have 0..{total} images, but {count} were asked for.")
    if count == 0:
        return torch.zeros(0, dtype=torch.int64)
    values = labels.numpy()
    sizes = np.bincount(values).astype(np.int64)
    quotas, remainders = np.divmod(count * sizes, total)
    # Ties go to the lower class: argsort is stable.
    for index in np.argsort(-remainders, kind="stable")[: count - int(quotas.sum())]:
        quotas[index] += 1
    order = np.random.RandomState(SPLIT_SEED).permutation(total)
    taken = [order[values[order] == index][:quota] for index, quota in enumerate(quotas)]
    return torch.from_numpy(np.sort(np.concatenate(taken)).astype(np.int64))
