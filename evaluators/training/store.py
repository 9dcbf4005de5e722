"""The store of uncompressed networks: files named by what they depend on, the least recently used dropped first.

And the lock for what several processes may want to train at the same time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LIMIT = 4 * 2**30  # bytes in a store; a small network takes one or two million


def touch(path: Path) -> None:
    """Note that a file was used just now; nothing happens where there is none yet."""
    with contextlib.suppress(OSError):
        os.utime(path)


def make_room(folder: Path, limit: int = LIMIT) -> None:
    """Drop the networks that were not used for longest until the rest takes at most `limit` bytes.

    A file that another training is using may go as well: it is only a shortcut, and is written anew. Files of other
    names are not ours, and stay.
    """
    found = []
    for path in folder.glob("dense-*.safetensors") if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Only one process at a time trains what lies at `path`; the lock goes with its process, however that ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there two may train the same, and write the same file
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
