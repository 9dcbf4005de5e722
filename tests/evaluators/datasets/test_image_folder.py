"""Image folders of the user's own: parts that do not move, and refusal of what should not be read."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slimfront.evaluators.data import image_folder
from slimfront.evaluators.data.image_folder import list_folder
from slimfront.evaluators.data.splits import DataError


def picture(path: Path, size: tuple[int, int] = (6, 6), colour: tuple[int, int, int] = (10, 20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b", "a"):
        for index in range(20):
            picture(tmp_path / "pictures" / name / f"{index:02}.png")
    return tmp_path / "pictures"


def names(files: tuple[image_folder._File, ...]) -> set[str]:
    return {file.name for file in files}


def refused(path: Path | str, match: str, size: int | None = None, read: bool = False) -> None:
    def attempt() -> None:
        listed = list_folder(path, size)
        assert read
        listed.read()

    with pytest.raises(DataError, match=match) as caught:
        attempt()
    assert "\n" not in str(caught.value)


def test_parts_are_a_tenth_each_of_every_class_and_disjoint(root: Path) -> None:
    listed = list_folder(root)
    assert listed.class_names == ("a", "b")
    assert (len(listed.train), len(listed.test), len(listed.validation)) == (36, 4, 4)
    assert not names(listed.train) & names(listed.test)
    assert [listed.train[index].label for index in listed.validation] == [0, 0, 1, 1]


def test_parts_do_not_depend_on_the_place_and_hardly_on_new_pictures(root: Path, tmp_path: Path) -> None:
    before = list_folder(root)
    moved = root.rename(tmp_path / "elsewhere")
    after = list_folder(moved)
    assert names(after.test) == names(before.test)
    assert after.validation == before.validation
    picture(moved / "a" / "new.png")
    assert len(names(list_folder(moved).test) ^ names(before.test)) <= 2


def test_the_key_changes_with_files_and_size(root: Path) -> None:
    key = list_folder(root).key
    assert list_folder(root).key == key
    assert list_folder(root, 16).key != key
    os.utime(root / "a" / "00.png", (1, 1))
    assert list_folder(root).key != key


def test_train_and_test_folders_are_respected(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("test", 3)):
        for name in ("x", "y"):
            for index in range(count):
                picture(tmp_path / part / name / "deeper" / f"{index}.jpg")
    listed = list_folder(tmp_path)
    assert listed.class_names == ("x", "y")
    assert (len(listed.train), len(listed.test), len(listed.validation)) == (20, 6, 2)
    assert all(name.startswith("test/") for name in names(listed.test))
    picture(tmp_path / "test" / "z" / "0.png")
    refused(tmp_path, "no class of the training images")


def test_train_without_test_is_not_taken_for_a_class(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "x" / "0.png")
    picture(tmp_path / "val" / "x" / "0.png")
    refused(tmp_path, "none named test")


def test_pictures_become_squares_of_the_size_asked_for(root: Path) -> None:
    wide = Image.new("RGB", (40, 20), (0, 0, 0))
    wide.paste((255, 0, 0), (10, 0, 30, 20))
    for file in (root / "a").iterdir():
        wide.save(file)
    read = list_folder(root, 8).read()
    assert read.train.shape == (3, 8, 8)
    red = read.train.images[read.train.labels == 0]
    assert red[:, 0].min() > 200  # the middle square; its edge is smoothed
    assert red[:, 1:].max() == 0
    assert set(read.train.images[read.train.labels == 1].flatten().tolist()) == {10, 20, 30}


def test_grey_palette_and_transparent_pictures_can_be_read(root: Path) -> None:
    for index, mode in enumerate(("L", "P", "RGBA", "LA", "1", "CMYK")):
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (9, 9)).save(root / "a" / f"mode{index}.{suffix}")
    assert len(list_folder(root).read().train) > 36


def test_other_files_and_hidden_ones_are_passed_over(root: Path) -> None:
    (root / "README.md").write_text("hello")
    (root / "a" / "notes.txt").write_text("hello")
    (root / ".git").mkdir()
    (root / "a" / "._00.png").write_bytes(b"not a picture")
    assert len(list_folder(root).train) == 36


def test_links_that_lead_out_are_refused(root: Path, tmp_path: Path) -> None:
    outside = picture(tmp_path / "outside" / "0.png")
    for link, target in (
        (root / "a" / "link.png", outside),
        (root / "link", outside.parent),
        (root / "up", root / ".."),
    ):
        link.symlink_to(target)
        refused(root, "leads out of")
        link.unlink()


def test_links_in_circles_and_to_nothing_are_refused(root: Path) -> None:
    for target in (root / "a", root, root / "a" / "gone.png"):
        link = root / "a" / "link.png"
        link.symlink_to(target)
        refused(root, "link")
        link.unlink()
    (root / "a" / "one.png").symlink_to(root / "a" / "two.png")
    (root / "a" / "two.png").symlink_to(root / "a" / "one.png")
    refused(root, "folder|link")


def test_a_link_inside_the_folder_and_to_the_folder_may_be(root: Path, tmp_path: Path) -> None:
    (root / "a" / "same.png").symlink_to(root / "a" / "00.png")
    (tmp_path / "link").symlink_to(root)
    assert len(list_folder(tmp_path / "link").train) == 37


def test_a_pipe_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "a" / "pipe.png")
    assert stat.S_ISFIFO((root / "a" / "pipe.png").stat().st_mode)
    refused(root, "not a regular file")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"GIF89a" + b"\0" * 40])
def test_a_file_that_is_no_picture_is_named(root: Path, content: bytes) -> None:
    (root / "a" / "bad.png").write_bytes(content)
    refused(root, r"bad\.png is not a picture", read=True)


def test_a_truncated_picture_is_named(root: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "a" / "bad.png")
    (root / "a" / "bad.png").write_bytes((root / "a" / "bad.png").read_bytes()[:2000])
    refused(root, r"bad\.png is not a picture", read=True)


def test_limits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, match, read in (
        ("MOST_FILES", 10, "more than 10 images", False),
        ("MOST_BYTES", 1000, "smaller image size", False),
        ("MOST_PIXELS", 30, "too large", True),
        ("LARGEST_FILE", 10, "MiB", True),
    ):
        with monkeypatch.context() as context:
            context.setattr(image_folder, name, value)
            refused(root, match, read=read)
    refused(root, "An image size must be in 4..512", size=2)
    refused(root, "An image size must be in 4..512", size=100_000)


def test_sixteen_bit_pictures_are_refused_instead_of_clipped(root: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(root / "a" / "deep.png")
    refused(root, "8 bits", read=True)


def test_folders_that_cannot_be_data_sets(root: Path, tmp_path: Path) -> None:
    refused(tmp_path / "absent", "cannot be read")
    refused("", "not a folder")
    refused(root / "a" / "00.png", "not a folder")
    refused("nul\0byte", "cannot be read")
    refused(root / "a", "0 sub-folders")
    (root / "c").mkdir()
    refused(root, "c has 0 images")
    picture(root / "c" / "0.png")
    refused(root, "c has 1 images, but 3")
