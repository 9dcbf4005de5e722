"""A user's own members by reference: "my_file.py:name" or "package.module:name".

To import a file is to run it. So a reference is only ever imported where the user gives it to the command that is
running: in the study file, or with `--allow`. One that is read from a storage, an artifact or a candidate's JSON is a
word like any other until then: `resolve` refuses it, `given` finds nothing.

What was given is kept for the process, and handed to workers as it is (`handed_out`, `take_in`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

LONGEST = 300  # characters of a reference


class CodeReferenceError(ValueError):
    """A reference that cannot be followed, or must not be: the text says why, and what to do."""


@dataclass(frozen=True)
class Given:
    """A reference that the user gave to this command.

    Attributes:
        reference: As it is written.
        file: Of the module's source.
        source: First 16 hexadecimal digits of the SHA-256 of that file.
    """

    reference: str
    file: str
    source: str


_given: dict[str, tuple[Given, Any]] = {}


def is_reference(name: object) -> bool:
    """Whether a name is a reference: the product's own names have no colon."""
    return isinstance(name, str) and ":" in name


def give(reference: str, folder: Path) -> Given:
    """Import what the user gave, and keep it for this process.

    Args:
        reference: "my_file.py:name" or "package.module:name"; "name" may have dots.
        folder: What a file's path is relative to: the study file's folder, or the current one.

    Raises:
        CodeReferenceError: It has another form, there is no such file, module or name, or the import fails.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name or len(reference) > LONGEST or not reference.isprintable():
        raise CodeReferenceError(f"{reference[:LONGEST]!r} must be FILE.py:NAME or PACKAGE.MODULE:NAME.")
    if place.endswith(".py"):
        module = _import_file((folder / Path(place).expanduser()).resolve(), reference)
    else:
        module = _import(place, reference)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise CodeReferenceError(f"{reference}: {place} has no {name}.")
        found = getattr(found, part)
    file = Path(str(getattr(module, "__file__", "")))
    if not file.is_file():
        raise CodeReferenceError(f"{reference}: {place} has no source file.")
    given = Given(reference, str(file), hashlib.sha256(file.read_bytes()).hexdigest()[:16])
    _given[reference] = (given, found)
    return given


def given(reference: str) -> Any:
    """What the user gave under that reference; None where nothing was."""
    entry = _given.get(reference)
    return None if entry is None else entry[1]


def resolve(reference: str) -> Any:
    """What the user gave under that reference. Raises CodeReferenceError where nothing was."""
    found = given(reference)
    if found is None:
        raise CodeReferenceError(
            f"{reference[:LONGEST]} is code of a user's own, which is imported only where you name it: "
            f"add --allow {reference[:LONGEST]}."
        )
    return found


def sources() -> dict[str, str]:
    """The source's hash of every reference that was given: what a trial records."""
    return {reference: entry[0].source for reference, entry in sorted(_given.items())}


def handed_out() -> tuple[Given, ...]:
    """What was given, for a worker in another process."""
    return tuple(entry[0] for entry in _given.values())


def take_in(handed: Iterable[Given]) -> None:
    """In a worker: import what the coordinator's user gave. Raises CodeReferenceError, also for a changed source."""
    for entry in handed:
        if entry.reference in _given and _given[entry.reference][0].source == entry.source:
            continue
        place, _, name = entry.reference.rpartition(":")
        again = give(f"{entry.file}:{name}", Path()) if place.endswith(".py") else give(entry.reference, Path())
        if again.source != entry.source:
            raise CodeReferenceError(f"{entry.reference}: {again.file} has changed since the search began.")
        _given[entry.reference] = (entry, _given.pop(again.reference)[1])


def _import_file(file: Path, reference: str) -> ModuleType:
    """The module of a file. Its folder goes first on the path, so that it finds the modules beside it."""
    if not file.is_file():
        raise CodeReferenceError(f"{reference}: there is no file {file}.")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    return _import(file.stem, reference, file)


def _import(name: str, reference: str, file: Path | None = None) -> ModuleType:
    try:
        module = importlib.import_module(name)
        if file is None or Path(str(module.__file__)).resolve() == file:
            return module
        # Another module has taken the name: the file gets one that is its own everywhere.
        name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} cannot be loaded")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except Exception as error:  # whatever a user's file raises while it runs
        sys.modules.pop(name, None)
        raise CodeReferenceError(f"{reference} cannot be imported: {type(error).__name__}: {error}.") from None
