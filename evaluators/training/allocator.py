"""glibc's allocator, told to keep freed memory.

Training frees and takes the same activation buffers at every step. By default glibc hands each of them back to the
kernel and page-faults it in again; with raised thresholds it keeps them. What that is worth is in benchmarks/NOTES.md.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more (half of HEAP_MAX_SIZE on 64 bits)
_NEVER_TRIM = 2**31 - 1


def keep_freed_memory() -> bool:
    """Raise the thresholds of this process; True where that worked, False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) == 1
    return bool(mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM) == 1 and done)
