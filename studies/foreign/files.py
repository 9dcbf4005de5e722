"""Small text files that somebody names, or that lie where such files lie: bounded, and never waited for."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_SUBSTITUTIONS = ("/dev/", "/proc/")  # where a shell puts what it pipes to a command: search <(sed ... a.toml)


def read_small(path: Path, largest: int) -> str:
    """The text of a file of at most `largest` bytes.

    Raises:
        OSError: It cannot be read, is too large, or is a pipe that nobody may ever write to.
        UnicodeDecodeError: It is not text in UTF-8.
    """
    if stat.S_ISFIFO(path.stat().st_mode) and not str(path).startswith(_SUBSTITUTIONS):
        raise OSError(errno.EINVAL, "a pipe, not a file", str(path))
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"too large, more than {largest:,} bytes", str(path))
    return content.decode("utf-8")
