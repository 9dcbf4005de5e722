"""Folders of pictures as a user hands them over: classes and parts told apart, what is left out said, alpha seen."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slimfront.evaluators.data.splits import search_data
from slimfront.search.launch import launch

import run_search

TINY = """
name = "tiny"
dataset = "folder:pictures"
trials = 1
[space.architecture.residual]
stem_width = 4
stages = 1
width = 4
depth = 1
[space.recipe]
epochs = 1
batch_size = 16
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pictures"


def _fill(root: Path, folders: Iterable[str], count: int = 10, modes: Iterable[str] = ("RGB",)) -> None:
    """Noise that depends on the name alone, at the size that is kept."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for index in range(count):
            for mode in modes:
                path = root / folder / f"{index:02}-{mode}.png"
                _noise(f"{folder}/{path.name}", mode).save(path)


def _noise(name: str, mode: str) -> Image.Image:
    pixels = np.random.default_rng([*name.encode()]).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    picture = Image.fromarray(pixels, "RGBA")
    if mode == "P":
        indices = Image.fromarray(pixels[..., 0], "P")
        indices.putpalette(bytes(value for index in range(256) for value in (index, 255 - index, index // 2)))
        return indices
    return picture if mode == "RGBA" else picture.convert(mode)


def _data(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run_search.main(["data", "folder:pictures", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _refused(capsys: pytest.CaptureFixture[str]) -> str:
    assert run_search.main(["data", "folder:pictures"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize(
    ("train", "test"), [("training", "testing"), ("Train", "Test"), ("TRAIN", "testing"), ("train", "Testing")]
)
def test_parts_are_known_by_their_usual_names(
    train: str, test: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fill(root, [f"{train}/{name}" for name in ("0", "1", "2")])
    _fill(root, [f"{test}/{name}" for name in ("0", "1", "2")], count=2)
    found = _data(capsys)
    assert found["class_names"] == ["0", "1", "2"]
    assert (found["train"], found["validation"], found["test"]) == (27, 3, 6)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["Train/a", "Train/b", "Validation/a", "Validation/b"], ["Train, Validation", "none named test"]),
        (["train/a", "train/b", "other/a", "other/b"], ["train", "none named test"]),
        (["val/a", "val/b", "test/a", "test/b"], ["none named train"]),
        (["valid/a", "validation/a"], ["none named train and none named test"]),
        (["Training", "Validation"], ["Training, Validation", "none named test"]),
        (["TRAIN", "TEST"], ["TRAIN has 0 sub-folders"]),
        (["Train/a", "training/a", "test/a"], ["Train, training", "rename"]),
        (["first/a", "first/b", "second/a", "second/b"], ["holds only folders (a, b)"]),
        (["train/x/a", "train/x/b", "train/y", "test/x", "test/y"], ["holds only folders (a, b)"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "/" in value[0] else None,
)
def test_what_may_be_parts_or_folders_of_classes_is_not_taken_for_classes(
    folders: list[str], words: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _fill(root, folders, count=3)
    said = _refused(capsys)
    for word in words:
        assert word in said


def test_what_is_not_used_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(root, [f"{part}/{name}" for part in ("train", "val", "Test", "extra") for name in ("a", "b")])
    for name in ("train/loose.png", "loose.png"):
        _noise(name, "RGB").save(root / name)
    (root / "train" / "a" / "moving.gif").write_bytes(b"GIF89a")
    (root / "train" / "b" / "notes.TXT").write_text("hello")
    notes = "\n".join(_data(capsys)["notes"])
    assert "not used: extra, val;" in notes
    assert "validation images are a tenth of every training class" in notes
    assert "2 pictures that lie beside" in notes
    assert "2 files of other kinds (.gif, .txt)" in notes
    assert run_search.main(["data", "folder:pictures"]) == 0
    assert "2 pictures that lie beside" in capsys.readouterr().out


def test_a_search_says_what_it_does_with_the_pictures(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent / "search")
    import stub_evaluator  # the training is made up

    monkeypatch.setattr("slimfront.search.launch.launch", functools.partial(launch, evaluate=stub_evaluator.evaluate))
    (root.parent / "tiny.toml").write_text(TINY)
    _fill(root, [f"{part}/{name}" for part in ("train", "val", "test", "[red]") for name in ("a", "b")])
    assert run_search.main(["search", "tiny.toml", "--workers", "1"]) == 0
    said = capsys.readouterr().err
    assert "folder:pictures: not used: [red], val;" in said
    assert "the middle square of each" in said
    assert run_search.main(["report", "--out", "page.html"]) == 0
    assert "the middle square of a picture" in (root.parent / "page.html").read_text()


def _shape(mode: str, colour: tuple[int, ...]) -> Image.Image:
    """A square that is to be told from nothing by its alpha channel alone."""
    picture = Image.new(mode, (32, 32), (*colour, 0))
    picture.paste((*colour, 255), (8, 8, 24, 24))
    return picture


def _palette() -> Image.Image:
    picture = Image.new("P", (32, 32), 1)
    picture.putpalette([0, 0, 0] * 256)
    picture.paste(0, (8, 8, 24, 24))
    return picture


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "white"])
def test_a_shape_in_the_alpha_channel_is_seen(kind: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colour = 255 if kind == "white" else 0
    made = {
        "RGBA": lambda: _shape("RGBA", (0, 0, 0)),
        "LA": lambda: _shape("LA", (0,)),
        "P": _palette,
        "white": lambda: _shape("RGBA", (255, 255, 255)),
    }[kind]()
    _fill(root, ["a", "b"])
    for path in (root / "a").iterdir():
        made.save(path, **({"transparency": 1} if kind == "P" else {}))
    assert _data(capsys)["class_names"] == ["a", "b"]
    data = search_data("folder:pictures")
    (image, *_) = data.train.images[data.train.labels == 0]
    assert set(image[:, 8:24, 8:24].flatten().tolist()) == {colour}
    assert set(image[:, :8].flatten().tolist()) == {128}


UNCHANGED: Mapping[str, tuple[str, list[str], list[str]]] = {
    "classes": ("68c6e45bfd2f987c", ["a", "b", "c"], ["RGB", "L", "P", "RGBA", "LA", "1"]),
    "train and test": ("99a7438e855ae49c", ["train/a", "train/b", "test/a", "test/b"], ["RGB"]),
    "train, val and test": ("99a7438e855ae49c", ["train/a", "train/b", "test/a", "test/b", "val/a", "val/b"], ["RGB"]),
    "other folders": ("99a7438e855ae49c", ["train/a", "train/b", "test/a", "test/b", "Training/a", "extra"], ["RGB"]),
    "classes called like parts": ("a3b962a4c4e55d9d", ["valid", "invalid"], ["RGB"]),
    "pictures one folder down": ("7f6dcaa4862fbd70", ["a/images", "b/images"], ["RGB"]),
    "pictures in the class and below": ("b2b3bc9be231c079", ["a", "a/x", "a/y", "b"], ["RGB"]),
}
"""Layouts that every version has read rightly: data digest, folders, kinds of pictures."""


@pytest.mark.parametrize("layout", UNCHANGED)
def test_the_digest_of_what_was_read_rightly_stays(layout: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A study that was begun with such a folder would be refused if it changed."""
    digest, folders, modes = UNCHANGED[layout]
    for folder in folders:
        _fill(root, [folder], modes=modes)
    assert _data(capsys)["digest"] == digest
