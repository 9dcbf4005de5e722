"""A finished network as an ONNX file that onnxruntime runs without slimfront, checked and timed there.

Standard operators only. Integer weights are int8, or int4 where their values fit, behind a DequantizeLinear with a
scale per output channel; integer inputs pass QuantizeLinear and DequantizeLinear, clipped before where they have fewer
than 8 bits. Whatever no such type holds stays float32, on its grid. Float16 weights are stored as float16.

The model's input is `images`, float32 (N, C, H, W), (pixel - 128) / 64 as everywhere here; its output is `logits`,
(N, classes).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from slimfront.evaluators import outputs
from slimfront.evaluators.scoring.timing import RUNS, median_seconds, some_images
from slimfront.models.blocks import PaddingShortcut
from slimfront.models.network import Network, WeightLayer, weight_layers
from slimfront.models.quantization.quantizers import QuantizedLayer
from slimfront.models.quantization.straight_through import bounds
from torch import Tensor, fx, nn

OPSET = 21  # the first with 4-bit integers
IR_VERSION = 10  # that goes with it
_HALF_MAX = float(torch.finfo(torch.float16).max)
_DTYPES = {"FLOAT": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT64": np.int64}

Array = NDArray[Any]


class ExportError(ValueError):
    """A network that cannot be exported, or a package that is missing."""


class UntranslatedError(ExportError):
    """A module or an operation that has no translation here."""


@dataclass(frozen=True)
class Latency:
    """Seconds per image in onnxruntime: the median over `runs` runs of a batch, divided by the batch."""

    batch: int
    seconds_per_image: float
    runs: int
    threads: int


def export(network: nn.Module, path: Path, input_shape: tuple[int, int, int], class_names: Sequence[str] = ()) -> int:
    """Write a finished network (deployed, or loaded from an artifact) and return the file's size in bytes.

    What is no `Network`, or holds modules that are not translated here, goes through torch.export
    (`slimfront.evaluators.artifacts.onnx_exported`). Normalisation and `class_names` stand in the file's metadata.

    Raises:
        ExportError: onnx is not installed, or the network holds a module that has no translation.
    """
    onnx = _package("onnx")
    model = _model(onnx, network, input_shape, class_names)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    outputs.write(path, data)
    return len(data)


def _model(onnx: Any, network: nn.Module, input_shape: tuple[int, int, int], class_names: Sequence[str]) -> Any:
    from slimfront.evaluators.artifacts.onnx_exported import ExportedTranslation

    if isinstance(network, Network):
        with contextlib.suppress(UntranslatedError):
            return Translation(onnx, network).model(input_shape, class_names)
    return ExportedTranslation(onnx, network).model(input_shape, class_names)


def run(path: Path, images: Tensor, batch: int = 250) -> Tensor:
    """Logits (N, classes) of `images` (N, C, H, W), normalised, in onnxruntime. Raises ExportError."""
    session = _session(path, 1)
    parts = [session.run(None, {"images": part.contiguous().numpy()})[0] for part in torch.split(images, batch)]
    return torch.from_numpy(np.concatenate(parts))


def agreement(path: Path, network: nn.Module, images: Tensor, batch: int = 250) -> float:
    """Share of `images` (N, C, H, W), normalised, for which onnxruntime and `network` predict the same class."""
    with torch.no_grad():
        ours = torch.cat(
            [network(part.contiguous(memory_format=torch.channels_last)) for part in torch.split(images, batch)]
        )
    same = run(path, images, batch).argmax(1) == ours.argmax(1).cpu()
    return float(same.double().mean())


def latency(
    path: Path, input_shape: tuple[int, int, int], batch: int, *, runs: int = RUNS, threads: int = 1
) -> Latency:
    """Time `path` in onnxruntime on random images, after a warm-up; fewer `runs` where they take long.

    Raises ExportError.
    """
    session = _session(path, threads)
    feed = {"images": some_images(input_shape, batch).numpy()}
    timing = median_seconds(lambda: session.run(None, feed), runs)
    return Latency(batch, timing.seconds / batch, timing.runs, threads)


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ExportError(f"The package {name} is missing: pip install 'slimfront[onnx]'.") from None


def _session(path: Path, threads: int) -> Any:
    runtime: Any = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class of its errors
        raise ExportError(f"{path}: onnxruntime cannot load it: {str(error).splitlines()[0]}") from None


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not list(m.children()) or isinstance(m, PaddingShortcut)


class Translation:
    """Follows the network's graph and writes one or more ONNX nodes for each of its steps."""

    def __init__(self, onnx: Any, network: nn.Module) -> None:
        self._onnx, self._network = onnx, network
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._modules: dict[type[nn.Module], Callable[[str, Any, str], str]] = {
            nn.Conv2d: self._convolution,
            nn.Linear: self._linear,
            nn.ReLU: lambda name, module, x: self._add("Relu", [x], name),
            nn.Identity: lambda name, module, x: x,
            nn.BatchNorm2d: self._norm,
            nn.AvgPool2d: self._average,
            nn.AdaptiveAvgPool2d: lambda name, module, x: self._add("GlobalAveragePool", [x], name),
            PaddingShortcut: self._shortcut,
        }

    def model(self, input_shape: tuple[int, int, int], class_names: Sequence[str] = ()) -> Any:
        """The whole model."""
        values: dict[fx.Node, str] = {}
        logits = ""
        for node in _Tracer().trace(self._network).nodes:
            inputs = [values[argument] for argument in node.all_input_nodes]
            if node.op == "placeholder":
                values[node] = "images"
            elif node.op == "call_module":
                values[node] = self._module(str(node.target), *inputs)
            elif node.op == "output":
                logits = inputs[0]
            elif node.target is operator.getitem:
                values[node] = self._slice(node.name, inputs[0], node.args[1])
            elif node.target is operator.add:
                values[node] = self._add("Add", inputs, node.name)
            elif node.target is torch.cat:
                values[node] = self._add("Concat", inputs, node.name, axis=1)
            elif node.target is torch.flatten:
                values[node] = self._add("Flatten", inputs, node.name, axis=1)
            else:
                raise UntranslatedError(f"There is no ONNX translation of {node.target}.")
        return finished(
            self._onnx,
            self._nodes,
            self._initializers,
            logits,
            input_shape,
            len(weight_layers(self._network)["classifier"].weight),
            class_names,
        )

    def _module(self, name: str, x: str) -> str:
        module = self._network.get_submodule(name)
        for kind, translate in self._modules.items():
            if isinstance(module, kind):
                return translate(name, module, x)
        raise UntranslatedError(f"There is no ONNX translation of {name} ({type(module).__name__}).")

    # --- pieces of a graph

    def _add(self, operation: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """A node whose output has the node's name."""
        self._nodes.append(self._onnx.helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, name: str, value: Array | float, kind: str = "FLOAT") -> str:
        """An initializer; `kind` names the ONNX type."""
        array = np.asarray(value)
        if kind == "INT4":  # two to a byte, the first in the lower half
            nibbles = np.append(array.reshape(-1), [0] * (array.size % 2)).astype(np.uint8) & 15
            packed = (nibbles[::2] | nibbles[1::2] << 4).tobytes()
            tensor = self._onnx.helper.make_tensor(name, self._onnx.TensorProto.INT4, array.shape, packed, raw=True)
        else:
            tensor = self._onnx.numpy_helper.from_array(array.astype(_DTYPES[kind]), name)
        self._initializers[name] = tensor
        return name

    # --- layers

    def _convolution(self, name: str, layer: nn.Conv2d, x: str) -> str:
        inputs = [self._input(name, layer, x), self._weight(name, layer)]
        left, right, above, below = layer._reversed_padding_repeated_twice
        padded = tuple(layer.padding) != (0, 0)
        settings = {
            "kernel_shape": list(layer.kernel_size),
            "strides": list(layer.stride),
            "pads": [above, left, below, right] if padded else [0, 0, 0, 0],
            "group": layer.groups,
        }
        if tuple(layer.dilation) != (1, 1):
            settings["dilations"] = list(layer.dilation)
        return self._with_bias(name, layer, lambda place: self._add("Conv", inputs, place, **settings), (1, -1, 1, 1))

    def _linear(self, name: str, layer: nn.Linear, x: str) -> str:
        # A MatMul: onnxruntime (1.20 to 1.26 at least) fails on what it makes of a Gemm whose steps are per channel.
        inputs = [self._input(name, layer, x), self._weight(name, layer)]
        return self._with_bias(name, layer, lambda place: self._add("MatMul", inputs, place), (1, -1))

    def _with_bias(self, name: str, layer: WeightLayer, product: Callable[[str], str], shape: tuple[int, ...]) -> str:
        """The bias as a node of its own: onnxruntime rounds one inside of a quantized Conv or Gemm to the grid."""
        if layer.bias is None:
            return product(name)
        bias = self._constant(f"{name}.bias", _array(layer.bias).reshape(shape))
        return self._add("Add", [product(f"{name}.product"), bias], name)

    def _input(self, name: str, layer: WeightLayer, x: str) -> str:
        """What the layer multiplies: its input, rounded as the layer rounds it."""
        if not isinstance(layer, QuantizedLayer) or layer.activation_bits == 32:
            return x
        if layer.activation_bits == 16:
            return self._as_half(f"{name}.input", x)
        step = layer.input_step()
        assert step is not None
        low, high = bounds(layer.activation_bits, signed=layer.signed)
        scale = self._constant(f"{name}.step", _array(step))
        if layer.signed and layer.activation_bits == 1:
            zero = self._constant(f"{name}.zero", 0.0)
            negative = self._add("Less", [x, zero], f"{name}.negative")
            minus = self._constant(f"{name}.minus", -_array(step))
            return self._add("Where", [negative, minus, scale], f"{name}.input")
        if layer.weight_bits > 8:
            # Behind a DequantizeLinear onnxruntime would round this layer's float weights to 8 bits: plain arithmetic.
            limits = [self._constant(f"{name}.{side}", float(bound)) for side, bound in (("low", low), ("high", high))]
            x = self._add("Clip", [self._add("Div", [x, scale], f"{name}.quotient"), *limits], f"{name}.clip")
            return self._add("Mul", [self._add("Round", [x], f"{name}.round"), scale], f"{name}.input")
        if layer.activation_bits < 8:
            limits = [
                self._constant(f"{name}.{side}", np.float32(bound) * _array(step))
                for side, bound in (("low", low), ("high", high))
            ]
            x = self._add("Clip", [x, *limits], f"{name}.clip")
        zero = self._constant(f"{name}.zero", 0, "INT8" if layer.signed else "UINT8")
        integers = self._add("QuantizeLinear", [x, scale, zero], f"{name}.input.integers")
        return self._add("DequantizeLinear", [integers, scale, zero], f"{name}.input")

    def _as_half(self, name: str, x: str) -> str:
        kinds = self._onnx.TensorProto
        limits = [self._constant(f"{name}.{side}", bound) for side, bound in (("low", -_HALF_MAX), ("high", _HALF_MAX))]
        x = self._add("Clip", [x, *limits], f"{name}.clip")
        half = self._add("Cast", [x], f"{name}.half", to=kinds.FLOAT16)
        return self._add("Cast", [half], name, to=kinds.FLOAT)

    def _weight(self, name: str, layer: WeightLayer) -> str:
        """Weights as Conv takes them, (out, in, h, w); a linear layer's as MatMul does, (in, out)."""
        channels = 1 if isinstance(layer, nn.Linear) else 0  # the axis of the output channels
        weight = _array(layer.weight).swapaxes(0, channels)
        if not isinstance(layer, QuantizedLayer) or layer.weight_bits == 32:
            return self._constant(f"{name}.weight", weight)
        if layer.weight_bits == 16:
            stored = self._constant(f"{name}.half", weight, "FLOAT16")
            return self._add("Cast", [stored], f"{name}.weight", to=self._onnx.TensorProto.FLOAT)
        if not layer.frozen or layer.integers is None:
            raise ExportError(f"layer {name} is still in training: deploy the network first.")
        step = layer.weight_step()
        assert step is not None
        integers = _array(layer.integers).swapaxes(0, channels)
        # A step is negative where a folded batch norm was: DequantizeLinear only multiplies.
        kind = "INT4" if -8 <= integers.min() <= integers.max() <= 7 else "INT8"
        stored = self._constant(f"{name}.integers", integers, kind)
        steps = self._constant(f"{name}.steps", _array(step))
        return self._add("DequantizeLinear", [stored, steps], f"{name}.weight", axis=channels)

    def _norm(self, name: str, norm: nn.BatchNorm2d, x: str) -> str:
        if norm.eps != 0:
            raise ExportError(f"batch norm {name} is still in training: deploy the network first.")
        factor, summand = (_array(part).reshape(1, -1, 1, 1) for part in (norm.weight, norm.bias))
        x = self._add("Mul", [x, self._constant(f"{name}.factor", factor)], f"{name}.scaled")
        return self._add("Add", [x, self._constant(f"{name}.summand", summand)], name)

    def _average(self, name: str, pool: nn.AvgPool2d, x: str) -> str:
        size = [pool.kernel_size] * 2 if isinstance(pool.kernel_size, int) else list(pool.kernel_size)
        return self._add("AveragePool", [x], name, kernel_shape=size, strides=size, ceil_mode=int(pool.ceil_mode))

    def _shortcut(self, name: str, shortcut: PaddingShortcut, x: str) -> str:
        if shortcut.stride != 1:
            x = self._slice(f"{name}.slice", x, (slice(None), slice(None), *[slice(None, None, shortcut.stride)] * 2))
        # Channel 0 of the padded tensor is the one of zeros.
        x = self._add(
            "Pad", [x, self._constant(f"{name}.pads", _whole([0, 1, 0, 0, 0, 0, 0, 0]), "INT64")], f"{name}.pad"
        )
        source = self._constant(f"{name}.source", _whole((shortcut.source + 1).tolist()), "INT64")
        return self._add("Gather", [x, source], name, axis=1)

    def _slice(self, name: str, x: str, index: Any) -> str:
        """Every n-th position along some axes, and nothing else."""
        steps = [getattr(part, "step", None) or 1 for part in index]
        if not all(isinstance(part, slice) and part == slice(None, None, part.step) for part in index):
            raise UntranslatedError(f"There is no ONNX translation of the index {index} in {name}.")
        axes = [axis for axis, step in enumerate(steps) if step != 1]
        far = np.iinfo(np.int64).max
        limits = {
            "starts": [0] * len(axes),
            "ends": [far] * len(axes),
            "axes": axes,
            "steps": [steps[axis] for axis in axes],
        }
        inputs = [self._constant(f"{name}.{part}", _whole(values), "INT64") for part, values in limits.items()]
        return self._add("Slice", [x, *inputs], name)


def finished(
    onnx: Any,
    nodes: list[Any],
    initializers: dict[str, Any],
    logits: str,
    input_shape: tuple[int, int, int],
    classes: int,
    class_names: Sequence[str],
) -> Any:
    """The model of all nodes so far."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))
    graph = helper.make_graph(
        nodes,
        "slimfront",
        [helper.make_tensor_value_info("images", kinds.FLOAT, ["N", *input_shape])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["N", classes])],
        list(initializers.values()),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="slimfront", opset_imports=opsets, ir_version=IR_VERSION)
    told = {"images": "(pixel - 128) / 64 of pixels 0..255, N x C x H x W"}
    helper.set_model_props(model, told | ({"classes": json.dumps(list(class_names))} if class_names else {}))
    return model


def _whole(values: list[int]) -> Array:
    return np.asarray(values, dtype=np.int64)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().contiguous().numpy()
    return array
