"""What a command ends with runs as it is pasted: with several studies in a storage, and spaces in every path."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from made_trials import CANDIDATE, add_trials, made_trial
from slimfront.evaluators.artifacts.artifact import save
from slimfront.models import build
from slimfront.models.quantization.conversion import deploy
from slimfront.search.commands.cli import COMMANDS, main
from slimfront.spaces import presets
from slimfront.studies.store.storage import create_or_load, open_storage

DIGEST = CANDIDATE.digest[:8]
LONG = {  # what begins the work of commands that train or wait, after everything was read and checked
    "search": "slimfront.search.launch.launch",
    "retrain": "slimfront.search.retrain.run.retrain",
    "sweep": "slimfront.search.sweep.run.sweep",
    "compress": "slimfront.search.commands.own_networks.compress_file",
    "dashboard": "slimfront.search.commands.dashboard.open_dashboard",
}
NET = """from torch import nn
class MyNet(nn.Sequential):
    def __init__(self, num_classes=10, in_channels=3, width=8):
        pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(nn.Conv2d(in_channels, width, 3), *pooled, nn.Linear(width, num_classes))
"""


class Begun(BaseException):
    """A command has begun its work."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("a folder") / "with spaces"
    folder.mkdir()
    for file in ("slimfront.db", "my studies.db"):
        storage = open_storage(f"sqlite:///{folder}/{file}")
        add_trials(create_or_load(storage, "my first"), [made_trial(0, 0.91, 0.02), made_trial(1, 0.95, 0.03)])
        add_trials(create_or_load(storage, "below"), [made_trial(0, 0.5, 0.02)])
    for name, dataset, shape in (("net work", "folder:my pictures", (3, 32, 32)), ("plain", "digits", (1, 12, 12))):
        network = build(presets["digits"].architecture, 10, shape[0]).eval()
        deploy(network)
        save(network, folder / f"{name}.slim", shape, provenance={"data": {"name": dataset}})
    for kind in ("rose", "tulip"):
        (folder / "my pictures" / kind).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number, 5, 5 if kind == "rose" else 90)).save(
                folder / "my pictures" / kind / f"{number}.png"
            )
    (folder / "my nets.py").write_text(NET)
    return folder


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def begun(*_: Any, **__: Any) -> None:
        raise Begun

    monkeypatch.chdir(made)
    for place in LONG.values():
        monkeypatch.setattr(place, begun)
    return made


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    """The commands that a command ends with."""
    capsys.readouterr()
    code = main(list(words))
    told = capsys.readouterr()
    assert code == 0, told.err
    return [shlex.split(line) for line in re.findall(r"^(?:next|or): python run_search\.py (.*)$", told.out, re.M)]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("front --name 'my first'", ["retrain", "show", "dashboard"]),
        ("front --name 'my first' --storage 'sqlite:///my studies.db'", ["retrain", "show", "dashboard"]),
        ("front --name below", ["show", "dashboard"]),
        ("show --name 'my first' --trial 1", ["retrain", "front"]),
        ("studies --storage 'sqlite:///my studies.db'", ["front", "front"]),
        ("report --name 'my first' --out 'a report.html'", ["retrain"]),
        ("report --name below --out other.html", ["front"]),
        (f"score {DIGEST} --name 'my first'", ["sweep", "retrain"]),
        (f"score {DIGEST} --name below --storage 'sqlite:///my studies.db'", ["sweep", "retrain"]),
        ("score resnet8 --dataset digits", ["sweep", "retrain"]),
        ("score 'my nets.py:MyNet' --arg width=4 --dataset 'folder:my pictures' --image-size 16", ["compress"]),
        ("data digits", ["search"]),
        ("data 'folder:my pictures'", ["init"]),
        ("init 'my study.toml' --dataset digits", ["search", "data"]),
        ("verify 'net work.slim'", ["export"]),
        ("export 'net work.slim' --onnx 'net work.onnx'", ["predict", "verify"]),
        ("export plain.slim --onnx plain.onnx", ["verify"]),
        ("predict 'net work.slim' 'my pictures/rose'", ["verify"]),
    ],
)
def test_the_next_commands_run_as_pasted(
    folder: Path, line: str, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if "onnx" in line or "verify" in line:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    found = said(capsys, *shlex.split(line))
    assert [words[0] for words in found] == names
    for words in found:
        if words[0] in LONG:
            with pytest.raises(Begun):
                main(words)
        else:
            assert main(words) == 0, capsys.readouterr().err


def test_without_pictures_of_the_data_export_says_where_yours_go(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    assert main(["export", "plain.slim", "--onnx", "plain.onnx"]) == 0
    assert capsys.readouterr().out.endswith("predict plain.slim PICTURES\n")


def test_no_command_that_ends_well_is_left_out() -> None:
    """Each is above, or in a test of its own: those that train, and import, which needs a study of its own data."""
    source = Path(__file__).read_text()
    above = set(re.findall(r'^        \(f?"(\w+) ', source, re.M))
    assert COMMANDS.keys() - above == {"search", "retrain", "sweep", "compress", "dashboard", "import"}


@pytest.mark.parametrize(
    "words", [["retrain", "--candidate"], ["retrain", "--trial"], ["score"], ["sweep", "--candidate"]]
)
@pytest.mark.parametrize(
    ("digest", "text"),
    [("ffffffff", "no network whose digest begins with ffffffff"), (DIGEST, "")],
)
def test_a_digest_is_taken_wherever_a_network_is(
    folder: Path, words: list[str], digest: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*words, digest, "--name", "my first"]
    if text:
        assert main(line) == 2
        told = capsys.readouterr().err
        assert text in told
        assert told.count("\n") == 1
    elif words[0] in LONG:
        with pytest.raises(Begun):
            main(line)
    else:
        assert main(line) == 0


def test_a_digest_of_several_networks_or_studies_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = open_storage(f"sqlite:///{folder}/alike.db")
    alike = [made_trial(number, 0.91, 0.02, digest=f"abcdef{number}" + "0" * 57) for number in (0, 1)]
    add_trials(create_or_load(storage, "alike"), alike)
    for line, text in (
        (["--storage", "sqlite:///alike.db"], "2 networks of study alike begin with abcdef: give more of the digest"),
        ([], "--name"),
    ):
        assert main(["retrain", "--candidate", "abcdef", *line]) == 2
        told = capsys.readouterr().err
        assert text in told
        assert told.count("\n") == 1


def test_a_network_by_its_digest_is_retrained_as_its_trial(folder: Path) -> None:
    from slimfront.search.retrain.plan import make_plan

    how = {"dataset": None, "bar": None, "seeds": 1, "epochs": 1, "out": folder / "out"}
    chosen = {"trial": None, "front": False, "candidate": None}
    by_digest, _ = make_plan("sqlite:///slimfront.db", "below", chosen | {"candidate": DIGEST}, **how)
    by_number, _ = make_plan("sqlite:///slimfront.db", "below", chosen | {"trial": "0"}, **how)
    assert by_digest == by_number
    assert by_digest.study == "below"
