"""Data sets on disk as uint8 tensors: written once, read in a fraction of a second, checked at every reading.

An entry is a folder with `train.safetensors` and `test.safetensors`. They are separate files so that a search can open
the first without ever touching the second. Each carries the SHA-256 of its tensors; an entry that does not match it is
dropped and made again. Everything in the cache can be made again, so it may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from slimfront.evaluators.data.images import Collection, DataError, Images, TrainingPart
from torch import Tensor

FORMAT = "1"  # of the entries; raise it when the files or the splits in them change
LEFT_BEHIND = 24 * 3600.0  # seconds after which a temporary file belongs to nobody any more
HINT = "set XDG_CACHE_HOME to a folder that can be written"


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/slimfront`, or `~/.cache/slimfront`. A relative XDG_CACHE_HOME counts as unset, as XDG wants."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "slimfront"


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder inside the cache folder, where there is room for a download. Raises DataError if it fails."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, "download-*")
        return tempfile.TemporaryDirectory(prefix="download-", dir=folder)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _sweep(folder: Path, pattern: str) -> None:
    """Removes what processes that were killed have left behind."""
    for path in folder.glob(pattern):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_BEHIND:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"The cache folder {path} cannot be used ({error.strerror or error}): {HINT}.")


class _DamagedError(Exception):
    """A file of the cache that does not hold what was written."""


class Cached:
    """A data set in the cache, made by `make` when it is not there or damaged.

    Args:
        key: Name of the entry; a plain file name.
        make: Delivers the data set. Called when needed only.
    """

    def __init__(self, key: str, make: Callable[[], Collection]) -> None:
        self.path = cache_folder() / key
        self._make = make

    def training(self) -> TrainingPart:
        """Training images and validation indices; the file with the test images stays closed."""
        tensors, about = self._tensors("train")
        return TrainingPart(
            train=Images(tensors["images"], tensors["labels"]),
            validation=tensors["validation"],
            class_names=tuple(json.loads(about["class_names"])),
            hash=about["hash"],
            origin=about["origin"],
            check=about["check"],
        )

    def testing(self) -> Images:
        """The test images."""
        tensors, _ = self._tensors("test")
        return Images(tensors["images"], tensors["labels"])

    def _tensors(self, part: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        file = self.path / f"{part}.safetensors"
        try:
            return _read(file)
        except FileNotFoundError:
            pass
        except _DamagedError:
            self.drop()
        except OSError as error:
            raise _unwritable(file, error) from None
        self.put(self._make())
        try:
            return _read(file)
        except (OSError, _DamagedError) as error:
            raise DataError(f"The cache file {file} cannot be read after writing it ({error}): {HINT}.") from None

    def exists(self) -> bool:
        """Whether both files are there; says nothing about what is in them."""
        return all((self.path / f"{part}.safetensors").is_file() for part in ("train", "test"))

    def drop(self) -> None:
        """Removes the entry."""
        for part in ("train", "test"):
            (self.path / f"{part}.safetensors").unlink(missing_ok=True)

    def put(self, collection: Collection) -> None:
        """Writes the entry: each file under a temporary name first, then moved into place. Raises DataError."""
        about = {
            "format": FORMAT,
            "class_names": json.dumps(collection.class_names),
            "origin": collection.origin,
            "check": collection.check,
        }
        train, test = collection.train, collection.test
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            tensors = {"images": train.images, "labels": train.labels, "validation": collection.validation}
            _write(self.path / "train.safetensors", tensors, about | {"hash": collection.train_hash})
            tensors = {"images": test.images, "labels": test.labels}
            _write(self.path / "test.safetensors", tensors, about | {"hash": test.hash()})
        except OSError as error:
            raise _unwritable(self.path, error) from None


def _write(file: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    _sweep(file.parent, ".*.safetensors.*")
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(handle)
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=about)
        Path(temporary).replace(file)
    except SafetensorError as error:  # its way to say that the disk is full, for one
        raise OSError(str(error)) from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header. Raises FileNotFoundError or another OSError, and _DamagedError."""
    if not file.exists():
        raise FileNotFoundError(file)
    try:
        opened: Any
        with safe_open(file, framework="pt") as opened:
            about = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dictionary
        if about.get("format") != FORMAT:
            raise _DamagedError(f"{file} has another format")
        images = Images(tensors["images"], tensors["labels"])
        more = [tensors["validation"]] if "validation" in tensors else []
        if images.hash(*more) != about["hash"]:
            raise _DamagedError(f"{file} does not match its hash")
        names = json.loads(about["class_names"])
        if not isinstance(names, list) or not torch.all(images.labels < len(names)):
            raise _DamagedError(f"{file} has labels without a name")
        _ = about["origin"], about["check"]
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _DamagedError(f"{file}: {error}") from None
    return tensors, about
