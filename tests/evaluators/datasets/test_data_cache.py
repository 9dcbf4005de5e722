"""The cache: written whole or not at all, checked when read, made again when damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from slimfront.evaluators.data import cache as cache_module
from slimfront.evaluators.data.cache import Cached
from slimfront.evaluators.data.images import Collection
from slimfront.evaluators.data.splits import DataError, Images


def collection() -> Collection:
    images = torch.arange(60 * 12, dtype=torch.int64).remainder(251).to(torch.uint8).view(60, 3, 2, 2)
    every = Images(images, torch.arange(60) % 3)
    return Collection(
        train=every.subset(torch.arange(50)),
        test=every.subset(torch.arange(50, 60)),
        validation=torch.tensor([1, 5, 9]),
        class_names=("a", "b", "ü"),
        origin="here",
        check="none",
    )


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Collection:
        self.calls += 1
        return collection()


def same(part: Images, other: Images) -> bool:
    return torch.equal(part.images, other.images) and torch.equal(part.labels, other.labels)


def test_what_comes_back_is_what_was_put_in_and_made_once(cache: Path) -> None:
    make = Counter()
    for _ in range(3):
        part, made = Cached("set", make).training(), collection()
        assert same(part.train, made.train)
        assert torch.equal(part.validation, made.validation)
        assert (part.class_names, part.origin, part.check) == (made.class_names, "here", "none")
        assert part.hash == made.train_hash
        assert same(Cached("set", make).testing(), made.test)
    assert make.calls == 1
    assert sorted(path.name for path in (cache / "set").iterdir()) == ["test.safetensors", "train.safetensors"]


def test_the_hash_covers_pixels_labels_and_validation_part() -> None:
    base, hashes = collection(), set()
    pixels = base.train.images.clone()
    pixels[7, 0, 0, 0] ^= 1
    labels = base.train.labels.flip(0)
    for train, validation in (
        (base.train, base.validation),
        (Images(pixels, base.train.labels), base.validation),
        (Images(base.train.images, labels), base.validation),
        (base.train, torch.tensor([1, 5, 8])),
        (Images(base.train.images.view(50, 12, 1, 1), base.train.labels), base.validation),
    ):
        hashes.add(Collection(train, base.test, validation, base.class_names, "", "").train_hash)
    assert len(hashes) == 5


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def _another(file: Path) -> None:
    from safetensors.torch import save_file

    save_file({"images": torch.zeros(1)}, file)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    "damage",
    [_cut, _flip, _another, Path.unlink, lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"x" * 99)],
)
def test_a_damaged_entry_is_made_again(cache: Path, part: str, damage: Callable[[Path], None]) -> None:
    make = Counter()
    Cached("set", make).training()
    damage(cache / "set" / f"{part}.safetensors")
    assert same(Cached("set", make).training().train, collection().train)
    assert same(Cached("set", make).testing(), collection().test)
    assert make.calls == 2


def test_an_entry_of_an_older_version_is_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Counter()
    Cached("set", make).training()
    monkeypatch.setattr(cache_module, "FORMAT", "next")
    Cached("set", make).training()
    assert make.calls == 2


def test_tensors_outlive_the_entry(cache: Path) -> None:
    entry = Cached("set", collection)
    part = entry.training()
    entry.drop()
    entry.put(collection())
    assert same(part.train, collection().train)


def test_a_failed_write_leaves_nothing_and_says_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "save_file", full)
    with pytest.raises(DataError, match=r"No space left on device\): set XDG_CACHE_HOME"):
        Cached("set", collection).training()
    assert not list((cache / "set").iterdir())


def test_a_file_in_the_way_is_told(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with pytest.raises(DataError, match="XDG_CACHE_HOME"):
        Cached("set", collection).training()


def test_what_killed_processes_left_is_swept_away(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "download-old" / "npm").mkdir(parents=True)
    with cache_module.scratch_folder():
        assert (cache / "download-old").exists()  # it may still be in use
    monkeypatch.setattr(cache_module, "LEFT_BEHIND", -1.0)
    with cache_module.scratch_folder() as scratch:
        assert [path.name for path in cache.iterdir()] == [Path(scratch).name]
    assert not list(cache.iterdir())
