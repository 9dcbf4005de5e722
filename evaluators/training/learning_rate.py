"""The learning rate as a function of progress."""

from __future__ import annotations

from slimfront.spaces.optimizers import DECAYS


def learning_rate_factor(progress: float, warmup: float, decay: str) -> float:
    """Share of the peak learning rate at `progress` in [0, 1]: a linear rise, then the decay of that name."""
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / max(1.0 - warmup, 1e-12)
    return DECAYS[decay].factor(min(rest, 1.0))
