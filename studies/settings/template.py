"""A study file to begin from, with its keys explained."""

from __future__ import annotations

import importlib.resources
import json
import tomllib
from pathlib import Path

from slimfront.evaluators import outputs
from slimfront.studies.settings.faults import SettingsError
from slimfront.studies.settings.model import Settings

_HANDED = {"digits": ("false", "1")}
"""By data set: whether its pictures may be mirrored, and by how much they may be moved, where that is not usual."""


def write_template(path: Path, dataset: str) -> Path:
    """Write a study file with comments, named after the file, which a search can run as it is.

    Args:
        path: Of the new file, which must end in .toml.
        dataset: Name of the data set.

    Raises:
        SettingsError: There is a file already, its name cannot be a study's, or it cannot be written.
        DataError: There is no data set of that name.
    """
    if path.suffix != ".toml":
        raise SettingsError(f"{path} is to be a study file: let its name end in .toml.")
    if path.exists():
        raise SettingsError(f"{path} is there already: name another file.")
    source = importlib.resources.files("slimfront.studies.settings").joinpath("template.toml")
    flip, crop = _HANDED.get(dataset, ("true", "4"))
    text = source.read_text(encoding="utf-8")
    for key, value in {
        '"NAME"': json.dumps(path.stem, ensure_ascii=False),
        '"DATASET"': json.dumps(dataset, ensure_ascii=False),
        "FLIP": flip.ljust(5),
        "CROP": crop,
    }.items():
        text = text.replace(key, value, 1)
    schema = Path(__file__).resolve().parent.parent / "schema.json"
    Settings.from_dict(tomllib.loads(text), path.stem)  # what is wrong with name or data is said before it is written
    try:
        outputs.write(path, f"#:schema {schema.as_uri()}\n{text}")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path
