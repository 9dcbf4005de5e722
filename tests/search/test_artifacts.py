"""The commands `verify` and `export`: what users see, and the exit codes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from slimfront.evaluators.artifacts.artifact import save
from slimfront.evaluators.artifacts.container import LARGEST_FILE, seal, unseal
from slimfront.evaluators.data.splits import final_data
from slimfront.evaluators.training.loop import accuracy
from slimfront.models import build, layer_bits
from slimfront.models.network import weight_layers
from slimfront.models.quantization.calibration import observe
from slimfront.models.quantization.conversion import convert, deploy
from slimfront.spaces import presets
from slimfront.spaces.candidate import Bits

import run_search


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A 4-bit network for the digits, hardly trained at all: only its claims have to be true."""
    network = build(presets["digits"].architecture, 10, channels=1, seed=0)
    data = final_data("digits")
    images = torch.randn(64, *data.input_shape)
    observed = observe(network, weight_layers(network), [images])
    convert(network, layer_bits(network, Bits.uniform(4, 4, outer=8)), observed)
    deploy(network)
    path = tmp_path_factory.mktemp("artifact") / "a.slim"
    provenance = {"data": {"name": "digits", "digest": "0" * 16}}
    save(network, path, data.input_shape, accuracy=accuracy(network, data.test()), provenance=provenance)
    return path.read_bytes()


@pytest.fixture
def path(honest: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "a.slim"
    path.write_bytes(honest)
    return path


def verify(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, what was printed as JSON, and what was told beside it."""
    code = run_search.main(["verify", str(path), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def test_an_honest_file_is_confirmed_on_its_own_data(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts, _ = verify(path, capsys)
    assert (code, facts["ok"], facts["problems"]) == (0, True, [])
    assert facts["accuracy"] == facts["claims"]["accuracy"]
    assert run_search.main(["verify", str(path)]) == 0
    assert "ok: the file is what it claims to be" in capsys.readouterr().out


def lie(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(facts: dict[str, Any]) -> None:
        facts["claims"][name] = value

    return change


def without_data(facts: dict[str, Any]) -> None:
    facts["provenance"] = {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lie("accuracy", 0.99), "it claims accuracy 0.99"),
        (lie("score", 1e-4), "it claims score 0.0001"),
        (lie("macs", 10**400), "holds a number that no artifact has"),
        (without_data, "was not measured"),
    ],
    ids=["accuracy", "score", "absurd", "nothing to measure on"],
)
def test_false_claims_under_a_right_seal_exit_with_one(
    path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None], words: str
) -> None:
    arrays, facts = unseal(path.read_bytes())
    facts = copy.deepcopy(facts)
    change(facts)
    path.write_bytes(seal(arrays, facts))
    code, found, _ = verify(path, capsys)
    assert (code, found["ok"]) == (1, False)
    assert words in found["problems"][0]
    assert run_search.main(["verify", str(path)]) == 1
    assert "NOT OK" in capsys.readouterr().out


@pytest.mark.parametrize("place", [0, 30, 400, -1])
def test_a_flipped_bit_exits_with_one(path: Path, capsys: pytest.CaptureFixture[str], place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    code, found, err = verify(path, capsys)
    assert (code, found["ok"], found["accuracy"]) == (1, False, None)
    assert "changed after it was written" in found["problems"][0]
    assert err == ""


@pytest.mark.parametrize("kind", ["cut", "longer", "garbage", "empty", "huge", "absent", "folder"])
@pytest.mark.parametrize("command", ["verify", "export"])
def test_what_is_no_artifact_is_one_line_and_exits_with_two(
    path: Path, capsys: pytest.CaptureFixture[str], kind: str, command: str
) -> None:
    data = path.read_bytes()
    contents = {"cut": data[:-7], "longer": data + b"\0", "garbage": b"\x89PNG" * 99, "empty": b"", "huge": b""}
    path.unlink()
    if kind in contents:
        path.write_bytes(contents[kind])
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(LARGEST_FILE + 1)  # a hole: it takes no room
    if kind == "folder":
        path.mkdir()
    target = path.with_name("a.onnx")
    extra = ["--onnx", str(target)] if command == "export" else []
    assert run_search.main([command, str(path), *extra]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "a.slim: " in err
    assert not target.exists()


def test_export_tells_sizes_and_latencies(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    target = path.with_name("a.onnx")
    assert run_search.main(["export", str(path), "--onnx", str(target), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == target.stat().st_size
    assert facts["artifact_bytes"] == path.stat().st_size
    assert [row["batch"] for row in facts["latency"]] == [1, 64]
    assert all(row["seconds_per_image"] > 0 for row in facts["latency"])
    assert run_search.main(["export", str(path), "--onnx", str(target)]) == 0
    told = capsys.readouterr().out
    assert f"{facts['bytes']:,} bytes (artifact {facts['artifact_bytes']:,})" in told
    assert "batch 1: " in told
    assert "batch 64: " in told
