"""A straight line from the peak to zero."""

from slimfront.spaces.optimizers import Decay


def _factor(progress: float) -> float:
    return 1.0 - progress


LINEAR = Decay("linear", _factor, title="Linear decay", words="of the learning rate to zero, after a warm-up")
