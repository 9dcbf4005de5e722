"""Data sets by name, as a search and a final training see them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from slimfront.evaluators.data import splits as data
from slimfront.evaluators.data.images import stratified
from slimfront.evaluators.data.splits import DataError, Images, fetch, final_data, search_data


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 10) -> Path:
    generator = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for index in range(each):
            pixels = generator.integers(0, 256, (12, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_stratified_is_exact_to_less_than_one_image_a_class(labels: list[int], share: float) -> None:
    tensor = torch.tensor(labels)
    count = round(share * len(labels))
    chosen = stratified(tensor, count)
    assert len(chosen) == count
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(chosen, stratified(tensor, count))
    taken, there = tensor[chosen].bincount(minlength=7), tensor.bincount(minlength=7)
    assert (taken <= there).all()
    assert ((taken - there * count / len(labels)).abs() < 1).all()


def test_stratified_is_the_same_everywhere() -> None:
    labels = torch.arange(40) % 4
    assert stratified(labels, 8).tolist() == [4, 10, 11, 15, 20, 22, 25, 29]


def test_stratified_refuses_more_than_there_are() -> None:
    with pytest.raises(DataError, match=r"0\.\.3"):
        stratified(torch.tensor([0, 1, 1]), 4)


def test_images_refuse_wrong_types_and_counts() -> None:
    with pytest.raises(DataError, match="uint8"):
        Images(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(DataError, match="labels"):
        Images(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))


def test_digits_have_the_promised_sizes_and_pixels() -> None:
    found = search_data("digits")
    assert (len(found.train), len(found.validation), len(final_data("digits").test())) == (997, 300, 500)
    assert found.input_shape == (1, 12, 12)
    assert (found.classes, len(found.class_names)) == (10, 10)
    images = found.train.images
    assert images.dtype == torch.uint8
    assert (images.min().item(), images.max().item()) == (0, 255)
    assert not images[:, :, :2].any()
    assert not images[:, :, :, -2:].any()


def test_digits_are_split_by_class_without_overlap() -> None:
    found, final = search_data("digits"), final_data("digits")
    test = final.test()
    every = torch.cat([final.train.labels, test.labels]).bincount()
    for part in (found.train, found.validation, test):
        assert ((part.labels.bincount() - every * len(part) / 1797).abs() < 2).all()
    assert len(final.train) == 1297

    def rows(images: Images) -> set[bytes]:
        return {image.numpy().tobytes() for image in images.images}

    assert rows(final.train) == rows(found.train) | rows(found.validation)
    assert not rows(found.train) & rows(found.validation)
    assert not rows(test) & rows(final.train)


def test_what_a_search_gets_has_no_test_images() -> None:
    found = search_data("digits")
    held = [getattr(found, item.name) for item in dataclasses.fields(found)]
    assert sum(len(value) for value in held if isinstance(value, Images)) == 1297
    assert not any(callable(value) for value in held)
    assert not hasattr(found, "test")


def test_final_data_counts_how_often_the_test_images_were_opened() -> None:
    final = final_data("digits")
    assert final.test_reads == 0
    final.test()
    final.test()
    assert final.test_reads == 2


def test_the_digest_is_stable_and_shared_by_search_and_final_training() -> None:
    digest = search_data("digits").digest
    assert digest == final_data("digits").digest == fetch("digits").digest == search_data("digits").digest
    assert len(digest) == 16
    int(digest, 16)


def test_fetch_tells_where_digits_lie() -> None:
    source = fetch("digits")
    assert source.path.is_file()
    assert source.origin.startswith("scikit-learn")
    told = source.to_dict()
    assert (told["train"], told["validation"], told["test"], told["input_shape"]) == (997, 300, 500, [1, 12, 12])


@pytest.mark.parametrize("name", ["", "mnist", "CIFAR10", "folder", "../cifar10", "x" * 1000])
def test_an_unknown_name_gets_one_line_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(DataError, match="cifar10, cifar100, fashion-mnist") as caught:
        search_data(name)
    assert "\n" not in str(caught.value)


def test_image_size_is_for_folders_only() -> None:
    with pytest.raises(DataError, match="An image size is for folder:PATH only"):
        search_data("digits", image_size=16)


def test_a_data_dir_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DataError, match="--data-dir /not/there is not a folder"):
        search_data("cifar10", data_dir="/not/there")


def test_a_folder_is_split_and_read_through_the_cache(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "pictures", ("dog", "cat", "ant"), each=20)
    name = f"folder:{root}"
    found, final = search_data(name, image_size=8), final_data(name, image_size=8)
    assert found.class_names == ("ant", "cat", "dog")
    assert found.input_shape == (3, 8, 8)
    assert (len(found.train), len(found.validation), len(final.train), len(final.test())) == (48, 6, 54, 6)
    for part, each in ((found.train, 16), (found.validation, 2), (final.test(), 2)):
        assert part.labels.bincount().tolist() == [each] * 3
    assert fetch(name, image_size=8).digest == found.digest
    assert search_data(name).input_shape == (3, 32, 32)

    (root / "ant" / "new.png").write_bytes((root / "ant" / "0.png").read_bytes())
    assert len(final_data(name, image_size=8).train) == 55


def test_search_data_does_not_open_the_file_with_the_test_images(tmp_path: Path) -> None:
    name = f"folder:{make_folder(tmp_path / 'pictures')}"
    source = fetch(name)
    (source.path / "test.safetensors").unlink()
    (source.path / "test.safetensors").mkdir()  # opening it fails
    assert len(search_data(name).train) == source.train
    final = final_data(name)
    with pytest.raises(DataError, match="cache"):
        final.test()


def test_the_cache_folder_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"folder:{make_folder(tmp_path / 'pictures')}"
    assert fetch(name).path.parent == tmp_path / "cache" / "slimfront"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fetch(name).path.parent == tmp_path / "home" / ".cache" / "slimfront"


def test_names_are_those_of_the_error_text() -> None:
    assert data.NAMES == ("digits", "cifar10", "cifar100", "fashion-mnist", "folder:PATH")
