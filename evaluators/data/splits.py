"""Data sets by name: what a search may see, and what the final training may.

    digits, cifar10, cifar100, fashion-mnist, folder:PATH

All have the same interface. A search gets a `SearchData`, which holds no test images; the final training gets a
`FinalData`, which opens them on demand and counts how often. Downloaded sets are checked, and kept in
`~/.cache/slimfront` (or `$XDG_CACHE_HOME/slimfront`) as uint8 tensors, training and test images in separate files.

>>> from slimfront.evaluators.data.splits import search_data
>>> data = search_data("digits")
>>> len(data.train), len(data.validation), data.input_shape, data.classes
(997, 300, (1, 12, 12), 10)
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from slimfront.evaluators.data import cifar10, torchvision_sets
from slimfront.evaluators.data.cache import Cached
from slimfront.evaluators.data.digits import digits, digits_path
from slimfront.evaluators.data.image_folder import check_size, list_folder
from slimfront.evaluators.data.images import Collection, DataError, Images, TrainingPart
from slimfront.evaluators.data.sources import Progress, SourceError, first_source

__all__ = [
    "NAMES",
    "DataError",
    "FinalData",
    "Images",
    "SearchData",
    "Source",
    "fetch",
    "final_data",
    "notes_of",
    "search_data",
]

NAMES = ("digits", "cifar10", "cifar100", "fashion-mnist", "folder:PATH")
ENVIRONMENT = "SLIMFRONT_DATA"


@dataclass(frozen=True, eq=False)
class SearchData:
    """What a search trains and validates on. There are no test images in it, nor a way to them.

    Attributes:
        name: As given, e.g. "cifar10".
        train: The training images without the validation part.
        validation: A fixed, stratified part of the training images (5,000 of CIFAR-10's 50,000).
        classes: Number of classes.
        digest: 16 hexadecimal digits over all training images and the indices of the validation part.
        class_names: One a class.
    """

    name: str
    train: Images
    validation: Images
    classes: int
    digest: str
    class_names: tuple[str, ...]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.train.shape


@dataclass(eq=False)
class FinalData:
    """What a final training trains on, and the test images, once it is over.

    Attributes:
        name: As given.
        train: All training images, the validation part included.
        classes: Number of classes.
        digest: The same as that of the `SearchData` of the same set.
        class_names: One a class.
        test_reads: How often the test images were opened.
    """

    name: str
    train: Images
    classes: int
    digest: str
    class_names: tuple[str, ...]
    _open_test: Callable[[], Images] = field(repr=False)
    test_reads: int = 0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.train.shape

    def test(self) -> Images:
        """Opens the test images. Every call counts: honest numbers come from one for each trained network."""
        self.test_reads += 1
        return self._open_test()


@dataclass(frozen=True)
class Source:
    """What is known of a data set once it has been fetched and checked.

    Attributes:
        name: As given.
        path: Where it lies.
        origin: Where the bytes came from.
        check: What they were compared with.
        train: Number of training images, the validation part not counted.
        validation: Number of images in the validation part.
        test: Number of test images.
        input_shape: (channels, height, width).
        class_names: One a class.
        digest: As in `SearchData`.
        notes: What else there is to know, a sentence each: of a folder, what is not used of it.
    """

    name: str
    path: Path
    origin: str
    check: str
    train: int
    validation: int
    test: int
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "path": str(self.path),
            "origin": self.origin,
            "check": self.check,
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            "input_shape": list(self.input_shape),
            "class_names": list(self.class_names),
            "digest": self.digest,
            "notes": list(self.notes),
        }


def search_data(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    progress: Progress | None = None,
) -> SearchData:
    """Training and validation images for a search.

    Args:
        name: digits, cifar10, cifar100, fashion-mnist or folder:PATH.
        data_dir: Where to look for the official files first. Unless it is given, the cache comes first, then
            `$SLIMFRONT_DATA`, then the network.
        image_size: Side of the images of a folder in pixels (32); only for folder:PATH.
        progress: Called with one line now and then while something takes time.

    Raises:
        DataError: An unknown name, a set that no source delivers, or a folder that cannot be used.
    """
    part = _opened(name, data_dir, image_size, progress).training()
    rest = torch.ones(len(part.train), dtype=torch.bool)
    rest[part.validation] = False
    return SearchData(
        name=name,
        train=part.train.subset(rest.nonzero()[:, 0]),
        validation=part.train.subset(part.validation),
        classes=len(part.class_names),
        digest=part.hash[:16],
        class_names=part.class_names,
    )


def final_data(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    progress: Progress | None = None,
) -> FinalData:
    """All training images, and the test images on demand. Arguments and errors as for `search_data`."""
    opened = _opened(name, data_dir, image_size, progress)
    part = opened.training()
    return FinalData(name, part.train, len(part.class_names), part.hash[:16], part.class_names, opened.testing)


def fetch(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    progress: Progress | None = None,
) -> Source:
    """Fetches a data set unless it is there, and checks all of it. Arguments and errors as for `search_data`."""
    opened, path, notes = _open(name, data_dir, image_size, progress)
    part, test = opened.training(), opened.testing()
    if name == "cifar10" and isinstance(opened, Cached) and not cifar10.is_official(part.train, test):
        opened.drop()
        part, test = opened.training(), opened.testing()
    return Source(
        name=name,
        path=path,
        origin=part.origin,
        check=part.check,
        train=len(part.train) - len(part.validation),
        validation=len(part.validation),
        test=len(test),
        input_shape=part.train.shape,
        class_names=part.class_names,
        digest=part.hash[:16],
        notes=notes,
    )


def notes_of(name: str, *, image_size: int | None = None) -> tuple[str, ...]:
    """What there is to know of a data set before it is read, a sentence each: of a folder, what is not used of it.

    Raises:
        DataError: A folder that cannot be used.
    """
    return list_folder(name.removeprefix("folder:"), image_size).notes if name.startswith("folder:") else ()


_FACTS: dict[str, tuple[tuple[int, int, int], int]] = {
    "digits": ((1, 12, 12), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "fashion-mnist": ((1, 28, 28), 10),
}


def facts_of(name: str, image_size: int | None = None) -> tuple[tuple[int, int, int], int]:
    """((channels, height, width), classes) of a data set, without reading its images. Raises DataError."""
    check_name(name)
    if image_size is not None:
        check_image_size(name, image_size)
    if not name.startswith("folder:"):
        return _FACTS[name]
    listed = list_folder(name.removeprefix("folder:"), image_size)
    return (3, listed.image_size, listed.image_size), len(listed.class_names)


def check_name(name: str) -> None:
    """Raise DataError where no data set is called so; a folder may be missing all the same."""
    if not name.startswith("folder:") and name not in NAMES[:-1]:
        close = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {close[0]}? Else " if close else ""
        raise DataError(f"There is no data set named {name!r}; {hint}choose one of {', '.join(NAMES)}.")


def check_image_size(name: str, size: int) -> None:
    """Raise DataError where the pictures of a data set cannot get that side, in pixels."""
    if not name.startswith("folder:"):
        raise DataError(f"An image size is for folder:PATH only; {name} has images of a fixed size.")
    check_size(size)


class _Opened(Protocol):
    """What `Collection` and `Cached` have in common."""

    def training(self) -> TrainingPart: ...

    def testing(self) -> Images: ...


_FOLDERS: dict[str, Callable[[Path], Collection]] = {
    "cifar10": cifar10.from_folder,
    "cifar100": torchvision_sets.cifar100_from_folder,
    "fashion-mnist": torchvision_sets.fashion_mnist_from_folder,
}
_DOWNLOADS: dict[str, Callable[[Progress | None], dict[str, Callable[[], Collection]]]] = {
    "cifar10": cifar10.downloads,
    "cifar100": torchvision_sets.cifar100_downloads,
    "fashion-mnist": torchvision_sets.fashion_mnist_downloads,
}


def _opened(
    name: str, data_dir: str | os.PathLike[str] | None, image_size: int | None, progress: Progress | None
) -> _Opened:
    """The data set; what there is to know of it is told to `progress`."""
    opened, _, notes = _open(name, data_dir, image_size, progress)
    if progress is not None:
        for note in notes:
            progress(f"{name}: {note}")
    return opened


def _open(
    name: str, data_dir: str | os.PathLike[str] | None, image_size: int | None, progress: Progress | None
) -> tuple[_Opened, Path, tuple[str, ...]]:
    """The data set, in memory or in the cache, where it lies, and what there is to know of it."""
    check_name(name)
    if image_size is not None:
        check_image_size(name, image_size)
    if name.startswith("folder:"):
        listed = list_folder(name.removeprefix("folder:"), image_size)
        cached = Cached(listed.key, lambda: listed.read(progress))
        return cached, cached.path, listed.notes
    if name == "digits":
        return digits(), digits_path(), ()
    folder = Path(data_dir).expanduser() if data_dir is not None else None
    return *_open_downloaded(name, folder, progress), ()


def _open_downloaded(name: str, data_dir: Path | None, progress: Progress | None) -> tuple[_Opened, Path]:
    fallback = os.environ.get(ENVIRONMENT)
    label = f"--data-dir or ${ENVIRONMENT}" if data_dir is None and not fallback else f"${ENVIRONMENT}"
    folder = data_dir or (Path(fallback).expanduser() if fallback else None)

    def from_folder() -> Collection:
        if folder is None:
            raise SourceError("not given")
        return _FOLDERS[name](folder)

    def make() -> Collection:
        first = {"--data-dir" if data_dir is not None else label: from_folder}
        return first_source(name, {**first, **_DOWNLOADS[name](progress)}, progress)

    cached = Cached(name, make)
    if data_dir is None:
        return cached, cached.path
    if not data_dir.is_dir():
        raise DataError(f"--data-dir {data_dir} is not a folder; give one that holds the official files of {name}.")
    try:
        collection = from_folder()
    except SourceError as error:
        if progress is not None:
            progress(f"{name}: not from --data-dir: {error}")
        return cached, cached.path
    if not cached.exists():
        try:
            cached.put(collection)
        except DataError as error:  # the data are at hand all the same
            if progress is not None:
                progress(str(error))
    return collection, cached.path
