"""Journals: files of one JSON object a line that are only ever added to, and survive a kill at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a journal, in order; none where there is no file. A line that was broken off does not count."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue  # broken off while it was written
    return lines


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Add an object; it is on the disk when this returns. What was broken off before it stays a line of its own.

    Raises OSError (a full disk, say) and ValueError for NaN and infinities, which JSON does not know.
    """
    text = json.dumps(value, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                text = "\n" + text
        file.write(text.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
