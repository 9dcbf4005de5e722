"""A user's own members by reference: "my_file.py:name" or "package.module:name".

To import a file is to run it. So a reference is only ever imported where the user gives it to the command that is
running: in the study file, or with `--allow`. One that is read from a storage, an artifact or a candidate's JSON is a
word like any other until then: `resolve` refuses it, `given` finds nothing, and what it names is never looked for.

A file is known by its own name, wherever it lies: "mine/my_file.py:name" in a study file is "my_file.py:name" to
whoever gives it from another folder. What was given is kept for the process (`only_here`: for a command), and handed
to workers as it is (`handed_out`, `take_in`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from slimfront.spaces.own.modules import beside_hers, imported, look_in, source_hash

LONGEST = 300  # characters of a reference
OPTION = "--allow"  # of the commands that take no study file

# Plain characters only, as references end up in tables, pages, notes and error texts.
_FORM = re.compile(r"(([A-Za-z]:)?[\w./\\~][\w ./\\~-]*\.py|\w+(\.\w+)*):\w+(\.\w+)*")
_FOLDERS = re.compile(r".*[/\\:]")
_SOURCE = "__slimfront_source__"  # attribute of a module: hash of the source that it was made from


class CodeReferenceError(ValueError):
    """A reference that cannot be followed, or must not be: the text says why, and what to do."""


@dataclass(frozen=True)
class Given:
    """A reference that the user gave to this command.

    Attributes:
        reference: As it is written.
        file: Of the module's source.
        source: First 16 hexadecimal digits of the SHA-256 of that file.
        folder: Where packages, and the user's other modules, were looked for first.
        modules: (path from that folder, hash) of those that the file imports, itself or through others.
    """

    reference: str
    file: str
    source: str
    folder: str
    modules: tuple[tuple[str, str], ...] = ()

    @property
    def sources(self) -> dict[str, str]:
        """The file's hash by the reference, and those of the modules: "models/small.py of my_nets.py"."""
        place = _key(self.reference).rpartition(":")[0]
        return {self.reference: self.source} | {f"{path} of {place}": source for path, source in self.modules}


_given: dict[str, tuple[Given, Any]] = {}  # by `_key`


def is_reference(name: object) -> bool:
    """Whether a name is a reference: the product's own names have no colon."""
    return (
        isinstance(name, str)
        and ":" in name
        and len(name) <= LONGEST
        and name.isprintable()
        and _FORM.fullmatch(name) is not None
    )


def named_in(value: object) -> list[str]:
    """The references among all words and keys of a table, as TOML or JSON gives it, each once."""
    found: dict[str, None] = {}
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        for entry in value:
            found |= dict.fromkeys(named_in(entry))
    elif isinstance(value, str) and is_reference(value):
        found[value] = None
    return list(found)


def give(reference: str, folder: Path) -> Given:
    """Import what the user gave, and keep it for this process.

    Args:
        reference: "my_file.py:name" or "package.module:name"; "name" may have dots.
        folder: Where a file's path begins, and where packages are looked for first: the study file's folder, or the
            current one.

    Raises:
        CodeReferenceError: It has another form, there is no such file, module or name, the import fails, or another
            file of that name was given.
    """
    if not is_reference(reference):
        raise CodeReferenceError(f"{reference[:LONGEST]!r} must be FILE.py:NAME or PACKAGE.MODULE:NAME.")
    place, _, name = reference.rpartition(":")
    if place.endswith(".py"):
        module = _import_file((folder / Path(place).expanduser()).resolve(), reference)
    else:
        module = _import_package(place, folder.resolve(), reference)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CodeReferenceError(f"{reference}: {place} has no {name}.") from None
        except Exception as error:  # whatever a module's own __getattr__ raises
            raise CodeReferenceError(f"{reference} cannot be imported: {why(error)}.") from None
    file, source = Path(str(getattr(module, "__file__", ""))), getattr(module, _SOURCE, None)
    if source is None or not file.is_file():
        raise CodeReferenceError(f"{reference}: {place} has no source file.")
    hers = file.parent if place.endswith(".py") else folder.resolve()
    modules = tuple(imported(file, hers).items()) if file.is_relative_to(hers) else ()
    given = Given(reference, str(file), source, str(hers), modules)
    before = _given.get(_key(reference))
    if before is not None and before[0].file != given.file:
        raise CodeReferenceError(f"{reference} is in two files, {before[0].file} and {file}: give one another name.")
    _given[_key(reference)] = (given, found)
    return given


def give_all(references: Iterable[str], folder: Path) -> None:
    """`give` each of them."""
    for reference in references:
        give(reference, folder)


def given(reference: str) -> Any:
    """What the user gave under that reference; None where nothing was."""
    entry = _given.get(_key(reference))
    return None if entry is None else entry[1]


def resolve(reference: str) -> Any:
    """What the user gave under that reference. Raises CodeReferenceError where nothing was."""
    if _key(reference) not in _given:
        raise CodeReferenceError(
            f"{reference[:LONGEST]} is code of a user's own, which is imported only where you name it: "
            f"add {OPTION} {reference[:LONGEST]}."
        )
    return given(reference)


def check_given(among: object) -> None:
    """Raise CodeReferenceError unless every reference that is named in a table was given."""
    for name in named_in(among):
        resolve(name)


def sources(among: object = None) -> dict[str, str]:
    """The hashes of the sources of every reference that was given and is named in `among`: what a trial records.

    Those of the modules of hers that they import are among them.

    Args:
        among: A table of any depth, such as a candidate's JSON; None: all that were given.
    """
    if among is None:
        entries = [entry for _, (entry, _) in sorted(_given.items())]
    else:
        named = [name for name in sorted(named_in(among)) if _key(name) in _given]
        entries = [replace(_given[_key(name)][0], reference=name) for name in named]
    return {name: source for entry in entries for name, source in entry.sources.items()}


def typed() -> list[str]:
    """Every reference that was given, as it is typed in the current folder: a study file's are relative to its own."""
    found = []
    for entry, _ in _given.values():
        place, _, name = entry.reference.rpartition(":")
        file = Path(entry.file)
        if place.endswith(".py") and Path(place).expanduser().resolve() != file:
            here = Path().resolve()
            place = str(file.relative_to(here) if file.is_relative_to(here) else file)
        found.append(f"{place}:{name}")
    return found


def sources_key(among: object) -> tuple[str | None, ...]:
    """What else a value depends on that is kept under its words: of each reference named, what it leads to now."""
    given_now = (_given.get(_key(name)) for name in named_in(among))
    return tuple(None if entry is None else f"{entry[0].file} {entry[0].sources}" for entry in given_now)


def handed_out() -> tuple[Given, ...]:
    """What was given, for a worker in another process."""
    return tuple(entry[0] for entry in _given.values())


def take_in(handed: Iterable[Given]) -> None:
    """In a worker: import what the coordinator's user gave. Raises CodeReferenceError, also for a changed source."""
    for entry in handed:
        known = _given.get(_key(entry.reference))
        if known is not None and known[0].sources == entry.sources:
            continue
        place, _, name = entry.reference.rpartition(":")
        again = give(f"{entry.file}:{name}" if place.endswith(".py") else entry.reference, Path(entry.folder))
        found = _given.pop(_key(entry.reference))[1]
        if again.source != entry.source:
            raise CodeReferenceError(f"{entry.reference}: {again.file} has changed since the command began.")
        for path, _ in sorted({*again.modules} ^ {*entry.modules})[:1]:
            raise CodeReferenceError(
                f"{entry.reference}: {Path(entry.folder) / path} has changed since the command began."
            )
        _given[_key(entry.reference)] = (entry, found)


@contextlib.contextmanager
def only_here() -> Iterator[None]:
    """What is given inside is forgotten at the end, and inside nothing is known that was given before.

    A command sees what its own user names, whatever else the process has run.
    """
    before, folders = dict(_given), list(beside_hers.folders)
    _given.clear()
    try:
        yield
    finally:
        _given.clear()
        _given.update(before)
        beside_hers.forget(folders)


def _key(reference: str) -> str:
    """A file's own name and the name in it; the name of a package's module as it is."""
    place, _, name = reference.rpartition(":")
    return f"{_FOLDERS.sub('', place)}:{name}" if place.endswith(".py") else reference


def _import_package(name: str, folder: Path, reference: str) -> ModuleType:
    """The module as its file stands now, too: one that was given before from another source is imported anew."""
    look_in(folder)
    try:
        known = sys.modules.get(name)
        if known is not None and _SOURCE in vars(known) and vars(known)[_SOURCE] != _source_of(known):
            del sys.modules[name]
        module = importlib.import_module(name)
        vars(module).setdefault(_SOURCE, _source_of(module))
        return module
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a user's module raises while it runs
        raise CodeReferenceError(f"{reference} cannot be imported: {why(error)}.") from None


def _source_of(module: ModuleType) -> str | None:
    """Hash of a module's file as it stands; None where it has none."""
    file = Path(str(getattr(module, "__file__", "")))
    return source_hash(file.read_bytes()) if file.is_file() else None


def _import_file(file: Path, reference: str) -> ModuleType:
    """The module of a file as it stands now: what is hashed is what runs, whatever lies in a cache of bytecode."""
    if not file.is_file():
        raise CodeReferenceError(f"{reference}: there is no file {file}.")
    look_in(file.parent)
    name = _module_name(file)
    try:
        source = file.read_bytes()
        known = sys.modules.get(name)
        if known is not None and getattr(known, _SOURCE, None) == source_hash(source):
            return known
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None:
            raise ImportError(f"{file} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        setattr(module, _SOURCE, source_hash(source))
        sys.modules[name] = module  # before it runs, as dataclasses in it look themselves up
        try:
            exec(compile(source, str(file), "exec"), module.__dict__)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return module
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a user's file raises while it runs
        raise CodeReferenceError(f"{reference} cannot be imported: {why(error)}.") from None


def _module_name(file: Path) -> str:
    """The file's own name, so that the modules beside it share it; where another module has that, one of its own."""
    known = sys.modules.get(file.stem)
    if known is None:
        with contextlib.suppress(ImportError, ValueError):
            known = importlib.util.find_spec(file.stem)  # type: ignore[assignment]
    origin = getattr(known, "__file__", None) or getattr(known, "origin", None)
    free = known is None or (origin is not None and Path(origin).resolve() == file)
    return file.stem if free else f"{file.stem}_{source_hash(os.fsencode(file))[:8]}"


def why(error: BaseException) -> str:
    """What a user's code has raised, and where, in one line: "TypeError: no such width (my_nets.py, line 12)"."""
    text = (" ".join(str(error).split()) or "no reason given")[:LONGEST]
    frames = traceback.extract_tb(error.__traceback__)
    # A syntax error's text says where, and "<frozen importlib...>" is none of hers.
    if isinstance(error, SyntaxError) or not frames or frames[-1].filename.startswith("<"):
        return f"{type(error).__name__}: {text}"
    return f"{type(error).__name__}: {text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
