"""An image folder of the user's own: a sub-folder a class, pictures of any size in it.

    PATH/CLASS/*.png                          a tenth of every class is for testing, a tenth for validation
    PATH/train/CLASS/*, PATH/test/CLASS/*     a tenth of every training class is for validation

The parts are fixed by the hash of each file's name, not drawn: the same folder has the same parts everywhere, and
a few pictures more do not reshuffle the others. Every picture becomes a square: its middle is cut out and resized.
Transparent pictures are laid over mid-grey, which is zero to a network, and on which black and white both show.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from slimfront.evaluators.data.folder_layout import (
    SUFFIXES,
    Unused,
    class_folders,
    entries,
    is_picture,
    refuse_nested,
    shown,
    train_and_test,
)
from slimfront.evaluators.data.images import Collection, DataError, Images
from slimfront.evaluators.data.sources import Progress, one_line
from slimfront.spaces import domain
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
BACKGROUND = (128, 128, 128)  # what transparent pictures are laid over: mid-grey
DEFAULT_SIZE = 32
SMALLEST_SIZE, LARGEST_SIZE = 4, 512  # pixels a side of what is kept
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
    notes: tuple[str, ...] = ()  # for people: what becomes of the pictures, and what of the folder is not used

    @property
    def key(self) -> str:
        """For the cache: changes with the place, the size asked for, and any file's name, size or time."""
        files = [(file.name, file.label, file.size, file.changed) for file in (*self.train, *self.test)]
        text = repr((str(self.root), self.image_size, self.class_names, len(self.train), files, BACKGROUND))
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


def check_size(size: int) -> None:
    """Raise DataError for a side that pictures cannot get, in pixels."""
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise DataError(
            f"An image size must be in {SMALLEST_SIZE}..{LARGEST_SIZE} pixels, but got {domain.shown(size)}."
        )


def list_folder(path: str | os.PathLike[str], image_size: int | None = None) -> ImageFolder:
    """Finds classes and pictures of a folder and fixes its parts; reads no picture.

    Args:
        path: The folder.
        image_size: Side of the images in pixels, 32 unless given.

    Raises:
        DataError: Not a folder, fewer than two classes, a class with too few pictures, folders that may be classes or
            parts or folders of classes, more than the limits allow, or a link that leads out of the folder.
    """
    size = DEFAULT_SIZE if image_size is None else image_size
    check_size(size)
    root, unused = Path(path).expanduser(), Unused()
    try:
        root = root.resolve(strict=True)
        if not str(path) or not root.is_dir():
            raise DataError(f"folder:{path} is not a folder; give folder:PATH with a sub-folder for each class.")
        folders = class_folders(root, root, unused)
        parts = train_and_test(root, folders, unused)
        if parts is not None:
            train_folders, test_folders = (class_folders(part, root, unused) for part in parts)
            class_names, train = _labelled(parts[0], train_folders, root, unused, at_least=2)
            _, test = _labelled(parts[1], test_folders, root, unused, at_least=1, known=(parts[0], class_names))
            held_out = _chosen(train, len(class_names), (0.1,))[0]
        else:
            class_names, files = _labelled(root, folders, root, unused, at_least=3)
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
            " choose a smaller image size."
        )
    held = set(held_out)
    validation = tuple(index for index, file in enumerate(train) if file in held)
    notes = (
        f"pictures become {size}x{size} pixels: the middle square of each, resized; transparent ones on mid-grey",
        *unused.sentences(),
    )
    return ImageFolder(root, size, class_names, tuple(train), tuple(test), validation, notes)


def _pictures(folder: Path, root: Path, label: int, unused: Unused) -> Iterator[_File]:
    """All pictures in a class's folder and the folders in it."""
    for entry, about in entries(folder, root):
        if stat.S_ISDIR(about.st_mode):
            yield from _pictures(entry, root, label, unused)
        elif is_picture(entry):
            if not stat.S_ISREG(about.st_mode):
                raise DataError(f"{entry} is not a regular file; remove it.")
            name = entry.relative_to(root).as_posix()
            yield _File(entry, name, label, about.st_size, about.st_mtime_ns)
        else:
            unused.others[shown(entry.suffix.lower()) or "no suffix"] += 1


def _labelled(
    folder: Path,
    folders: list[Path],
    root: Path,
    unused: Unused,
    *,
    at_least: int,
    known: tuple[Path, tuple[str, ...]] | None = None,
) -> tuple[tuple[str, ...], list[_File]]:
    """Class names (sorted) and files (by class and name) of a folder of classes, which are `folders`.

    `known` is the folder of the training images and its classes, which cannot be added to.
    """
    names = known[1] if known is not None else tuple(entry.name for entry in folders)
    if len(names) < 2:
        raise DataError(f"{folder} has {len(names)} sub-folders; each class wants one, and there must be two at least.")
    files: list[_File] = []
    for entry in folders:
        if known is not None and entry.name not in names:
            raise DataError(f"{entry} is no class of the training images; remove it or add {known[0] / entry.name}.")
        before = len(files)
        for file in _pictures(entry, root, names.index(entry.name), unused):
            files.append(file)
            if len(files) > MOST_FILES:
                raise DataError(f"{folder} has more than {MOST_FILES} images; use a part of them.")
        if len(files) - before < at_least:
            suffixes = ", ".join(sorted(SUFFIXES))
            found = len(files) - before
            raise DataError(f"{entry} has {found} images, but {at_least} are needed at least ({suffixes}).")
        refuse_nested(entry, (file.path for file in files[before:]))
    if not files:
        raise DataError(f"{folder} has no images in sub-folders named by class.")
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
    """One picture as (3, size, size): turned upright, laid over BACKGROUND, its middle square cut out, resized."""
    from PIL import Image, ImageOps

    if file.size > LARGEST_FILE:
        raise DataError(f"{file.path} has more than {LARGEST_FILE // 2**20} MiB; remove it or make it smaller.")
    try:
        with Image.open(file.path, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise DataError(f"{file.path} is {picture.width}x{picture.height}: too large; make it smaller.")
            if picture.mode[0] in "IF":
                raise DataError(f"{file.path} has pixels of more than 8 bits; convert it to 8 bits a channel.")
            upright = ImageOps.exif_transpose(picture)
        square = ImageOps.fit(_opaque(upright), (size, size), Image.Resampling.BILINEAR)
    except DataError:
        raise
    except Exception as error:  # what a broken picture makes Pillow raise is not a closed list
        raise DataError(f"{file.path} is not a picture that can be read ({one_line(error)}); remove it.") from None
    return np.asarray(square).transpose(2, 0, 1).copy()


def read_pictures(paths: Sequence[Path], shape: tuple[int, int, int]) -> Tensor:
    """Pictures of any size as a network takes them, (N, *shape) uint8: as those of a folder become.

    Raises DataError for one that cannot be read, and for a network that takes neither colours nor grey.
    """
    channels, height, width = shape
    if height != width or channels not in (1, 3):
        raise DataError(
            f"Pictures become square, in colours or grey, but the network takes {channels}x{height}x{width}."
        )
    pixels = torch.empty(len(paths), 3, height, width, dtype=torch.uint8)
    for index, path in enumerate(paths):
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}.") from None
        pixels[index] = torch.from_numpy(_read(_File(path, path.name, 0, size, 0), height))
    if channels == 3:
        return pixels
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601
    return (pixels * weights).sum(1, keepdim=True).round().clamp(0, 255).to(torch.uint8)


def _opaque(picture: Image.Image) -> Image.Image:
    """As RGB; where anything is transparent, BACKGROUND shows through."""
    from PIL import Image

    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            canvas = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
            canvas.alpha_composite(layer)
            return canvas.convert("RGB")
    return picture.convert("RGB")
