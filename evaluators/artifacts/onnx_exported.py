"""A finished network of a user's own as ONNX: torch.export writes its operations down, and each is translated.

Convolutions and linear layers are recognised by their weights, and become what `onnx_export` makes of them: integers
behind QuantizeLinear and DequantizeLinear. Everything else is one of the operations in the table here, or is named.
"""

from __future__ import annotations

import copy
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from slimfront.evaluators.artifacts.onnx_export import Array, ExportError, Translation, finished
from slimfront.models.network import weight_layers
from slimfront.models.quantization.conversion import exchange
from torch import fx, nn

_FAR = int(np.iinfo(np.int64).max)
_UNARY = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "exp": "Exp", "neg": "Neg"}
_UNARY |= {"sqrt": "Sqrt", "abs": "Abs", "erf": "Erf", "softplus": "Softplus", "mish": "Mish"}
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "matmul": "MatMul"}
_SAME = {
    "dropout",
    "contiguous",
    "clone",
    "detach",
    "alias",
    "feature_dropout",
    "alpha_dropout",
    "lift_fresh_copy",
    "to",
}
_SAME |= {"_to_copy", "lift_fresh"}


class ExportedTranslation(Translation):
    """Follows the operations that torch.export finds."""

    def __init__(self, onnx: Any, network: nn.Module) -> None:
        super().__init__(onnx, network)
        self._values: dict[fx.Node, Any] = {}
        self._uses: dict[str, int] = {}

    def model(self, input_shape: tuple[int, int, int], class_names: Sequence[str] = ()) -> Any:
        """The whole model. Raises ExportError."""
        program = _exported(self._network, input_shape)
        signature = program.graph_signature
        kept = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        kept |= getattr(signature, "inputs_to_lifted_tensor_constants", {})
        state = {**program.state_dict, **program.constants}
        result = ""
        for node in program.graph.nodes:
            if node.op == "placeholder":
                target = kept.get(node.name)
                self._values[node] = "images" if target is None else _Kept(target, state[target])
            elif node.op == "output":
                result = self._text(node.args[0][0])
                classes = int(node.args[0][0].meta["val"].shape[1])
            else:
                self._values[node] = self._translated(node)
        return finished(self._onnx, self._nodes, self._initializers, result, input_shape, classes, class_names)

    def _translated(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            return self._values[node.args[0]][node.args[1]]  # type: ignore[index]
        name = getattr(node.target, "_overloadpacket", node.target)
        word = str(getattr(name, "__name__", name)).rpartition(".")[2].removesuffix("_")
        if word in ("sym_size", "sym_numel", "mul", "floordiv", "add", "sub") and _is_symbolic(node):
            return None  # sizes that depend on the batch: whoever asks for one takes what is left
        if word in _RULES:
            return _RULES[word](self, node, node.name)
        if word in _SAME:
            return self._in(node)
        if word in _UNARY:
            return self._add(_UNARY[word], [self._in(node)], node.name)
        if word in _BINARY:
            return self._binary(_BINARY[word], node)
        raise ExportError(f"There is no ONNX translation of {node.target}.")

    # --- inputs

    def _text(self, argument: Any, name: str = "") -> str:
        """The ONNX name of an argument; of a parameter, a buffer or a number that of an initializer."""
        if isinstance(argument, fx.Node):
            value = self._values[argument]
            if isinstance(value, _Kept):
                kind = "INT64" if not value.tensor.is_floating_point() else "FLOAT"
                return self._constant(value.name, value.tensor.detach().cpu().numpy(), kind)
            return str(value)
        return self._constant(name, float(argument))

    def _in(self, node: fx.Node) -> str:
        return self._text(node.args[0])

    # --- operations

    def _layer(self, node: fx.Node, name: str) -> str:
        weight = self._values[node.args[1]]  # type: ignore[index]
        if not isinstance(weight, _Kept):
            raise ExportError(f"There is no ONNX translation of {node.target} with a weight that is computed.")
        called = weight.name.rpartition(".")[0]
        layer = self._network.get_submodule(called)
        uses = self._uses[called] = self._uses.get(called, 0) + 1
        place = called if uses == 1 else f"{called}.use{uses}"
        x = self._in(node)
        if not isinstance(layer, nn.Conv2d):
            if not isinstance(layer, nn.Linear):
                raise ExportError(f"There is no ONNX translation of {called} ({type(layer).__name__}).")
            return self._linear(place, layer, x)
        if layer.padding_mode != "zeros":
            # torch.export writes the padding as an operation of its own, before the convolution.
            layer = copy.copy(layer)
            layer.padding = (0, 0)
        return self._convolution(place, layer, x)

    def _binary(self, operation: str, node: fx.Node) -> str:
        first, second = (self._text(one, f"{node.name}.{side}") for side, one in zip("ab", node.args[:2], strict=True))
        alpha = node.kwargs.get("alpha", 1)
        if alpha != 1:
            scaled = self._constant(f"{node.name}.alpha", float(alpha))  # type: ignore[arg-type]
            second = self._add("Mul", [second, scaled], f"{node.name}.scaled")
        return self._add(operation, [first, second], node.name)


class _Kept:
    """A parameter, a buffer or a constant of the network."""

    def __init__(self, name: str, tensor: Any) -> None:
        self.name, self.tensor = name, tensor


def _batch_norm(to: ExportedTranslation, node: fx.Node, name: str, eps: int) -> str:
    parts = [None if one is None else to._values[one].tensor.detach().double() for one in node.args[1:5]]  # type: ignore[index]
    weight, bias, mean, variance = parts
    if mean is None or variance is None:
        raise ExportError(f"There is no ONNX translation of {name}: a batch norm without running statistics.")
    factor = torch.rsqrt(variance + float(node.args[eps]))  # type: ignore[arg-type]
    factor = factor if weight is None else factor * weight
    summand = -mean * factor if bias is None else bias - mean * factor
    shape = (1, -1, *[1] * (node.args[0].meta["val"].ndim - 2))  # type: ignore[union-attr]
    scaled = to._add(
        "Mul", [to._in(node), to._constant(f"{name}.factor", factor.view(shape).numpy())], f"{name}.scaled"
    )
    return to._add("Add", [scaled, to._constant(f"{name}.summand", summand.view(shape).numpy())], name)


def _group_norm(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    channels = int(node.args[0].meta["val"].shape[1])  # type: ignore[union-attr]
    ones = to._constant(f"{name}.ones", np.ones(channels))
    zeros = to._constant(f"{name}.zeros", np.zeros(channels))
    given = [*node.args[2:4], None, None][:2]
    scale, bias = (other if one is None else to._text(one) for one, other in zip(given, (ones, zeros), strict=True))
    settings = {"num_groups": node.args[1], "epsilon": float(_arg(node, 4, 1e-5))}
    return to._add("GroupNormalization", [to._in(node), scale, bias], name, **settings)


def _prelu(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    slope = to._values[node.args[1]].tensor.detach()  # type: ignore[index]
    shape = (-1, *[1] * (node.meta["val"].ndim - 2))
    return to._add("PRelu", [to._in(node), to._constant(f"{name}.slope", slope.view(shape).numpy())], name)


def _clip(to: ExportedTranslation, node: fx.Node, name: str, low: float | None, high: float | None) -> str:
    low, high = _arg(node, 1, low), _arg(node, 2, high)
    limits = [
        "" if one is None else to._constant(f"{name}.{side}", float(one))
        for side, one in (("low", low), ("high", high))
    ]
    return to._add("Clip", [to._in(node), *limits], name)


def _max_pool(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    kernel = _pair(node.args[1])
    stride, padding = _pair(_arg(node, 2, None) or kernel), _pair(_arg(node, 3, 0))
    settings = {"dilations": _pair(_arg(node, 4, 1)), "ceil_mode": int(bool(_arg(node, 5, False)))}
    return to._add("MaxPool", [to._in(node)], name, kernel_shape=kernel, strides=stride, pads=padding * 2, **settings)


def _avg_pool(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    kernel = _pair(node.args[1])
    stride, padding = _pair(_arg(node, 2, None) or kernel), _pair(_arg(node, 3, 0))
    if _arg(node, 6, None) is not None:
        raise ExportError(f"There is no ONNX translation of {name}: an average with a divisor of its own.")
    settings = {"ceil_mode": int(bool(_arg(node, 4, False))), "count_include_pad": int(bool(_arg(node, 5, True)))}
    return to._add(
        "AveragePool", [to._in(node)], name, kernel_shape=kernel, strides=stride, pads=padding * 2, **settings
    )


def _adaptive(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    """Averages over windows that may overlap: a product with a matrix from either side."""
    x = to._in(node)
    if _pair(node.args[1]) == [1, 1]:
        return to._add("GlobalAveragePool", [x], name)
    height, width = (int(size) for size in node.args[0].meta["val"].shape[2:])  # type: ignore[union-attr]
    down, right = (int(size) for size in node.meta["val"].shape[2:])
    rows = to._constant(f"{name}.rows", _windows(height, down))
    columns = to._constant(f"{name}.columns", _windows(width, right).T)
    return to._add("MatMul", [to._add("MatMul", [rows, x], f"{name}.down"), columns], name)


def _adaptive_max(to: ExportedTranslation, node: fx.Node, name: str) -> list[str]:
    outer = [int(size) for size in node.args[0].meta["val"].shape[2:]]  # type: ignore[union-attr]
    inner = _pair(node.args[1])
    if inner == [1, 1]:
        return [to._add("GlobalMaxPool", [to._in(node)], name), ""]
    if any(large % small for large, small in zip(outer, inner, strict=True)):
        raise ExportError(f"There is no ONNX translation of {name}: windows of several sizes.")
    kernel = [large // small for large, small in zip(outer, inner, strict=True)]
    return [to._add("MaxPool", [to._in(node)], name, kernel_shape=kernel, strides=kernel), ""]


def _reduced(to: ExportedTranslation, operation: str, node: fx.Node, name: str) -> str:
    axes = _arg(node, 1, None)
    axes = [axes] if isinstance(axes, int) else list(axes or range(node.args[0].meta["val"].ndim))  # type: ignore[union-attr]
    given = to._constant(f"{name}.axes", np.asarray(axes), "INT64")
    return to._add(operation, [to._in(node), given], name, keepdims=int(bool(_arg(node, 2, False))))


def _reshape(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    """To the shape that comes out, whatever said so; the batch is what is left."""
    shape = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
    if shape.count(-1) > 1:
        raise ExportError(f"There is no ONNX translation of {name}: several sizes depend on the batch.")
    return to._add("Reshape", [to._in(node), to._constant(f"{name}.shape", np.asarray(shape), "INT64")], name)


def _transpose(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    order = list(range(node.meta["val"].ndim))
    first, second = int(node.args[1]), int(node.args[2])  # type: ignore[arg-type]
    order[first], order[second] = order[second], order[first]
    return to._add("Transpose", [to._in(node)], name, perm=order)


def _cat(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    parts = [to._text(one) for one in node.args[0]]  # type: ignore[union-attr]
    return to._add("Concat", parts, name, axis=int(_arg(node, 1, 0)))


def _parts(to: ExportedTranslation, node: fx.Node, name: str) -> list[str]:
    axis = int(_arg(node, 2, 0))
    sizes = [int(part.shape[axis]) for part in node.meta["val"]]
    outputs = [f"{name}.{index}" for index in range(len(sizes))]
    split = to._constant(f"{name}.sizes", np.asarray(sizes), "INT64")
    to._nodes.append(to._onnx.helper.make_node("Split", [to._in(node), split], outputs, name=name, axis=axis))
    return outputs


def _sliced(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    axis, start, end, step = (_arg(node, place, other) for place, other in ((1, 0), (2, 0), (3, _FAR), (4, 1)))
    end = _FAR if end is None or not isinstance(end, int) else end
    given = {"starts": start or 0, "ends": end, "axes": axis, "steps": step}
    inputs = [to._constant(f"{name}.{key}", np.asarray([value]), "INT64") for key, value in given.items()]
    return to._add("Slice", [to._in(node), *inputs], name)


def _padded(to: ExportedTranslation, node: fx.Node, name: str) -> str:
    widths: Sequence[int] = list(node.args[1])  # type: ignore[arg-type]
    dims = node.meta["val"].ndim
    before, behind = [0] * dims, [0] * dims
    for index in range(len(widths) // 2):
        before[-1 - index], behind[-1 - index] = widths[2 * index], widths[2 * index + 1]
    pads = to._constant(f"{name}.pads", np.asarray(before + behind), "INT64")
    mode = str(_arg(node, 2, "constant")) if isinstance(_arg(node, 2, "constant"), str) else "constant"
    word = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    value = _arg(node, 3, None) if isinstance(_arg(node, 2, None), str) else _arg(node, 2, None)
    filled = [to._constant(f"{name}.value", float(value))] if value else []
    return to._add("Pad", [to._in(node), pads, *filled], name, mode=word)


Rule = Callable[[ExportedTranslation, fx.Node, str], Any]

_RULES: Mapping[str, Rule] = {
    "conv2d": ExportedTranslation._layer,
    "linear": ExportedTranslation._layer,
    "batch_norm": lambda to, node, name: _batch_norm(to, node, name, 7),
    "_native_batch_norm_legit_no_training": lambda to, node, name: [_batch_norm(to, node, name, 6)],
    "hardtanh": lambda to, node, name: _clip(to, node, name, -1.0, 1.0),
    "relu6": lambda to, node, name: _clip(to, node, name, 0.0, 6.0),
    "clamp": lambda to, node, name: _clip(to, node, name, None, None),
    "hardsigmoid": lambda to, node, name: to._add("HardSigmoid", [to._in(node)], name, alpha=1 / 6, beta=0.5),
    "silu": lambda to, node, name: to._add(
        "Mul", [to._in(node), to._add("Sigmoid", [to._in(node)], f"{name}.gate")], name
    ),
    "gelu": lambda to, node, name: to._add(
        "Gelu", [to._in(node)], name, approximate=str(node.kwargs.get("approximate", "none"))
    ),
    "leaky_relu": lambda to, node, name: to._add("LeakyRelu", [to._in(node)], name, alpha=_arg(node, 1, 0.01)),
    "elu": lambda to, node, name: to._add("Elu", [to._in(node)], name, alpha=float(_arg(node, 1, 1.0))),
    "prelu": _prelu,
    "softmax": lambda to, node, name: to._add("Softmax", [to._in(node)], name, axis=_arg(node, 1, -1)),
    "group_norm": _group_norm,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive,
    "adaptive_max_pool2d": _adaptive_max,
    "mean": lambda to, node, name: _reduced(to, "ReduceMean", node, name),
    "sum": lambda to, node, name: _reduced(to, "ReduceSum", node, name),
    "amax": lambda to, node, name: _reduced(to, "ReduceMax", node, name),
    "flatten": _reshape,
    "view": _reshape,
    "reshape": _reshape,
    "_unsafe_view": _reshape,
    "squeeze": _reshape,
    "unsqueeze": _reshape,
    "permute": lambda to, node, name: to._add("Transpose", [to._in(node)], name, perm=_pair(node.args[1])),
    "transpose": _transpose,
    "cat": _cat,
    "chunk": _parts,
    "split": _parts,
    "split_with_sizes": _parts,
    "slice": _sliced,
    "pad": _padded,
    "constant_pad_nd": _padded,
}
"""By the name of an operation, what writes it: the name of its output, or a list of such."""


def _exported(network: nn.Module, input_shape: tuple[int, int, int]) -> Any:
    """The network's operations, with plain layers in the place of quantized ones. Raises ExportError."""
    plain = copy.deepcopy(network).cpu().eval()
    for layer in weight_layers(plain).values():
        new = _plain(layer)
        if new is not layer:
            exchange(plain, layer, new)
    batch = torch.export.Dim("batch", min=2, max=4096)
    images = torch.zeros(3, *input_shape)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(plain, (images,), dynamic_shapes=({0: batch},), strict=False)
            return program.run_decompositions({})
    except Exception as error:  # torch.export has no common base class of its errors
        text = " ".join(str(error).split())[:200]
        raise ExportError(
            f"torch.export cannot follow {type(network).__name__}: {type(error).__name__}: {text}"
        ) from None


def _plain(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """A layer of torch's own of that shape: its numbers do not matter, only its name does."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, bias=bias)
    kernel, stride, padding, dilation = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    settings: dict[str, Any] = {"groups": layer.groups, "bias": bias, "padding_mode": layer.padding_mode}
    return nn.Conv2d(layer.in_channels, layer.out_channels, kernel, stride, padding, dilation, **settings)  # type: ignore[arg-type]


def _arg(node: fx.Node, place: int, otherwise: Any) -> Any:
    return node.args[place] if len(node.args) > place else otherwise


def _pair(value: Any) -> list[int]:
    values = [int(one) for one in (value if isinstance(value, list | tuple) else [value])]
    return values * 2 if len(values) == 1 else values


def _is_symbolic(node: fx.Node) -> bool:
    return not isinstance(node.meta.get("val"), torch.Tensor)


def _windows(large: int, small: int) -> Array:
    """(small, large): row i averages over the window that adaptive pooling gives output i."""
    matrix = np.zeros((small, large))
    for index in range(small):
        first, last = index * large // small, math.ceil((index + 1) * large / small)
        matrix[index, first:last] = 1 / (last - first)
    return matrix
