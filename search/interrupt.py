"""Ctrl-C and SIGTERM: the first asks the search to end with the running epochs, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
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


class Once:
    """A handler of Ctrl-C for a process of its own: it raises KeyboardInterrupt, pressed several times in a row once.

    What a process does on its way out takes a moment, and would end in a traceback. Python loses an exception that
    comes while it drops an object, so Ctrl-C pressed again later ends the process at once, with exit code 130.
    """

    _IN_A_ROW = 1.0  # seconds

    def __init__(self) -> None:
        self._first: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt for the first signal; ends the process for one that comes a while later."""
        if self._first is None:
            self.heard()
            raise KeyboardInterrupt
        if time.monotonic() - self._first > self._IN_A_ROW:
            os.write(2, b"slimfront: interrupted\n")
            os._exit(130)

    def heard(self) -> None:
        """Whoever had the signals in the meantime has ended the process's work."""
        self._first = time.monotonic()


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
            for handler in self._before.values():
                if isinstance(handler, Once):
                    handler.heard()
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
