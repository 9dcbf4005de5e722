import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from slimfront.evaluators.artifacts.artifact import from_bytes, to_bytes  # noqa: E402
from slimfront.evaluators.artifacts.onnx_export import ExportError, agreement, export, latency, run  # noqa: E402
from slimfront.models import build  # noqa: E402
from slimfront.models.quantization.quantizers import quantized_layers  # noqa: E402
from slimfront.spaces import presets  # noqa: E402
from slimfront.spaces.candidate import Bits  # noqa: E402

from tests.evaluators.finished_networks import ALL, PADDED, RESIDUAL, SHAPE, finished, images  # noqa: E402
from tests.random_architectures import architectures  # noqa: E402

FOUR = Bits.uniform(4, 4, outer=8)
MIXES = [
    FOUR,
    Bits.uniform(1, 1, outer=8),
    Bits.uniform(8, 8),
    Bits.uniform(3, 2),
    Bits.uniform(16, 16),
    Bits(),
    Bits(weights=(2, 32), activations=(8, 4), stem=16, classifier=3, ternary=True),
    Bits(weights=(16, 4), activations=(4, 16), stem=8, classifier=8),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.onnx"


def assert_same(network, path, batch):
    with torch.no_grad():
        ours = network(batch)
    theirs = run(path, batch)
    # Another order of summing may push a number over the middle between two grid points: in few images of many.
    far = (ours - theirs).abs().amax(1) > 1e-3 * ours.abs().max() + 1e-5
    assert far.float().mean() <= 0.02
    margin = ours.topk(2).values.diff().abs().squeeze(1)
    decided = margin > 1e-4 * ours.abs().max()
    same = theirs.argmax(1) == ours.argmax(1)
    assert (same | far)[decided].all()


@pytest.mark.parametrize("architecture", ALL, ids=lambda a: f"{a.family}-{a.shortcut}")
@pytest.mark.parametrize("bits", MIXES, ids=range(len(MIXES)))
def test_onnxruntime_predicts_the_same(architecture, bits, path):
    network = finished(architecture, bits, filters=True, masked=0.3)
    assert export(network, path, SHAPE) == path.stat().st_size
    assert_same(network, path, images(200, seed=4))
    assert agreement(path, network, images(200, seed=4)) >= 0.98


@settings(max_examples=10, deadline=None)
@given(architecture=architectures(), bits=st.sampled_from(MIXES[:6]))
def test_random_networks_from_artifacts_predict_the_same(tmp_path_factory, architecture, bits):
    network = from_bytes(to_bytes(finished(architecture, bits), SHAPE)).network
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    export(network, path, SHAPE)
    assert_same(network, path, images(60, seed=4))


def test_integers_are_stored_as_integers_in_standard_operators(path):
    network = finished(PADDED, Bits.uniform(4, 4, outer=8))
    export(network, path, SHAPE)
    model = onnx.load(path)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["stages.0.0.conv1.integers"] == onnx.TensorProto.INT4
    assert kinds["stem.conv.integers"] == onnx.TensorProto.INT8
    assert {node.domain for node in model.graph.node} == {""}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv", "MatMul"} <= {node.op_type for node in model.graph.node}


def test_the_file_is_much_smaller_than_floats(path):
    architecture = presets["small_residual"].architecture
    size = export(finished(architecture, FOUR), path, (3, 32, 32))
    weights = sum(layer.weight.numel() for layer in quantized_layers(finished(architecture, FOUR)).values())
    assert size < weights * 4 / 4


def test_steps_turned_negative_by_batch_norm_keep_their_weights(path):
    network = finished(RESIDUAL, Bits.uniform(8, 8))
    layer = network.stages[0][0].conv1
    with torch.no_grad():
        layer.integers[0] = -128
        layer.weight_base[0] = -0.01
        layer.integers[1] = 5
        layer.weight_base[1] = 0.0
    layer._write_grid()
    export(network, path, SHAPE)
    assert_same(network, path, images(50, seed=4))


def test_latency_is_measured_in_any_batch(path):
    export(finished(RESIDUAL, FOUR), path, SHAPE)
    for batch in (1, 64):
        found = latency(path, SHAPE, batch, runs=3)
        assert found.seconds_per_image > 0
        assert (found.batch, found.runs, found.threads) == (batch, 3, 1)


def test_a_network_in_training_is_refused(path):
    with pytest.raises(ExportError, match="still in training"):
        export(build(RESIDUAL, 5, seed=0), path, SHAPE)
    assert not path.exists()


def test_a_missing_package_says_how_to_get_it(path, monkeypatch):
    real = importlib.import_module

    def absent(name, *others):
        if name.startswith("onnx"):
            raise ImportError(name)
        return real(name, *others)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ExportError, match=r"pip install 'slimfront\[onnx\]'"):
        export(finished(RESIDUAL, FOUR), path, SHAPE)


def test_garbage_is_one_line(path):
    path.write_bytes(b"nothing")
    with pytest.raises(ExportError, match="onnxruntime cannot load it"):
        run(path, images(1))
