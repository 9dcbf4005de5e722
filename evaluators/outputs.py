"""What a command writes: files that are there whole or not at all, and never over what it reads.

Every command checks its outputs before it begins (`check`), and writes each of them by `write`.
"""

from __future__ import annotations

import contextlib
import errno
import mimetypes
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

_FORMATS = mimetypes.MimeTypes()  # of the language alone: a machine's own list may call study-1.2 a manual page
for _ending in (".toml", ".slim", ".onnx", ".db", ".sqlite", ".sqlite3", ".safetensors", ".pt", ".pth"):
    _FORMATS.add_type("application/octet-stream", _ending)  # files that people write for slimfront, or keep from it


class OutputError(ValueError):
    """An output that must not, or cannot, be written: the text names the option and says what to do."""


def write(path: Path, content: bytes | str) -> None:
    """Write a file, text as UTF-8: either all of it is there, or what was there before. Makes folders that are missing.

    It is written under another name in the same folder, forced to the disk and renamed. A link stays a link: what it
    leads to is replaced, with the permissions that it had. A device or a pipe is written straight into.

    Raises:
        OSError: The file cannot be written (a full disk, say), and is named; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_stream(path):
            path.write_bytes(data)
        else:
            _replace(path, data)
    except OSError as error:
        if error.filename is None:  # what fails while it is written names no file
            error.filename = str(path)
        raise


def _replace(path: Path, data: bytes) -> None:
    target = Path(os.path.realpath(path))
    before = target.stat() if target.exists() else None
    if before is not None and not may_write(target):  # renaming would replace even a file that is protected
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            temporary.chmod(stat.S_IMODE(before.st_mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuse outputs that are an input, another output or a folder, or that lie where nothing can be written.

    Files are compared by what they are, not by how they are written: links, hard links and relative paths are the
    file that they lead to.

    Args:
        outputs: Files to be written, by their names on the command line; None: not asked for.
        inputs: Files that are read, or must stay as they are, by what they are called.

    Raises:
        OutputError: The first output that cannot be.
    """
    taken = [(name, path) for name, path in inputs.items() if path is not None]
    for name, path in outputs.items():
        if path is None:
            continue
        for other, place in taken:
            if not same_file(path, place):
                continue
            if other in outputs:
                raise OutputError(f"{other} and {name} are the same file, {path}: give each a file of its own.")
            raise OutputError(f"{name} would overwrite {other}, {place}: give it a file of its own.")
        if path.is_dir():
            raise OutputError(f"{name}: {path} is a folder: name a file in it.")
        if _is_stream(path):
            continue  # what is written there comes after what was written before, and overwrites nothing
        if path.exists() and not may_write(path):
            raise OutputError(f"{name}: {path} is protected from writing: give another file.")
        _check_room(name, path.parent)
        taken.append((name, path))


def check_folder(
    name: str, folder: Path, files: Iterable[str], inputs: Mapping[str, Path | None], folders: Iterable[str] = ()
) -> None:
    """Refuse a folder for results that cannot be written in, or where one of them would overwrite an input.

    It is tried: a folder that is missing is made and goes again, and so does an empty file.

    Args:
        name: Of the option.
        folder: For the results; it may be missing.
        files: Names of those that are written under a fixed name.
        inputs: As for `check`.
        folders: Names of those that are written in it.

    Raises:
        OutputError: It cannot be used.
    """
    _check_room(name, folder)
    check({f"{file} in {name}": folder / file for file in files}, inputs)
    for sub in folders:
        if (folder / sub).exists() and not (folder / sub).is_dir():
            raise OutputError(f"{name}: {folder / sub} is a file, and has to be a folder: choose another place.")
    _try_room(name, folder)


def check_ending(name: str, path: Path | None, endings: tuple[str, ...], what: str) -> None:
    """Refuse a name that promises another format than what is written, such as slides.pdf for a page of HTML.

    Args:
        name: Of the option.
        path: The output; an ending that stands for no known format, as in study-1.2, is left alone.
        endings: That are right, the usual one first.
        what: Is written, for the error.

    Raises:
        OutputError: The ending is that of another format.
    """
    if path is None or path.suffix.lower() in endings or _FORMATS.guess_type(f"x{path.suffix}")[0] is None:
        return
    raise OutputError(f"{name} {path} is written as {what}: let its name end in {endings[0]}.")


def check_outside_data(name: str, folder: Path, dataset: str) -> None:
    """Refuse a folder for results among the classes of an image folder: it would be read as pictures of a class.

    Args:
        name: Of the option.
        folder: For the results.
        dataset: Name of the data set; others than folder:PATH lie elsewhere.

    Raises:
        OutputError: It lies there.
    """
    if not dataset.startswith("folder:"):
        return
    root = Path(os.path.realpath(Path(dataset.removeprefix("folder:")).expanduser()))
    place = Path(os.path.realpath(folder))
    if not root.is_dir() or not place.is_relative_to(root):
        return
    parts = {entry.name for entry in root.iterdir() if entry.name.lower().startswith(("train", "test", "val"))}
    if any(part.lower().startswith("train") for part in parts):  # classes lie in these, and nothing beside them is read
        first = place.relative_to(root).parts[:1]
        if not parts.intersection(first):
            return
    raise OutputError(f"{name}: {folder} lies among the pictures of {dataset}: give a folder outside of them.")


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, or would, once it is written."""
    try:
        return os.path.samestat(one.stat(), other.stat())
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _check_room(name: str, folder: Path) -> None:
    """Refuse a folder that is a file, or, where it is missing, cannot be made."""
    place = _nearest(name, folder)
    if not place.is_dir():
        raise OutputError(f"{name}: {place} is a file, not a folder: choose another place.")
    if not may_write(place):
        raise OutputError(f"{name}: nothing can be written in {place}: choose another place, or change who may.")


def _nearest(name: str, folder: Path) -> Path:
    """The folder, or the nearest one above it that is there. Raises OutputError where the path cannot be one."""
    place = folder
    try:
        while not place.exists() and not place.is_symlink() and place != place.parent:
            place = place.parent
    except OSError as error:  # a name that is too long, say
        raise OutputError(f"{name}: {folder} cannot be written: {error.strerror}; choose another place.") from None
    return place


def _try_room(name: str, folder: Path) -> None:
    """Refuse a folder that a file cannot be written in: some file systems only say so when it is tried."""
    made: list[Path] = []
    there = _nearest(name, folder)
    try:
        for place in [*reversed(folder.relative_to(there).parents), folder.relative_to(there)]:
            if not (there / place).is_dir():
                (there / place).mkdir()
                made.append(there / place)
        tried = folder / f".{secrets.token_hex(8)}.tmp"
        tried.touch(exist_ok=False)
        tried.unlink()
    except OSError as error:
        text = f"{name}: nothing can be written in {folder}: {error.strerror}; choose another place."
        raise OutputError(text) from None
    finally:
        with contextlib.suppress(OSError):  # somebody else may have begun to use it
            for place in reversed(made):
                place.rmdir()


def may_write(path: Path) -> bool:
    """Whether this user may write a file, or in a folder, that is there, and its medium can be written."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _is_stream(path: Path) -> bool:
    """Whether it is a device, a pipe or a name for an open file, such as /dev/stdout, that must not be replaced."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
    return not regular or Path(os.path.abspath(path)).is_relative_to("/dev")  # noqa: PTH100 (resolve follows links)
