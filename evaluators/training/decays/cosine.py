"""Half a cosine from the peak to zero (Loshchilov and Hutter 2016, arXiv:1608.03983)."""

import math

from slimfront.spaces.optimizers import Decay


def _factor(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


COSINE = Decay(
    "cosine",
    _factor,
    title="Cosine decay",
    words="of the learning rate, after a warm-up",
    paper="Loshchilov and Hutter 2016, arXiv:1608.03983",
)
