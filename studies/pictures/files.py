"""Pictures in files: the formats that there are, and writing them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from slimfront.evaluators import outputs

_FORMATS: dict[str, dict[str, Any]] = {  # by ending: what matplotlib would note that differs from run to run, left out
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def check_picture(name: str, path: Path | None) -> None:
    """Refuse a name whose ending is not that of a picture's format. Raises OutputError; `name` is the option's."""
    if path is not None and path.suffix.lower() not in _FORMATS:
        *most, last = _FORMATS
        raise outputs.OutputError(f"{name} {path} must end in {', '.join(most)} or {last}, which says its format.")


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's ending: .png, .svg or .pdf.

    Raises:
        OutputError: The ending is another.
        OSError: The file cannot be written.
    """
    check_picture("The picture", path)
    ending = path.suffix.lower()
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "slimfront"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks
        figure.savefig(buffer, format=ending[1:], metadata=_FORMATS[ending])
    outputs.write(path, buffer.getvalue())
