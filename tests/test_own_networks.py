"""A network of a user's own, with her own `models/` and `utils.py` as popular repositories have them: the whole way."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from slimfront.evaluators.artifacts.artifact import ArtifactError
from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.training.augmentation import normalise
from slimfront.search.commands import cli
from slimfront.spaces import references
from torch import nn

import slimfront

NET = "main_nets.py:Small"
ALLOW = ["--allow", NET]
FILES = {
    "utils.py": "import torch.nn.functional as F\ndef act(x): return F.relu(x)\n",
    "models/__init__.py": "from .small import Small\n",
    "models/small.py": """
import torch.nn as nn
import torch.nn.functional as F
from utils import act
class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    def forward(self, x):
        out = act(self.bn1(self.conv1(x)))
        return act(self.bn2(self.conv2(out)) + self.shortcut(x))
class Small(nn.Module):
    def __init__(self, width=8, num_classes=10, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layers = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2))
        self.linear = nn.Linear(2 * width * 4, num_classes)
    def forward(self, x):
        x = self.layers(act(self.bn1(self.conv1(x))))
        x = F.max_pool2d(x, 3)
        return self.linear(x.view(x.size(0), -1))
""",
    "main_nets.py": "from models import Small\n",
    "own.toml": f"""
name = "own"
dataset = "digits"
bar = 0.1
trials = 2
[space.architecture]
family = "{NET}"
small.width = [4, 6]
[space.recipe]
epochs = 1
sgd.learning_rate = 0.1
[space.pruning.filters]
method = "li_filters"
ratio = 0.5
[space.bits]
weights = 4
activations = 4
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Her folder, with `mine.slim` made from `mine.safetensors`."""
    folder = tmp_path_factory.mktemp("hers")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["compress", NET, "--arg", "width=6", "--data", "digits", "--epochs", "16", "--learning-rate", "0.02"]
        assert cli.main([*words, "--weight-bits", "4", "--prune", "li_filters:0.5", "--out", "mine.slim"]) == 0
    yield folder
    assert "models" not in sys.modules


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(list(words))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_it_is_scored(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys, "score", NET, "--arg", "width=4", "--input", "1,12,12", "--json")
    assert code == 0, err
    layers = {layer["name"]: layer for layer in json.loads(out)["layers"]}
    assert layers["conv1"]["weights"] == 4 * 9
    assert layers["linear"]["macs"] == 10 * 8 * 4
    code, out, _ = _run(capsys, "score", NET, "--arg", "width=4", "--input", "1,12,12")
    assert f"compress {NET} --arg width=4 " in out.splitlines()[-1]


def test_its_file_is_verified_with_its_class_and_partly_without(
    inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = _run(capsys, "verify", "mine.slim", *ALLOW, "--json")
    facts = json.loads(out)
    assert (code, facts["ok"]) == (0, True), err
    assert facts["accuracy"] > 0.6
    *_, last = _run(capsys, "verify", "mine.slim", *ALLOW)[1].splitlines()
    assert last.endswith(f"export mine.slim --onnx mine.onnx --allow {NET}")
    code, out, _ = _run(capsys, "verify", "mine.slim", "--json")
    partly = json.loads(out)
    assert (code, partly["ok"], partly["problems"]) == (2, False, [])
    assert "macs" in partly["unchecked"]
    assert partly["weights"] == facts["weights"] < 2_000
    assert f"--allow {NET}" in _run(capsys, "verify", "mine.slim")[1].replace("\n", " ")


def test_it_agrees_in_onnxruntime(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx_export = pytest.importorskip("slimfront.evaluators.artifacts.onnx_export")
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    code, out, err = _run(capsys, "export", "mine.slim", "--onnx", "mine.onnx", *ALLOW)
    assert code == 0, err
    assert f"next: python run_search.py verify mine.slim --allow {NET}" in out.splitlines()
    with slimfront_given():
        network = slimfront.load(Path("mine.slim")).network
    images = normalise(search_data("digits").validation.images)
    with torch.inference_mode():
        ours = network(images)
    theirs = onnx_export.run(Path("mine.onnx"), images)
    assert onnx_export.agreement(Path("mine.onnx"), network, images) >= 0.99
    assert float((ours - theirs).abs().max()) < 1e-2 * float(ours.abs().max())
    model = onnx.load("mine.onnx")
    assert {entry.key for entry in model.metadata_props} == {"images", "classes"}
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}


def slimfront_given() -> object:
    """Within it her class is given, as --allow gives it."""
    import contextlib

    @contextlib.contextmanager
    def given() -> Iterator[None]:
        with references.only_here():
            references.give(NET, Path())
            yield

    return given()


def test_pictures_are_classified(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.new("RGB", (20, 30), (10, 200, 30)).save("one.png")
    code, out, err = _run(capsys, "predict", "mine.slim", "one.png", *ALLOW, "--json")
    assert code == 0, err
    (row,) = json.loads(out)["predictions"]
    assert row["picture"] == "one.png"
    assert row["class"] in search_data("digits").class_names
    code, _, err = _run(capsys, "predict", "mine.slim", "one.png")
    assert (code, err.count("\n")) == (2, 1)
    assert f"--allow {NET}" in err


@pytest.mark.slow
def test_its_constructor_is_searched_and_the_best_retrained(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys, "search", "own.toml", "--workers", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["trials"]["complete"] == 2
    trial = str((found["front"] or found["nearest"])[0]["trial"])
    code, out, err = _run(capsys, "retrain", "--trial", trial, "--seeds", "1", "--epochs", "1", *ALLOW, "--json")
    assert code == 0, err
    (artifact,) = json.loads(out)["artifacts"]
    code, _, err = _run(capsys, "verify", artifact, *ALLOW)
    assert code == 0, err
    assert _run(capsys, "report", "--out", "own.html")[0] == 0


HEAD = "import random, torch\nfrom torch import nn\nclass Small(nn.Module):\n    def __init__(self):\n"
BROKEN = {
    "import nothing_of_that_name\n": "cannot be imported",
    "class Small: pass\n": "network's class",
    f"{HEAD}        raise RuntimeError('no')\n": "cannot be built",
    "from torch import nn\nclass Small(nn.Flatten):\n    pass\n": "(2, 144)",
    f"""{HEAD}        super().__init__()
        self.fc = nn.Linear(144, 10)
        nn.init.constant_(self.fc.bias, torch.nan)
    def forward(self, x): return self.fc(x.flatten(1))
""": "fc.bias holds numbers that are not finite",
    f"""{HEAD}        super().__init__()
        self.name = f'fc{{random.random()}}'.replace('.', '_')
        setattr(self, self.name, nn.Linear(144, 10))
    def forward(self, x): return getattr(self, self.name)(x.flatten(1))
""": "another network every time",
}


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("command", ["compress", "search"])
def test_a_class_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main_nets.py").write_text(text)
    (tmp_path / "own.toml").write_text(FILES["own.toml"].replace("small.width = [4, 6]\n", ""))
    compress = ["compress", NET, "--data", "digits", "--weight-bits", "4", "--out", "m.slim"]
    code, _, err = _run(capsys, *(compress if command == "compress" else ["search", "own.toml", "--workers", "1"]))
    assert code == 2, err
    assert BROKEN[text] in err
    assert "Traceback" not in err
    assert not Path("m.slim").exists()


def test_weights_that_do_not_fit_are_named(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compress", NET, "--data", "digits", "--out", "w.slim", "--epochs", "0", "--weights"]
    save_file({"conv1.weight": torch.zeros(9, 1, 3, 3), "head.weight": torch.zeros(2)}, "wrong.safetensors")
    torch.save(nn.Linear(2, 2), "pickled.pt")
    Path("text.pt").write_text("root:x:0:0:root:/root:/bin/bash\n")
    torch.save({"conv1.weight": torch.full((8, 1, 3, 3), torch.nan)}, "nan.pt")
    for file, said in {
        "wrong.safetensors": "conv1.weight has 9x1x3x3, the network 8x1x3x3",
        "pickled.pt": "save network.state_dict()",
        "text.pt": "no file of torch's",
        "nan.pt": "not finite",
        "absent.pt": "No such file",
    }.items():
        code, _, err = _run(capsys, *words, file)
        assert code == 2, err
        assert said in err
    assert not Path("w.slim").exists()


def test_torchs_own_modules_need_no_code(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()),
        nn.Linear(54, 10),
    )
    compressed = slimfront.compress(network, "digits", weight_bits=4, prune="li_filters:0.5", epochs=2)
    compressed.save(tmp_path / "row.slim")
    images = normalise(search_data("digits").validation.images[:32])
    with torch.inference_mode():
        assert torch.equal(slimfront.load(tmp_path / "row.slim").network(images), compressed.network(images))
    assert compressed.score.score < compressed.before[1].score / 4


TIED = """
import torch
from torch import nn
class Tied(nn.Module):
    def __init__(self, num_classes, in_channels, width=4):
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.again, self.once_more = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.once_more.weight = self.again.weight
        self.linear = nn.Linear(width, num_classes)
    def forward(self, x):
        for layer in (self.first, self.again, self.once_more):
            x = torch.relu(layer(x))
        return self.linear(x.mean((2, 3)))
"""


def test_tied_weights_are_stored_once_until_they_are_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tied.py").write_text(TIED)
    monkeypatch.chdir(tmp_path)
    outer, tied = 4 * 9 + 4 * 10, 4 * 4 * 9
    for name, words, layers in (
        ("whole", [], 1),
        ("rounded", ["--weight-bits", "4"], 2),
        ("cut", ["--prune", "li_filters:0.5"], 1),  # half the filters, which each are half as long
    ):
        base = ["compress", "tied.py:Tied", "--data", "digits", "--epochs", "0", "--out", f"{name}.slim", "--json"]
        code, out, err = _run(capsys, *base, *words)
        assert code == 0, err
        facts = json.loads(out)
        assert facts["weights"] == (outer + layers * tied if name != "cut" else outer // 2 + 2 * tied // 4), name
        assert bool(facts["notes"]) == (name != "whole")
        code, out, err = _run(capsys, "verify", f"{name}.slim", "--allow", "tied.py:Tied", "--json")
        assert (code, json.loads(out)["weights"]) == (0, facts["weights"]), err
        assert json.loads(_run(capsys, "verify", f"{name}.slim", "--json")[1])["problems"] == []


def test_an_unknown_class_cannot_be_saved(tmp_path: Path) -> None:
    class Hers(nn.Sequential):
        pass

    compressed = slimfront.compress(Hers(nn.Flatten(), nn.Linear(144, 10)), "digits", weight_bits=4, epochs=0)
    with pytest.raises(ArtifactError, match="reference="):
        compressed.save(tmp_path / "hers.slim")


def test_the_lines_of_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "own_networks.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0], {})
    assert Path("mine.slim").stat().st_size > 100
