"""CIFAR-100 and Fashion-MNIST: torchvision's addresses, downloads and checksums, read without running any pickle.

CIFAR-100: Krizhevsky 2009, as CIFAR-10. Fashion-MNIST: Xiao et al. 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from slimfront.evaluators.data.cache import scratch_folder
from slimfront.evaluators.data.images import Collection, Images, stratified
from slimfront.evaluators.data.sources import (
    MD5_CHECK,
    Bytes,
    Progress,
    SourceError,
    check_md5,
    download,
    labels_and_pixels,
    members,
    one_line,
    read_file,
    to_images,
    unpickle,
)

VALIDATION_SHARE = 0.1  # of the training images
IDX_IMAGES, IDX_LABELS = 2051, 2049  # magic numbers of the format of MNIST and its kind


def _collection(train: Images, test: Images, class_names: list[str], origin: str) -> Collection:
    validation = stratified(train.labels, round(VALIDATION_SHARE * len(train)))
    return Collection(train, test, validation, tuple(class_names), origin, MD5_CHECK)


def cifar100_from_folder(folder: Path) -> Collection:
    """From a folder that holds `cifar-100-python`. Raises SourceError."""
    from torchvision.datasets import CIFAR100

    layout = folder / CIFAR100.base_folder
    if not layout.is_dir():
        raise SourceError(f"{folder} holds no {CIFAR100.base_folder}")
    return _cifar100({name: read_file(layout / name) for name in ("train", "test", "meta")}, str(layout))


def cifar100_downloads(progress: Progress | None) -> dict[str, Callable[[], Collection]]:
    """The one source that needs the network."""
    from torchvision.datasets import CIFAR100

    def source() -> Collection:
        if progress is not None:
            progress(f"cifar100: downloading {CIFAR100.url}")
        names = {f"{CIFAR100.base_folder}/{name}": name for name in ("train", "test", "meta")}
        with scratch_folder() as scratch:
            archive = download(CIFAR100.url, Path(scratch), CIFAR100.filename, CIFAR100.tgz_md5)
            contents = {names[member]: content for member, content in members(archive, set(names))}
        return _cifar100(contents, CIFAR100.url)

    return {"torchvision": source}


def _cifar100(contents: dict[str, bytes], origin: str) -> Collection:
    from torchvision.datasets import CIFAR100

    md5s = {**dict(CIFAR100.train_list + CIFAR100.test_list), CIFAR100.meta["filename"]: CIFAR100.meta["md5"]}
    missing = [name for name in md5s if name not in contents]
    if missing:
        raise SourceError(f"{missing[0]} is missing")
    read = {name: unpickle(name, contents[name], md5) for name, md5 in md5s.items()}
    train, test = (to_images(*labels_and_pixels(n, read[n], "fine_labels"), (3, 32, 32)) for n in ("train", "test"))
    return _collection(train, test, [str(name) for name in read["meta"][CIFAR100.meta["key"]]], origin)


def fashion_mnist_from_folder(folder: Path) -> Collection:
    """From a folder that holds `FashionMNIST/raw` with the four compressed files. Raises SourceError."""
    layout = folder / "FashionMNIST" / "raw"
    if not layout.is_dir():
        raise SourceError(f"{folder} holds no FashionMNIST/raw")
    return _fashion_mnist(lambda file, md5: layout / file, str(layout))


def fashion_mnist_downloads(progress: Progress | None) -> dict[str, Callable[[], Collection]]:
    """The sources that need the network: torchvision's mirrors."""
    from torchvision.datasets import FashionMNIST

    def source(mirror: str) -> Callable[[], Collection]:
        return lambda: from_mirror(mirror)

    def from_mirror(mirror: str) -> Collection:
        if progress is not None:
            progress(f"fashion-mnist: downloading {mirror}")
        with scratch_folder() as scratch:
            return _fashion_mnist(lambda file, md5: download(f"{mirror}{file}", Path(scratch), file, md5), mirror)

    return {f"torchvision {mirror}": source(mirror) for mirror in FashionMNIST.mirrors}


def _fashion_mnist(locate: Callable[[str, str], Path], origin: str) -> Collection:
    """`locate` tells where a file lies, from its name and MD5."""
    from torchvision.datasets import FashionMNIST

    arrays = []
    for (file, md5), magic in zip(FashionMNIST.resources, (IDX_IMAGES, IDX_LABELS) * 2, strict=True):
        content = read_file(locate(file, md5))
        check_md5(file, content, md5)
        arrays.append(_idx(file, content, magic))
    shape = (1, 28, 28)
    train, test = (to_images(labels, images, shape) for images, labels in (arrays[:2], arrays[2:]))
    return _collection(train, test, FashionMNIST.classes, origin)


def _idx(file: str, content: bytes, magic: int) -> Bytes:
    """The array in a compressed IDX file of unsigned bytes: (N, 28, 28) images or (N,) labels."""
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            found = int.from_bytes(stream.read(4), "big")
            shape = [int.from_bytes(stream.read(4), "big") for _ in range(found % 256)]
            if found != magic or shape[1:] not in ([], [28, 28]) or shape[0] > 10**6:
                raise SourceError(f"{file} has an unexpected header")
            return np.frombuffer(stream.read(int(np.prod(shape))), dtype=np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError) as error:
        raise SourceError(f"{file} cannot be read: {one_line(error)}") from None
