"""Ctrl-C and SIGTERM: the first asks the search to end with the running epochs, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = "stopping: every training ends with its running epoch, which may take minutes; Ctrl-C again ends it at once"


class Interrupt:
    """A context in which the first signal sets `asked` and the second raises KeyboardInterrupt.

    `say` is told what the first one does, for an epoch may take minutes.

    Outside of the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self, say: Callable[[str], object] = lambda _: None) -> None:
        self.asked = False
        self._say = say
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os.write(2, b"interrupted at once; what had ended is saved, and the same command goes on\n")
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(RuntimeError):  # where it came in the middle of a write
            self._say(STOPPING)
