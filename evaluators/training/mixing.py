"""What policies are made of that mix images or paint over a part of them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def inside(size: int, start: Tensor, end: Tensor) -> Tensor:
    """(B, size), bool: which positions are in start..end - 1; both (B, 1)."""
    positions = torch.arange(size, device=start.device)
    return (positions >= start) & (positions < end)


def beta(alpha: float, batch: int, generator: Generator) -> Tensor:
    """(B, 1), float32, from Beta(alpha, alpha): the share of one of two equal gamma variables in their sum."""
    concentration = torch.full((2, batch, 1), alpha, dtype=torch.float64, device=generator.device)
    # torch.distributions takes no generator; this is what it calls. Of two tiny values either may underflow to zero.
    gammas: Tensor = torch._standard_gamma(concentration, generator=generator).clamp_(min=1e-300)
    return (gammas[0] / gammas.sum(0)).float()


def shares(labels: Tensor, others: Tensor, share: Tensor, classes: int) -> Tensor:
    """(B, classes), float32: `share` (B, 1) of the class in `labels`, the rest of the one in `others`."""
    index = torch.arange(classes, device=labels.device)
    targets: Tensor = (labels[:, None] == index) * share + (others[:, None] == index) * (1 - share)
    return targets


def partners(batch: int, generator: Generator) -> Tensor:
    """(B,), int64: another image of the batch for each."""
    return torch.randperm(batch, generator=generator, device=generator.device)
