"""When Python's collector of garbage looks."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """For short work that imports torch: its 180,000 objects all stay, and the collector would look some 400 times.

    Not for training, where networks lie in cycles.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
