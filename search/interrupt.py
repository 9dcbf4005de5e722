"""Ctrl-C and SIGTERM: the first asks the search to end with the running epochs, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = "stopping: every training ends with its running epoch, which may take minutes; Ctrl-C again ends it at once"
AT_ONCE = "interrupted at once; what had ended is saved, and the same command goes on"

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class AtOnce(KeyboardInterrupt):
    """Raised by a second signal, after it was said what that means."""


def write(text: str) -> None:
    """A line on standard error by a plain write: whatever prints may hold a lock, or raise where nobody reads."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


class Interrupt:
    """A context in which the first signal sets `asked` and the second raises AtOnce, a KeyboardInterrupt.

    Both say so. Those after the second are ignored: what is left to do takes a moment, and must be done.

    Outside of the main thread, where Python delivers no signals, it does nothing.

    Args:
        tell: Says a line, from within a signal handler.
    """

    def __init__(self, tell: Callable[[str], None] = write) -> None:
        self.asked = False
        self._tell, self._at_once = tell, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._at_once:
            return
        if self.asked:
            self._at_once = True
            self._tell(AT_ONCE)
            raise AtOnce
        self.asked = True
        self._tell(STOPPING)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Signals that come in between are delivered afterwards; a process that is started in between never gets them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
