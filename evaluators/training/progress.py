"""How far a running epoch is: told about once a second to whoever listens, for an epoch may take minutes.

It is no part of a training's result: who consumes a training gets its epochs, and need not know of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_SECONDS = 1.0  # between two looks


@dataclass(frozen=True)
class Progress:
    """Where an epoch is.

    Attributes:
        stage: Phase of the job, as in `slimfront.evaluators.training.loop.Epoch`.
        epoch: Its number, from 1 on.
        epochs: Length of the phase.
        images: That it has trained on.
        of: Images of the epoch.
        seconds: Since it began.
    """

    stage: str
    epoch: int
    epochs: int
    images: int
    of: int
    seconds: float

    @property
    def images_a_second(self) -> float:
        """So far, on average."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Until the epoch's last image, at this pace."""
        return self.seconds * (self.of - self.images) / self.images if self.images else 0.0


Listener = Callable[[Progress], object]
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(tell: Listener) -> Iterator[None]:
    """Within it, `tell` is told of epochs that are trained in this thread."""
    token = _LISTENER.set(tell)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class Meter:
    """Of one epoch, for the loop that trains it."""

    def __init__(self, stage: str, epoch: int, epochs: int, of: int) -> None:
        self._stage, self._epoch, self._epochs, self._of = stage, epoch, epochs, of
        self._began = self._told = time.perf_counter()

    def tell(self, images: int) -> None:
        """So many have been trained on."""
        now = time.perf_counter()
        if now - self._told < _SECONDS:
            return
        self._told = now
        listener = _LISTENER.get()
        if listener is not None:
            listener(Progress(self._stage, self._epoch, self._epochs, images, self._of, now - self._began))
