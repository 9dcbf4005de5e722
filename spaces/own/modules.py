"""What lies beside a user's code, her `models/` and `utils.py`: found first, run as it is written, hashed.

Python's own modules stay what they are: a user's code.py or queue.py must not replace them.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

_OURS = __name__.partition(".")[0]


class _AsWritten(SourceFileLoader):
    """Runs a file as it stands now, whatever lies in a cache of bytecode: what is hashed is what runs."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)  # type: ignore[no-any-return]


class _BesideHers(MetaPathFinder):
    """Finds what lies beside a user's code before what is called so elsewhere.

    A folder without code in it is none of hers: it may lie there for its pictures.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []
        self._found: set[str] = set()

    def forget(self, folders: list[str]) -> None:
        """Look in these folders alone from now on; what was found in others is imported anew where it is asked for."""
        if self.folders == folders:
            return
        self.folders[:] = folders
        for name in [name for name in sys.modules if name.partition(".")[0] in self._found]:
            del sys.modules[name]
        self._found.clear()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Of a module in her folders, or in a package of hers; None: others look for it."""
        if path is not None:
            inside = fullname.partition(".")[0] in self._found
            return _as_written(PathFinder.find_spec(fullname, path)) if inside else None
        if not _may_be_hers(fullname):
            return None
        spec = PathFinder.find_spec(fullname, self.folders)
        places = () if spec is None or spec.origin is not None else tuple(spec.submodule_search_locations or ())
        without_code = spec is not None and spec.origin is None and not any(map(_has_code, places))
        if spec is None or without_code:
            return None
        self._found.add(fullname)
        return _as_written(spec)


beside_hers = _BesideHers()


def look_in(folder: Path) -> None:
    """Let what is in that folder be imported by its own name, and be found first."""
    if beside_hers not in sys.meta_path:
        sys.meta_path.insert(0, beside_hers)
    if str(folder) not in beside_hers.folders:
        beside_hers.folders.insert(0, str(folder))


def source_hash(source: bytes) -> str:
    """First 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(source).hexdigest()[:16]


def imported(file: Path, folder: Path) -> dict[str, str]:
    """The modules of hers that a file imports, at its top or in a function, itself or through others.

    They are read from the syntax: which were imported already, and in which order, makes no difference.

    Args:
        file: Of code.
        folder: Where her modules lie.

    Returns:
        By its path from the folder, the hash of each module's source.
    """
    found: dict[Path, str] = {}
    left = [file]
    while left:
        for module in _named_in(left.pop(), folder):
            if module not in found and module != file:
                found[module] = source_hash(module.read_bytes())
                left.append(module)
    return {module.relative_to(folder).as_posix(): found[module] for module in sorted(found)}


def _named_in(file: Path, folder: Path) -> Iterator[Path]:
    """The files of the modules that a file imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # of one that is imported later, if ever
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(folder, alias.name.split("."), folder)
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _files(base, [*parts, alias.name], folder)


def _files(base: Path, parts: list[str], folder: Path) -> Iterator[Path]:
    """The files that are run where `parts` are imported one in the other; the last may be a name in a module."""
    if not base.is_relative_to(folder) or (base == folder and not _may_be_hers(parts[0])):
        return
    for part in parts:
        package = base / part / "__init__.py"
        module = base / f"{part}.py"
        if package.is_file():
            yield package
        elif module.is_file():
            yield module
            return
        base = base / part


def _may_be_hers(name: str) -> bool:
    return name not in sys.stdlib_module_names and name != _OURS


def _has_code(folder: str) -> bool:
    return any(Path(folder).glob("*.py"))


def _as_written(spec: ModuleSpec | None) -> ModuleSpec | None:
    if spec is not None and type(spec.loader) is SourceFileLoader:
        spec.loader = _AsWritten(spec.loader.name, spec.loader.path)
    return spec
