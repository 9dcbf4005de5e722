"""A lock on a file itself, whatever name it was opened by: a path, a link, a hard link or a URI."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

# Far behind the bytes that SQLite locks for itself (https://www.sqlite.org/fileformat.html, "the lock-byte page"), and
# behind the end of any file: a lock needs no content.
_BYTE = 2**62
_BUSY = (errno.EACCES, errno.EAGAIN)


class HeldError(Exception):
    """Another process, or another part of this one, holds the lock."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a file, made where it is missing, until the context ends or the process does, however it ends.

    The lock is of the kind that belongs to an open file (fcntl's F_OFD_SETLK) and not to the process. Where the system
    has none of that kind, a lock file beside the file stands in for it, which does not see hard links.

    Closing any descriptor of a file drops the locks of the other kind that the process has on it, and SQLite's are of
    that kind: close this process's connections to a database before the context ends.

    Gives whether the lock is held; False: the file system has no locks.

    Raises:
        HeldError: Somebody else holds it.
        OSError: The file cannot be opened for writing.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield False
        return
    of_file = hasattr(fcntl, "F_OFD_SETLK")
    place = path if of_file else Path(os.path.realpath(path) + ".lock")
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            if of_file:
                whole = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except OSError as error:
            if error.errno in _BUSY:
                raise HeldError from None
            held = False
        yield held
    finally:
        os.close(descriptor)
