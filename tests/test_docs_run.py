"""The commands of README and docs, run in the order of the guide, in a folder as a user has it.

They are run as they are written but for what is listed here: the studies' files train shorter, and so does a sweep;
numbers of trials are those that the study has; the database server is the tests' own. What is not run says where it is
tested instead.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from slimfront.spaces import references
from test_docs import ROOT, blocks, cells, commands, named_files

sys.path.insert(0, str(ROOT / "tests" / "search"))
from postgresql_server import Server, binaries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SHORTER = {  # in the settings: seconds instead of hours, and a bar that so little training clears
    r"^bar = .*": "bar = 0.05",
    r"^trials = .*": "trials = 4",
    r"^startup_trials = .*": "startup_trials = 2\ntrials = 4",
    r"^max_score = .*": "",
    r"^dataset = .*": 'dataset = "digits"',
    r"^epochs = .*": "epochs = 1",
    r"^width = \{.*": "width = [8, 12]",
    r"^depth = \{.*": "depth = 1",
    r"^(teacher|distillation) = .*": "",
    r"^\[supernet\]": "[supernet]\nscreened = 8",
}
ELSEWHERE = {
    "dashboard": "tests/studies/test_dashboard_browser.py opens it",
    "data cifar10": "fetches 160 MB; tests/evaluators/test_data.py has the sources",
}
ORDER = ("guide.md", "search.md", "quantization.md", "extending.md", "own_networks.md", "README.md")


def shortened(text: str) -> str:
    for pattern, replacement in SHORTER.items():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    seen: set[str] = set()
    lines = []
    for line in text.splitlines():  # a replaced line may now be there twice
        key = line.partition("=")[0] if line.startswith("trials =") else ""
        if not key or key not in seen:
            lines.append(line)
        seen.add(key)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings as the docs name them, and pictures of two kinds of flowers."""
    from PIL import Image

    place = tmp_path_factory.mktemp("user")
    (place / "studies").mkdir()
    for name in ("quick.toml", "cifar10.toml", "cifar10_open.toml"):
        (place / "studies" / name).write_text(shortened((ROOT / "studies" / name).read_text()))
    (mine,) = [text for page, text in blocks("toml") if page == "guide.md" and 'name = "mine"' in text]
    (place / "mine.toml").write_text(shortened(mine))
    for name, text in (named_files("extending.md") | named_files("own_networks.md")).items():
        (place / name).write_text(text)
    with references.only_here():
        references.give("my_nets.py:MyNet", place)
        network = references.resolve("my_nets.py:MyNet")(num_classes=2)
    save_file(network.state_dict(), place / "mine.safetensors")
    drawn = np.random.default_rng(0)
    for kind in ("rose", "tulip"):
        (place / "flowers" / kind).mkdir(parents=True)
        for number in range(40):
            pixels = drawn.integers(0, 255, (40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "flowers" / kind / f"{number}.png")
    return place


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "120"}
    command = [sys.executable, str(ROOT / "run_search.py"), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=160)


def typed(line: str) -> list[str]:
    """The words behind `run_search.py` or `slimfront`."""
    words = shlex.split(line, comments=True)
    start = next(index for index, word in enumerate(words) if word.endswith("run_search.py") or word == "slimfront")
    return words[start + 1 :]


def on_front(folder: Path, name: str) -> str:
    done = run(folder, "front", "--name", name, "--json")
    assert done.returncode == 0, done.stderr
    front = json.loads(done.stdout)["front"]
    assert front, f"study {name} has nothing on its front"
    return str(front[0]["trial"])


def adapted(folder: Path, words: list[str], server: str | None) -> list[str]:
    """The words with this folder's numbers in the place of the docs'."""
    found = list(words)
    for index, (option, value) in enumerate(pairwise(words), 1):
        if option == "--trial":
            found[index] = on_front(folder, words[words.index("--name") + 1])
        elif option == "--epochs":
            found[index] = "1"  # an hour on CIFAR-10, or two hundred times as long
        elif value.startswith("postgresql://"):
            assert server is not None
            found[index] = server
        elif "DIGEST" in value:
            found[index] = str(next(folder.glob(value.replace("DIGEST", "*"))))
        elif value == "sqlite:///old.db":
            done = run(folder, "search", "studies/cifar10_open.toml", "--storage", value, "--trials", "2")
            assert done.returncode == 0, done.stderr
    if words[0] == "sweep":
        found += ["--dataset", "digits", "--retrain-epochs", "1"]
    return found


def test_the_commands_of_the_docs_run(folder: Path) -> None:
    server = Server() if binaries() is not None else None
    try:
        for page in ORDER:
            for line in [line for name, line in commands() if name == page]:
                words = typed(line)
                if any(" ".join(words).startswith(command) for command in ELSEWHERE):
                    continue
                if server is None and "postgresql://" in line:
                    continue
                url = server.create(f"docs{len(line)}") if server is not None and "postgresql://" in line else None
                done = run(folder, *adapted(folder, words, url))
                assert done.returncode == 0, f"{page}: {line}\n{done.stdout[-500:]}{done.stderr[-1500:]}"
    finally:
        if server is not None:
            server.remove()
    for name in ("trials.csv", "front.png", "quick.html", "quick-slides.html", "network.onnx"):
        assert (folder / name).stat().st_size > 1000, name


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells, one after the other in one namespace, as a kernel runs them."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    names: dict[str, Any] = {}
    for number, cell in enumerate(cell for cell in cells() if cell["cell_type"] == "code"):
        exec(compile(cell["source"], f"cell {number}", "exec"), names)
    plt.close("all")
    assert len(names["found"]) >= 1
    assert names["numbers"].mean > 0.5


def test_every_page_with_commands_is_run() -> None:
    assert {page for page, _ in commands()} == set(ORDER)
