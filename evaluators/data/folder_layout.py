"""What the folders of a picture collection mean: classes, or parts with classes in them.

    PATH/CLASS/*                              classes
    PATH/train/CLASS/*, PATH/test/CLASS/*     parts; also training and testing, in upper or lower case

Folders that could be either are refused instead of guessed at: a part that passes for a class gives a network that
tells training from test images. What lies beside the classes is counted, so that it can be said.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slimfront.evaluators.data.images import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})

PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
"""What folders of parts are called, in lower case, and which part each is."""

_LISTED = 5  # names in one sentence


@dataclass
class Unused:
    """What lies in a collection and is no part of the data set.

    Attributes:
        folders: Names of folders beside those of training and test images.
        beside: Pictures that lie beside the classes instead of in one.
        others: Files in the classes that are no pictures, by suffix.
    """

    folders: list[str] = field(default_factory=list)
    beside: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def sentences(self) -> Iterator[str]:
        """One for each kind, without a full stop."""
        if self.folders:
            validation = "validation images are a tenth of every training class"
            yield f"not used: {_listed(self.folders)}; only train and test are read, and {validation}"
        if self.beside:
            pictures = "picture that lies" if self.beside == 1 else "pictures that lie"
            yield f"not used: {self.beside} {pictures} beside the classes' folders"
        if self.others:
            files = "file" if self.others.total() == 1 else "files"
            yield f"not used: {self.others.total()} {files} of other kinds ({_listed(sorted(self.others))})"


def entries(folder: Path, root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is visible in a folder, by name.

    Raises:
        DataError: A link that leads to something else than a file inside `root`.
    """
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            target = entry.resolve()
            if not target.is_relative_to(root):
                raise DataError(f"{entry} is a link that leads out of {root}; copy what it stands for.")
            if target.is_dir():
                raise DataError(f"{entry} is a link to a folder; copy what it stands for.")
            if not target.exists():
                raise DataError(f"{entry} is a link to a file that is not there; remove it.")
        yield entry, entry.stat()


def class_folders(folder: Path, root: Path, unused: Unused) -> list[Path]:
    """The folders in a folder of classes; pictures that lie beside them are noted."""
    found = []
    for entry, about in entries(folder, root):
        if stat.S_ISDIR(about.st_mode):
            found.append(entry)
        elif is_picture(entry):
            unused.beside += 1
    return found


def is_picture(path: Path) -> bool:
    """Whether a file has one of the suffixes that are read."""
    return path.suffix.lower() in SUFFIXES


def train_and_test(root: Path, folders: Sequence[Path], unused: Unused) -> tuple[Path, Path] | None:
    """The folders of training and of test images; None: `folders` are classes.

    Args:
        root: The collection.
        folders: All that are in it.
        unused: Folders beside the two are noted here.

    Raises:
        DataError: Folders look like parts of a data set, but there is not one of each.
    """
    parts: dict[str, list[Path]] = {"train": [], "test": [], "validation": []}
    for folder in folders:
        part = PARTS.get(folder.name.casefold())
        if part is not None:
            parts[part].append(folder)
    if parts["train"] and parts["test"]:
        train, test = (_one(root, parts[part], part) for part in ("train", "test"))
        unused.folders += [shown(folder.name) for folder in folders if folder not in (train, test)]
        return train, test
    named = [folder for some in parts.values() for folder in some]
    # A class may be called so, too ("valid" and "invalid"): then its pictures lie in it, and not all others are parts.
    if named and (len(named) == len(folders) or any(not _has_pictures(folder, root) for folder in named)):
        missing = " and none named ".join(part for part in ("train", "test") if not parts[part])
        names = _listed(shown(folder.name) for folder in named)
        raise DataError(
            f"{root} has folders that look like parts of a data set ({names}) but none named {missing}; "
            "give both, or a folder for each class."
        )
    return None


def _one(root: Path, found: Sequence[Path], part: str) -> Path:
    """The folder of a part: the one that is called just so, or else the only one."""
    exact = [folder for folder in found if folder.name == part]
    if not exact and len(found) > 1:
        names = _listed(shown(folder.name) for folder in found)
        raise DataError(f"{root} has several folders of {part} images ({names}); rename the one that counts to {part}.")
    return (exact or found)[0]


def _has_pictures(folder: Path, root: Path) -> bool:
    return any(is_picture(entry) and stat.S_ISREG(about.st_mode) for entry, about in entries(folder, root))


def refuse_nested(folder: Path, pictures: Iterable[Path]) -> None:
    """Raise DataError where a class's pictures all lie in two or more folders inside: those may be the classes."""
    inside = {picture.relative_to(folder).parts[:-1][:1] for picture in pictures}
    if () not in inside and len(inside) > 1:
        names = _listed(sorted(shown(name) for (name,) in inside))
        raise DataError(
            f"{folder} holds only folders ({names}), which may be the classes; put the pictures of a class into its "
            "own folder, or name the folder that holds the classes."
        )


def shown(name: str) -> str:
    """A file's name as it can be printed anywhere."""
    text = os.fsencode(name).decode(errors="replace")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
