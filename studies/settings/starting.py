"""Starting weights in a study file: a file's name there, and from then on the hash of what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimfront.studies.settings.faults import SettingsError

KEY = "space.recipe.starting_weights"


def taken_in(written: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """The tables of a study file with hashes in place of the files of weights, and where each of these lies.

    Args:
        written: As TOML gives them.
        folder: Where the files' paths begin.

    Raises:
        SettingsError: A file cannot be read, or holds no weights: a line each.
    """
    tables = dict(written)
    space = tables.get("space")
    recipe = space.get("recipe") if isinstance(space, Mapping) else None
    named = recipe.get("starting_weights") if isinstance(recipe, Mapping) else None
    words = named if isinstance(named, list) else [named]
    if not isinstance(space, Mapping) or not isinstance(recipe, Mapping) or not any(_is_file(word) for word in words):
        return tables, {}
    from slimfront.evaluators.starting import StartingWeightsError, read, source_of  # torch takes a moment

    files: dict[str, Path] = {}
    hashes: dict[str, str] = {}
    faults = []
    for word in filter(_is_file, words):
        path = (folder / Path(word).expanduser()).absolute()
        try:
            read(path)
            hashes[word] = source_of(path)
            files[hashes[word]] = path
        except StartingWeightsError as error:
            faults.append(f"{KEY}: {error}")
    if faults:
        raise SettingsError(*faults)
    known = [hashes.get(word, word) if isinstance(word, str) else word for word in words]
    chosen = known if isinstance(named, list) else known[0]
    return {**tables, "space": {**space, "recipe": {**recipe, "starting_weights": chosen}}}, files


def _is_file(word: object) -> bool:
    return isinstance(word, str) and word != ""
