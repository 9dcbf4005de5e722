"""An image folder of the user's own: a sub-folder a class, pictures of any size in it.

    PATH/CLASS/*.png                          a tenth of every class is for testing, a tenth for validation
    PATH/train/CLASS/*, PATH/test/CLASS/*     a tenth of every training class is for validation

The parts are fixed by the hash of each file's name, not drawn: the same folder has the same parts everywhere, and
a few pictures more do not reshuffle the others.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from slimfront.evaluators.data.images import Collection, DataError, Images
from slimfront.evaluators.data.sources import Progress, one_line

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
DEFAULT_SIZE = 32
LARGEST_SIZE = 512  # pixels a side of what is kept
LARGEST_FILE = 64 * 2**20  # bytes
MOST_PIXELS = 50_000_000  # of one picture: decoding it wants three or four bytes for each
MOST_FILES = 1_000_000
MOST_BYTES = 4 * 2**30  # of all pixels that are kept: they are held in memory


@dataclass(frozen=True)
class _File:
    path: Path
    name: str  # path below the folder, with slashes
    label: int
    size: int
    changed: int  # nanoseconds


@dataclass(frozen=True)
class ImageFolder:
    """The pictures of a folder, listed but not yet read. Made by `list_folder`."""

    root: Path
    image_size: int
    class_names: tuple[str, ...]
    train: tuple[_File, ...]
    test: tuple[_File, ...]
    validation: tuple[int, ...]  # indices into train

    @property
    def key(self) -> str:
        """For the cache: changes with the place, the size asked for, and any file's name, size or time."""
        files = [(file.name, file.label, file.size, file.changed) for file in (*self.train, *self.test)]
        text = repr((str(self.root), self.image_size, self.class_names, len(self.train), files))
        return "folder-" + hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, progress: Progress | None = None) -> Collection:
        """Decodes all pictures to (3, image_size, image_size). Raises DataError for one that cannot be read."""
        total = len(self.train) + len(self.test)
        if progress is not None:
            progress(f"Reading {total} images of {self.root}")
        return Collection(
            train=_decode(self.train, self.image_size),
            test=_decode(self.test, self.image_size),
            validation=torch.tensor(self.validation, dtype=torch.int64),
            class_names=self.class_names,
            origin=os.fsencode(self.root).decode(errors="replace"),
            check="none: a folder of your own",
        )


def list_folder(path: str | os.PathLike[str], image_size: int | None = None) -> ImageFolder:
    """Finds classes and pictures of a folder and fixes its parts; reads no picture.

    Args:
        path: The folder.
        image_size: Side of the images in pixels, 32 unless given.

    Raises:
        DataError: Not a folder, fewer than two classes, a class with too few pictures, more than the limits allow, or
            a link that leads out of the folder.
    """
    size = DEFAULT_SIZE if image_size is None else image_size
    if not 4 <= size <= LARGEST_SIZE:
        raise DataError(f"--image-size must be in 4..{LARGEST_SIZE}, but got {size}.")
    root = Path(path).expanduser()
    try:
        root = root.resolve(strict=True)
        if not str(path) or not root.is_dir():
            raise DataError(f"folder:{path} is not a folder; give folder:PATH with a sub-folder for each class.")
        parts = {entry.name: entry for entry in _folders(root, root)}
        if "train" in parts and "test" in parts:
            class_names, train = _labelled(parts["train"], root, at_least=2)
            _, test = _labelled(parts["test"], root, at_least=1, known=class_names)
            held_out = _chosen(train, len(class_names), (0.1,))[0]
        elif "train" in parts:
            raise DataError(f"{root} has a sub-folder train but none named test; give both, or neither.")
        else:
            class_names, files = _labelled(root, root, at_least=3)
            test, held_out = _chosen(files, len(class_names), (0.1, 0.1))
            tested = set(test)
            train = [file for file in files if file not in tested]
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, folders without an end
        if isinstance(error, DataError):
            raise
        raise DataError(f"folder:{path} cannot be read ({one_line(getattr(error, 'strerror', error))}).") from None
    count = len(train) + len(test)
    if count * 3 * size * size > MOST_BYTES:
        raise DataError(
            f"{root} has {count} images: at {size}x{size} more than {MOST_BYTES / 2**30:g} GiB;"
            " choose a smaller --image-size."
        )
    held = set(held_out)
    validation = tuple(index for index, file in enumerate(train) if file in held)
    return ImageFolder(root, size, class_names, tuple(train), tuple(test), validation)


def _entries(folder: Path, root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is visible in a folder, by name. A link may lead to a file inside `root`, nowhere else."""
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


def _folders(folder: Path, root: Path) -> list[Path]:
    return [entry for entry, about in _entries(folder, root) if stat.S_ISDIR(about.st_mode)]


def _pictures(folder: Path, root: Path, label: int) -> Iterator[_File]:
    """All pictures in a class's folder and the folders in it."""
    for entry, about in _entries(folder, root):
        if stat.S_ISDIR(about.st_mode):
            yield from _pictures(entry, root, label)
        elif entry.suffix.lower() in SUFFIXES:
            if not stat.S_ISREG(about.st_mode):
                raise DataError(f"{entry} is not a regular file; remove it.")
            name = entry.relative_to(root).as_posix()
            yield _File(entry, name, label, about.st_size, about.st_mtime_ns)


def _labelled(
    folder: Path, root: Path, at_least: int, known: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], list[_File]]:
    """Class names (sorted) and files (by class and name) of a folder of classes; `known` names cannot be added to."""
    folders = _folders(folder, root)
    names = known if known is not None else tuple(entry.name for entry in folders)
    if len(names) < 2:
        raise DataError(f"{folder} has {len(names)} sub-folders; each class wants one, and there must be two at least.")
    files: list[_File] = []
    for entry in folders:
        if entry.name not in names:
            raise DataError(f"{entry} is no class of the training images; remove it or add {root}/train/{entry.name}.")
        before = len(files)
        for file in _pictures(entry, root, names.index(entry.name)):
            files.append(file)
            if len(files) > MOST_FILES:
                raise DataError(f"{folder} has more than {MOST_FILES} images; use a part of them.")
        if len(files) - before < at_least:
            suffixes = ", ".join(sorted(SUFFIXES))
            found = len(files) - before
            raise DataError(f"{entry} has {found} images, but {at_least} are needed at least ({suffixes}).")
    if not files:
        raise DataError(f"{folder} has no images.")
    return names, files


def _chosen(files: list[_File], classes: int, shares: tuple[float, ...]) -> list[list[_File]]:
    """For each share that part of every class, at least one file, by the hash of the names; the parts are disjoint."""
    parts: list[list[_File]] = [[] for _ in shares]
    by_class: list[list[_File]] = [[] for _ in range(classes)]
    for file in files:
        by_class[file.label].append(file)
    for members in by_class:
        ordered = sorted(members, key=lambda file: hashlib.sha256(os.fsencode(file.name)).digest())
        start = 0
        for part, share in zip(parts, shares, strict=True):
            count = max(1, round(share * len(members)))
            part += ordered[start : start + count]
            start += count
    return [sorted(part, key=lambda file: (file.label, file.name)) for part in parts]


def _decode(files: tuple[_File, ...], size: int) -> Images:
    pixels = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for index, file in enumerate(files):
        pixels[index] = torch.from_numpy(_read(file, size))
    return Images(pixels, torch.tensor([file.label for file in files], dtype=torch.int64))


def _read(file: _File, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One picture as (3, size, size): turned upright, its middle square cut out, resized."""
    from PIL import Image, ImageOps

    if file.size > LARGEST_FILE:
        raise DataError(f"{file.path} has more than {LARGEST_FILE // 2**20} MiB; remove it or make it smaller.")
    try:
        with Image.open(file.path, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise DataError(f"{file.path} is {picture.width}x{picture.height}: too large; make it smaller.")
            if picture.mode[0] in "IF":
                raise DataError(f"{file.path} has pixels of more than 8 bits; convert it to 8 bits a channel.")
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        square = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
    except DataError:
        raise
    except Exception as error:  # what a broken picture makes Pillow raise is not a closed list
        raise DataError(f"{file.path} is not a picture that can be read ({one_line(error)}); remove it.") from None
    return np.asarray(square).transpose(2, 0, 1).copy()
