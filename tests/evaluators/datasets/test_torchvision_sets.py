"""CIFAR-100 and Fashion-MNIST from small files of the official layouts, from a folder or a download."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from slimfront.evaluators.data.splits import DataError, fetch, final_data, search_data
from small_cifar import idx, python2_pickle, tar

Serve = Callable[[Path], None]


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision.datasets import CIFAR100

    generator = np.random.default_rng(0)
    files = {
        name: python2_pickle(
            [*range(100)] * times, generator.integers(0, 256, (100 * times, 3072), np.uint8), b"fine_labels"
        )
        for name, times in (("train", 10), ("test", 1))
    }
    files["meta"] = pickle.dumps({"fine_label_names": [f"class{index}" for index in range(100)]}, protocol=2)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5["meta"]})
    folder = tmp_path / "hundred" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tar(tmp_path / "cifar-100-python.tar.gz", {f"cifar-100-python/{name}": content for name, content in files.items()})
    return tmp_path


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision.datasets import FashionMNIST

    generator = np.random.default_rng(0)
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for file, _ in FashionMNIST.resources:
        count = 100 if file.startswith("train") else 20
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        content = idx(images if "images" in file else labels)
        (raw / file).write_bytes(content)
        resources.append((file, hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    return tmp_path


def test_cifar100_from_a_folder_and_from_a_download(cifar100: Path, serve: Serve, cache: Path) -> None:
    found = search_data("cifar100", data_dir=cifar100 / "hundred")
    assert (found.classes, found.class_names[99], found.input_shape) == (100, "class99", (3, 32, 32))
    assert (len(found.train), len(found.validation)) == (900, 100)
    assert found.validation.labels.bincount().tolist() == [1] * 100
    for file in (cache / "cifar100").iterdir():
        file.unlink()
    serve(cifar100)
    source = fetch("cifar100")
    assert (source.digest, source.test) == (found.digest, 100)
    assert source.origin.startswith("https://")


def test_fashion_mnist_from_a_folder_and_from_a_download(fashion: Path, serve: Serve, cache: Path) -> None:
    final = final_data("fashion-mnist", data_dir=fashion)
    assert (final.classes, final.input_shape, len(final.train), len(final.test())) == (10, (1, 28, 28), 100, 20)
    assert final.class_names[0] == "T-shirt/top"
    for file in (cache / "fashion-mnist").iterdir():
        file.unlink()
    serve(fashion / "FashionMNIST" / "raw")
    assert search_data("fashion-mnist").digest == final.digest


@pytest.mark.parametrize("name", ["cifar100", "fashion-mnist"])
def test_files_with_another_checksum_are_refused(name: str, cifar100: Path, fashion: Path) -> None:
    folder = cifar100 / "hundred" if name == "cifar100" else fashion
    changed = [file for file in folder.rglob("*") if file.name in ("test", "t10k-labels-idx1-ubyte.gz")]
    for file in changed:
        file.write_bytes(file.read_bytes() + b"x")
    lines: list[str] = []
    with pytest.raises(DataError, match="MD5 differs") as caught:
        search_data(name, data_dir=folder, progress=lines.append)
    assert "offline" in str(caught.value)
    assert "MD5 differs" in lines[0]


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    for name, layout in (("cifar100", "cifar-100-python"), ("fashion-mnist", "FashionMNIST/raw")):
        with pytest.raises(DataError, match=f"--data-dir: {tmp_path} holds no {layout}"):
            search_data(name, data_dir=tmp_path)


def test_idx_headers_that_lie_are_refused(fashion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import FashionMNIST

    for array in (np.zeros((4, 9, 9), np.uint8), np.zeros(4, np.uint8)):
        content = idx(array)
        (fashion / "FashionMNIST" / "raw" / FashionMNIST.resources[0][0]).write_bytes(content)
        lies = [(FashionMNIST.resources[0][0], hashlib.md5(content).hexdigest()), *FashionMNIST.resources[1:]]
        with monkeypatch.context() as context:
            context.setattr(FashionMNIST, "resources", lies)
            with pytest.raises(DataError, match="unexpected header"):
                search_data("fashion-mnist", data_dir=fashion)
