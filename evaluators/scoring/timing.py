"""How long something takes: the median of repeated runs, after a warm-up, within a few seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RUNS = 30
WARM_UP = 3  # runs that are not timed
LONGEST = 3.0  # seconds of timing, and the run in which they end


@dataclass(frozen=True)
class Timing:
    """Median over `runs` runs, in seconds."""

    seconds: float
    runs: int


def median_seconds(call: Callable[[], object], runs: int = RUNS) -> Timing:
    """Time `call` after a warm-up; fewer `runs` where they take long."""
    times: list[float] = []
    spent, warm = 0.0, 0
    while len(times) < runs and (not times or spent < LONGEST):
        start = time.perf_counter()
        call()
        took = time.perf_counter() - start
        spent += took
        if warm < WARM_UP and spent < LONGEST:
            warm += 1
        else:
            times.append(took)
    return Timing(statistics.median(times), len(times))


def some_images(input_shape: tuple[int, int, int], batch: int = 1) -> Tensor:
    """Random images (batch, C, H, W), normalised; the same at every call."""
    pixels = torch.randint(0, 256, (batch, *input_shape), generator=torch.Generator().manual_seed(0))
    return (pixels.float() - 128) / 64
