"""Ctrl-C and SIGTERM: the first asks the search to end with the running epochs, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = "stopping: every training ends with its running epoch, which may take minutes; Ctrl-C again ends it at once"
AT_ONCE = "interrupted at once; what had ended is saved, and the same command goes on"


class AtOnce(KeyboardInterrupt):
    """Raised by a second signal, after it was said what that means."""


class Interrupt:
    """A context in which the first signal sets `asked` and the second raises AtOnce, a KeyboardInterrupt.

    Both say so, by a plain write: whatever prints may hold a lock, or raise where nobody reads any more.

    Outside of the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
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
            _write(AT_ONCE)
            raise AtOnce
        self.asked = True
        _write(STOPPING)


def _write(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
