"""What a candidate would add to the front: the expected gain of hypervolume, its cost known and its accuracy not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slimfront.studies.front import Point, non_dominated

Array = NDArray[np.floating[Any]]

# Means of 16 equally likely slices of the standard normal distribution.
_HALF = np.array([0.070, 0.229, 0.396, 0.576, 0.777, 1.014, 1.329, 1.969])
_SLICES = np.concatenate((-_HALF[::-1], _HALF))


def expected_gain(
    mean: Array,
    deviation: Array,
    costs: Array,
    points: Sequence[Point],
    bar: float,
    corner: float,
    ceilings: Array | float = 1.0,
) -> Array:
    """Expected growth of `slimfront.studies.front.area`, for each candidate alone, in points times decades.

    Args:
        mean: (n,) Of the final accuracy, which is taken to be normal.
        deviation: (n,) Its standard deviation.
        costs: (n,) Positive.
        points: Complete trials as (accuracy, cost).
        bar: Accuracy that the front demands.
        corner: Cost at which an area ends.
        ceilings: (n,) What can be reached at most.
    """
    inside = [point for point in points if point[0] >= bar and 0 < point[1] < corner]
    kept = [inside[index] for index in non_dominated(inside)]
    # Along the axis of costs the best accuracy so far is a staircase: `levels[k]` holds from starts[k] to starts[k+1].
    starts = np.log10([1e-12, *(cost for _, cost in kept), corner])
    levels = np.array([bar, *(accuracy for accuracy, _ in kept)])
    own = np.log10(np.clip(costs, 1e-12, corner))
    lengths = np.clip(starts[1:], own[:, None], None) - np.clip(starts[:-1], own[:, None], None)  # (n, k)
    highest = np.broadcast_to(ceilings, mean.shape)[:, None]
    reached = np.clip(mean[:, None] + deviation[:, None] * _SLICES, 0.0, highest)  # (n, slices)
    heights = np.clip(reached[:, :, None] - levels, 0.0, None).mean(1)  # (n, k)
    result: Array = 100 * (lengths * heights).sum(1)
    return result
