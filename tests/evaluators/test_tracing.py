"""A finished network under tracers: the kernels are invisible to them, so torch's own operations run."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from finished_networks import INVERTED, PADDED, finished, images
from slimfront.models.network import Network
from slimfront.spaces.candidate import Architecture, Bits
from torch import Tensor

Answer = Callable[[Tensor], Tensor]


def _traced(network: Network, example: Tensor, folder: Path) -> Answer:
    return torch.jit.trace(network, example)  # type: ignore[no-any-return, no-untyped-call]


def _exported(network: Network, example: Tensor, folder: Path) -> Answer:
    return torch.export.export(network, (example,)).module()  # type: ignore[return-value]


def _session(model: bytes | str) -> Answer:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda x: torch.from_numpy(session.run(None, {given.name: x.numpy()})[0])


def _onnx_by_script(network: Network, example: Tensor, folder: Path) -> Answer:
    written = io.BytesIO()
    torch.onnx.export(network, (example,), written, dynamo=False)
    return _session(written.getvalue())


def _onnx_by_export(network: Network, example: Tensor, folder: Path) -> Answer:
    if importlib.util.find_spec("onnxscript") is None:
        pytest.skip("torch's newer ONNX export needs onnxscript")
    torch.onnx.export(network, (example,), str(folder / "a.onnx"), dynamo=True)
    return _session(str(folder / "a.onnx"))


@pytest.mark.parametrize("bits", [Bits(), Bits.uniform(4, 4, outer=8)], ids=["float", "W4A4"])
@pytest.mark.parametrize("architecture", [PADDED, INVERTED], ids=["residual", "inverted"])
@pytest.mark.parametrize("trace", [_traced, _exported, _onnx_by_script, _onnx_by_export])
def test_what_a_tracer_sees_computes_the_same(
    trace: Callable[[Network, Tensor, Path], Answer], architecture: Architecture, bits: Bits, tmp_path: Path
) -> None:
    network = finished(architecture, bits).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own, of its older exporters
        answer = trace(network, images(4), tmp_path)
        others = images(4, seed=5)
        torch.testing.assert_close(answer(others), network(others), atol=1e-5, rtol=1e-4)
