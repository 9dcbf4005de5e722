"""Artifacts, study files, candidates, folders of pictures and of artifacts that somebody made to harm their reader.

Each table below can be added to; the campaign takes along whatever is in it.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hostile_values import ESCAPE, NUMBERS, TEXTS, changed, nested
from PIL import Image
from slimfront.evaluators.artifacts import container
from slimfront.evaluators.artifacts.container import seal, unseal

Facts = dict[str, Any]

STUDY = """
name = "mine"
dataset = "digits"
trials = 3
[space.architecture.residual]
stem_width = [6, 8]
stages = 1
width = [8, 12]
depth = [1, 2]
[space.augmentation]
flip = false
crop = 0
[space.recipe]
epochs = 4
batch_size = 64
[space.recipe.sgd]
learning_rate = { low = 0.01, high = 0.3, log = true }
"""


# Artifacts


def opened(data: bytes) -> tuple[dict[str, Any], Facts]:
    """Tensors and facts of an artifact, nothing compressed."""
    arrays, facts = unseal(data)
    facts["layers"] = container.expand(facts["layers"])
    facts["provenance"] = container.expand(facts["provenance"])
    return {name: np.array(array) for name, array in arrays.items()}, copy.deepcopy(facts)


def sealed(arrays: dict[str, Any], facts: Facts) -> bytes:
    """The opposite, under a right seal; infinite numbers are written as 9e999, which JSON takes for a number."""
    data = seal(arrays, _finite(facts)).replace(_INFINITE, b"9e999".ljust(len(_INFINITE)))
    place = container._place_of_digest(data, container._header_length(data))
    return data[:place] + container._digest(data, place) + data[place + 64 :]


_INFINITE = b"1.2345e+300"


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(entry) for key, entry in tree.items()}
    if isinstance(tree, list):
        return [_finite(entry) for entry in tree]
    return float(_INFINITE) if isinstance(tree, float) and not abs(tree) < float("inf") else tree


def hostile_artifact(data: bytes, seed: int) -> bytes:
    """An artifact with one to three facts, tensors or bytes that are not what they were; or many."""
    drawn = random.Random(seed)
    kind = seed % 4
    if kind == 3:
        spoilt = bytearray(data)
        for _ in range(drawn.choice((1, 20))):
            spoilt[drawn.randrange(len(spoilt))] ^= 1 << drawn.randrange(8)
        return bytes(spoilt[: drawn.choice((len(spoilt), drawn.randrange(len(spoilt))))])
    arrays, facts = opened(data)
    facts = changed(facts, drawn, drawn.choice((1, 2, 3)))
    if not isinstance(facts, dict):
        facts = {"format": facts}
    if kind == 2:
        name = drawn.choice(sorted(arrays))
        arrays[name] = arrays[name][: drawn.randrange(len(arrays[name]) + 1)]
    provenance = facts.get("provenance")
    if isinstance(provenance, dict) and isinstance(provenance.get("data"), dict):
        names = ["digits", "folder:../private", *(text for text in TEXTS if not text.startswith("cifar"))]
        provenance["data"]["name"] = drawn.choice(names)
    return sealed(arrays, facts)


def _wide(facts: Facts) -> None:
    """A few kilobytes that ask for 2^42 multiply-adds an image."""
    depth = 8
    blocks = {"family": "residual", "stem_width": 64, "stem_stride": 1, "shortcut": "padding"}
    facts["architecture"] |= blocks | {"widths": [64] * 8, "depths": [depth] * 8, "strides": [1] * 8, "head_width": 0}
    facts["input"] = [3, 1024, 1024]
    rows = [[64, 3, 1, 8, 4, 0]] + [[64, 64, 1, 8, 4, 0]] * (2 * depth * 8) + [[facts["classes"], 64, 1, 8, 4, 0]]
    facts["layers"], facts["norms"], facts["shortcuts"] = rows, [], []


def _set(*path: Any, to: Any) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        parent: Any = facts
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = to

    return change


LARGE_FACTS: Mapping[str, Callable[[Facts], None]] = {
    "channel of a shortcut": _set("shortcuts", 0, to=[[2**64, 1]]),
    "channels of a shortcut": _set("shortcuts", 0, to=[[0, 2**64]]),
    "negative channel": _set("shortcuts", 0, to=[[-(2**64), 1]]),
    "classes": _set("classes", to=10**30),
    "side": _set("input", to=[3, 2**64, 2**64]),
    "filters": _set("layers", 0, 0, to=2**64),
    "stored weights": _set("layers", 0, to=[6, 3, 4, 4, 4, 2**64]),
    "bits": _set("layers", 0, 2, to=10**20),
    "norm": _set("norms", to=[2**64]),
    "width": _set("architecture", "widths", to=[2**64, 8]),
    "stem": _set("architecture", "stem_width", to=10**400),
    "share": _set("architecture", "compression", to=10**400),
    "format": _set("format", to=10**400),
    "truth for a number": _set("format", to=True),
    "claimed count": _set("claims", "macs", to=10**400),
    "claimed score": _set("claims", "score", to=1e300),
    "another claim": _set("claims", "more", to=nested(200)),
    "seed": _set("provenance", "seed", to=2**70),
    "work": _wide,
}


# Study files, candidates


STUDY_FILES: Mapping[str, str] = {
    "deep list": STUDY + "[early_stopping]\na = " + "[" * 5000 + "]" * 5000,
    "endless number": STUDY.replace("trials = 3", "trials = " + "9" * 6000),
    "large number": STUDY.replace("trials = 3", "hours = " + "9" * 400),
    "infinite": STUDY.replace("trials = 3", "hours = inf\nbar = nan"),
    "name with an escape": STUDY.replace('"mine"', '"a\\u001b[2Jb"'),
    "name with a key": STUDY + f'"{"x" * 3000}\\u001b[2J" = 1\n',
    "date": STUDY.replace('"mine"', "1979-05-27"),
    "names of presets": STUDY.replace("trials = 3", 'presets = ["\\u001b[31m", "../../x"]'),
    "wide list": STUDY.replace("width = [8, 12]", "width = [" + ", ".join(map(str, range(1, 4000))) + "]"),
    "no width": STUDY.replace("width = [8, 12]", "width = { low = 1e400, high = -1 }"),
    "text for a width": STUDY.replace("width = [8, 12]", 'width = ["=1+1", "<script>"]'),
    "teacher": STUDY + "distillation = 0.5\n" + 'teacher = "../../private/secret"\n',
    "folder of the user's": STUDY.replace('"digits"', '"folder:../private"'),
    "data set": STUDY.replace('"digits"', '"\\u001b[2J/etc/passwd"'),
    "no text": "\x00\x01\x02",
    "empty": "",
}


def hostile_candidate(candidate: Facts, seed: int) -> str:
    """A candidate's JSON file with some fields that hold something else."""
    return json.dumps(changed(candidate, random.Random(seed), 2))


# Folders


def _pictures(folder: Path) -> Path:
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (40 * number, 9, 9)).save(folder / name / f"{number}.png")
    return folder


def _with(change: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    def make(folder: Path, private: Path) -> None:
        change(_pictures(folder), private)

    return make


def _escaped_name(folder: Path, private: Path) -> None:
    (folder / "cats").rename(folder / f"{ESCAPE}cats")


FOLDERS: Mapping[str, Callable[[Path, Path], None]] = {
    "link to a folder": _with(lambda folder, private: (folder / "birds").symlink_to(private)),
    "link to a file": _with(lambda folder, private: (folder / "cats" / "9.png").symlink_to(private / "secret.txt")),
    "link in a circle": _with(lambda folder, private: (folder / "cats" / "again").symlink_to(folder)),
    "pipe": _with(lambda folder, private: os.mkfifo(folder / "cats" / "9.png")),
    "no picture": _with(lambda folder, private: _write(folder / "dogs" / "9.png", b"\x89PNG\r\n\x1a\n" + b"\xff" * 99)),
    "escaped name": _with(_escaped_name),
    "formula": _with(lambda folder, private: _rename(folder / "dogs", folder / "=1+1")),
}


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _rename(path: Path, target: Path) -> None:
    path.rename(target)


def summary_of_retraining(digests: list[str], seed: int) -> str:
    """A summary.json as retraining leaves it, with a command of somebody else's and numbers that are none."""
    drawn = random.Random(seed)
    network = {
        "digest": "",
        "trial": 1,
        "accuracies": [0.9, 0.91],
        "mean": 0.905,
        "std": 0.01,
        "lower": 0.8,
        "gap": 0.0,
    }
    network |= {"score": 0.01, "verdict": "clears the bar", "test_evaluations": 2}
    networks = [changed(network, drawn) | {"digest": digest, "accuracies": [0.9]} for digest in digests]
    networks += [changed(network, drawn, 3) | {"digest": drawn.choice(TEXTS)} for _ in digests]
    command = drawn.choice(["curl http://127.0.0.1:9/x | sh", "python run_search.py front; touch owned", ESCAPE])
    rank = drawn.choice([*NUMBERS, *TEXTS])
    return json.dumps({"command": command, "networks": networks, "rank_correlation": rank})
