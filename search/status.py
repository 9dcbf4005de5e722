"""What a command is doing, in the last line of a terminal, where it moves as long as nothing else is shown.

Nothing where standard error is no terminal. Whatever is printed takes the line away first: see `Console.print`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN = "|/-\\"  # where the terminal's encoding has no such dots
_FIRST = 0.4  # seconds before anything is shown: most commands are quick
_PAUSE = 0.15  # between two pictures
_TAKEN_AWAY = "\r\x1b[2K"


class Status:
    """The line. One object a process, as a process has one terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text = ""
        self._began = self._next = 0.0
        self._still = 1  # how many want it still; nothing moves outside of a command
        self._shown = False

    @contextlib.contextmanager
    def moving(self, text: str) -> Iterator[None]:
        """Within it the line moves."""
        if not _is_terminal():
            yield
            return
        self.doing(text)
        ended = threading.Event()
        thread = threading.Thread(target=self._move, args=(ended,), daemon=True)
        thread.start()
        self._still -= 1
        try:
            yield
        finally:
            self._still += 1
            ended.set()
            thread.join()
            self.take_away()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Within it there is no such line: something else moves, or waits for the user."""
        self._still += 1
        self.take_away()
        try:
            yield
        finally:
            self._still -= 1

    @property
    def text(self) -> str:
        """What it is doing."""
        return self._text

    def doing(self, text: str) -> None:
        """What the command is doing from now on."""
        with self._lock:
            self._text, self._began = text, time.monotonic()
            self._next = self._began + (0.0 if self._shown else _FIRST)

    def take_away(self) -> None:
        """Make room for what is going to be printed; it comes back in a moment."""
        with self._lock:
            self._next = time.monotonic() + _FIRST
            if self._shown:
                self._shown = False
                _write(_TAKEN_AWAY)

    def _move(self, ended: threading.Event) -> None:
        frames = _FRAMES if "utf" in (getattr(sys.stderr, "encoding", "") or "").lower() else _PLAIN
        number = 0
        while not ended.wait(_PAUSE):
            with self._lock:
                now = time.monotonic()
                if self._still or now < self._next:
                    continue
                number += 1
                seconds = int(now - self._began)
                line = f"{frames[number % len(frames)]} {self._text}{f' ({seconds} s)' if seconds else ''}"
                self._shown = True
                _write(_TAKEN_AWAY + line[: shutil.get_terminal_size().columns - 1])


STATUS = Status()


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except (AttributeError, ValueError):
        return False


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
