"""What all sources of data share: the reasons they fail for, reading with care, downloading.

A source either delivers a whole `Collection` whose bytes are the official ones, or raises SourceError with a one-line
reason, and the next source is tried. No archive is unpacked to disk: it is checked against its hash, then the members
that are known by name are read into memory.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import pickle
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from slimfront.evaluators.data.images import Collection, DataError, Images

Progress = Callable[[str], None]  # takes one line for people
Bytes = npt.NDArray[np.uint8]

MD5_CHECK = "MD5 of the official files"
LARGEST = 256 * 2**20  # bytes of any file that is read here: more is not what it claims to be
SILENCE = 60.0  # seconds without an answer after which a connection is given up


class SourceError(Exception):
    """This source does not deliver; the text is the reason, in one line."""


def one_line(error: object) -> str:
    """The first line of an error's text, cut to a bearable length."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def first_source(name: str, sources: dict[str, Callable[[], Collection]], progress: Progress | None) -> Collection:
    """What the first source delivers that does. Raises DataError, one line a source, when none does.

    Args:
        name: Of the data set.
        sources: Label -> source, in the order in which they are tried.
        progress: Told why a source was passed over.
    """
    reasons = []
    for label, source in sources.items():
        try:
            return source()
        except SourceError as error:
            reasons.append(f"{label}: {one_line(error)}")
            if progress is not None:
                progress(f"{name}: not from {reasons[-1]}")
    advice = "Give --data-dir a folder that holds the official files, or connect to the network:"
    raise DataError("\n".join([f"No source of {name} delivered. {advice}", *(f"  {reason}" for reason in reasons)]))


def read_file(path: Path, largest: int = LARGEST) -> bytes:
    """The bytes of a regular file of at most `largest` bytes. Raises SourceError."""
    try:
        if not path.is_file():
            raise SourceError(f"{path} is not there" if not path.exists() else f"{path} is not a file")
        if path.stat().st_size > largest:
            raise SourceError(f"{path} is larger than the official file")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None


def members(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the `wanted` regular files in a .tar.gz, in its order; everything else is passed over.

    Nothing is written to disk, so no name in the archive can lead anywhere. Raises SourceError.
    """
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for member in opened:
                if member.name not in wanted or not member.isfile():
                    continue
                if member.size > LARGEST:
                    raise SourceError(f"{member.name} in {archive.name} is larger than the official file")
                stream = opened.extractfile(member)
                assert stream is not None  # a regular file has one
                yield member.name, stream.read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise SourceError(f"{archive.name} cannot be read: {one_line(error)}") from None


class _ArraysOnly(pickle.Unpickler):
    """Unpickles lists, numbers, strings and NumPy arrays; refuses everything else."""

    ALLOWED = frozenset(
        {("numpy", "ndarray"), ("numpy", "dtype")}
        | {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a data file")
        if name == "_reconstruct":  # by its present address: the one in the official files is deprecated
            return np.empty(0).__reduce__()[0]
        return super().find_class(module, name)


def unpickle(name: str, content: bytes, md5: str) -> dict[str, Any]:
    """The dictionary in a file of an official python release. Raises SourceError.

    Pickles run code. So the file is compared with the MD5 of the official one first, and even then only arrays, lists,
    numbers and strings are made from it.
    """
    check_md5(name, content, md5)
    try:
        result = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:
        raise SourceError(f"{name} cannot be read: {one_line(error)}") from None
    if not isinstance(result, dict):
        raise SourceError(f"{name} does not hold a dictionary")
    return result


def check_md5(name: str, content: bytes, md5: str) -> None:
    """Raises SourceError when the bytes are not those of the official file."""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise SourceError(f"{name} is not the official file (its MD5 differs)")


def labels_and_pixels(name: str, content: dict[str, Any], label_key: str) -> tuple[Bytes, Bytes]:
    """Labels (N,) and pixels (N, 3072) in such a dictionary. Raises SourceError."""
    try:
        labels = np.asarray(content[label_key], dtype=np.uint8)
        pixels = np.asarray(content["data"], dtype=np.uint8)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise SourceError(f"{name} does not hold what it should: {one_line(error)}") from None
    if labels.ndim != 1 or pixels.shape != (len(labels), 3072):
        raise SourceError(f"{name} has {[*pixels.shape]} pixels for {[*labels.shape]} labels")
    return labels, pixels


def to_images(labels: Bytes, pixels: Bytes, shape: tuple[int, int, int]) -> Images:
    """Images of (channels, height, width) from pixels of any shape that has as many, planes first."""
    planes = np.array(pixels).reshape(len(labels), *shape)  # a copy that can be written to, as torch wants
    return Images(torch.from_numpy(planes), torch.from_numpy(labels.astype(np.int64)))


@contextmanager
def _patience() -> Iterator[None]:
    """torchvision opens connections without a time limit; this gives them one while it downloads."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def download(url: str, folder: Path, file: str, md5: str) -> Path:
    """torchvision's download into a scratch folder: shows its progress, compares the MD5. Raises SourceError."""
    from torchvision.datasets import utils

    try:
        with _patience():
            utils.download_url(url, str(folder), file, md5)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise SourceError(f"{url}: {one_line(getattr(error, 'reason', error))}") from None
    return folder / file
