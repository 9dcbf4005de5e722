"""No network and a cache of its own for every test; a small CIFAR-10 whose hashes stand in for the official ones."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from slimfront.evaluators.data import cifar10, torchvision_sets
from slimfront.evaluators.data.sources import SourceError
from small_cifar import RECORDS, Small


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test; neither the network nor npm can be reached."""

    def offline(url: str, folder: Path, file: str, md5: str) -> Path:
        raise SourceError(f"{url}: offline")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SLIMFRONT_DATA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "no-tools"))
    monkeypatch.setattr(cifar10, "download", offline)
    monkeypatch.setattr(torchvision_sets, "download", offline)
    return tmp_path / "cache" / "slimfront"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """The fake data set, whose hashes stand in for the official ones."""
    from torchvision.datasets import CIFAR10

    made = Small(tmp_path, monkeypatch)
    generator = np.random.default_rng(0)
    for name in cifar10.SHA1:
        labels = generator.permutation(np.arange(RECORDS) % 10).astype(np.uint8)
        made.batches[name] = labels, generator.integers(0, 256, (RECORDS, 3072), dtype=np.uint8)
    records = {name: np.concatenate([labels[:, None], pixels], 1) for name, (labels, pixels) in made.batches.items()}
    monkeypatch.setattr(
        cifar10, "SHA1", {name: hashlib.sha1(array.tobytes()).hexdigest() for name, array in records.items()}
    )
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar10, "VALIDATION", 10)
    md5s = [[name, hashlib.md5(content).hexdigest()] for name, content in made.pickles().items()]
    monkeypatch.setattr(CIFAR10, "train_list", md5s[:-1])
    monkeypatch.setattr(CIFAR10, "test_list", md5s[-1:])
    return made


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Lets torchvision's downloads deliver the files of a folder."""

    def from_folder(folder: Path) -> None:
        def deliver(url: str, scratch: Path, file: str, md5: str) -> Path:
            (scratch / file).write_bytes((folder / file).read_bytes())
            return scratch / file

        monkeypatch.setattr(cifar10, "download", deliver)
        monkeypatch.setattr(torchvision_sets, "download", deliver)

    return from_folder
