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
from slimfront.evaluators.artifacts.onnx_export import Array, ExportError, Translation
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
        self._operations: Mapping[str, Callable[[fx.Node, str], Any]] = {
            "conv2d": self._layer,
            "linear": self._layer,
            "batch_norm": lambda node, name: self._batch_norm(node, name, 7),
            "_native_batch_norm_legit_no_training": lambda node, name: [self._batch_norm(node, name, 6)],
            "hardtanh": lambda node, name: self._clip(node, name, -1.0, 1.0),
            "relu6": lambda node, name: self._clip(node, name, 0.0, 6.0),
            "clamp": lambda node, name: self._clip(node, name, None, None),
            "hardsigmoid": lambda node, name: self._add("HardSigmoid", [self._in(node)], name, alpha=1 / 6, beta=0.5),
            "silu": lambda node, name: self._add(
                "Mul", [self._in(node), self._add("Sigmoid", [self._in(node)], f"{name}.gate")], name
            ),
            "gelu": lambda node, name: self._add(
                "Gelu", [self._in(node)], name, approximate=str(node.kwargs.get("approximate", "none"))
            ),
            "leaky_relu": lambda node, name: self._add("LeakyRelu", [self._in(node)], name, alpha=_arg(node, 1, 0.01)),
            "elu": lambda node, name: self._add("Elu", [self._in(node)], name, alpha=float(_arg(node, 1, 1.0))),
            "prelu": self._prelu,
            "softmax": lambda node, name: self._add("Softmax", [self._in(node)], name, axis=_arg(node, 1, -1)),
            "group_norm": self._group_norm,
            "max_pool2d": self._max_pool,
            "avg_pool2d": self._avg_pool,
            "adaptive_avg_pool2d": self._adaptive,
            "adaptive_max_pool2d": self._adaptive_max,
            "mean": lambda node, name: self._reduced("ReduceMean", node, name),
            "sum": lambda node, name: self._reduced("ReduceSum", node, name),
            "amax": lambda node, name: self._reduced("ReduceMax", node, name),
            "flatten": self._reshape,
            "view": self._reshape,
            "reshape": self._reshape,
            "_unsafe_view": self._reshape,
            "squeeze": self._reshape,
            "unsqueeze": self._reshape,
            "permute": lambda node, name: self._add("Transpose", [self._in(node)], name, perm=_pair(node.args[1])),
            "transpose": self._transpose,
            "cat": self._cat,
            "chunk": self._parts,
            "split": self._parts,
            "split_with_sizes": self._parts,
            "slice": self._sliced,
            "pad": self._padded,
            "constant_pad_nd": self._padded,
        }

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
        return self._finished(result, input_shape, classes, class_names)

    def _translated(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            return self._values[node.args[0]][node.args[1]]  # type: ignore[index]
        name = getattr(node.target, "_overloadpacket", node.target)
        word = str(getattr(name, "__name__", name)).rpartition(".")[2].removesuffix("_")
        if word in ("sym_size", "sym_numel", "mul", "floordiv", "add", "sub") and _is_symbolic(node):
            return None  # sizes that depend on the batch: whoever asks for one takes what is left
        if word in self._operations:
            return self._operations[word](node, node.name)
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

    def _batch_norm(self, node: fx.Node, name: str, eps: int) -> str:
        parts = [None if one is None else self._values[one].tensor.detach().double() for one in node.args[1:5]]  # type: ignore[index]
        weight, bias, mean, variance = parts
        if mean is None or variance is None:
            raise ExportError(f"There is no ONNX translation of {name}: a batch norm without running statistics.")
        factor = torch.rsqrt(variance + float(node.args[eps]))  # type: ignore[arg-type]
        factor = factor if weight is None else factor * weight
        summand = -mean * factor if bias is None else bias - mean * factor
        shape = (1, -1, *[1] * (node.args[0].meta["val"].ndim - 2))  # type: ignore[union-attr]
        scaled = self._add(
            "Mul", [self._in(node), self._constant(f"{name}.factor", factor.view(shape).numpy())], f"{name}.scaled"
        )
        return self._add("Add", [scaled, self._constant(f"{name}.summand", summand.view(shape).numpy())], name)

    def _group_norm(self, node: fx.Node, name: str) -> str:
        channels = int(node.args[0].meta["val"].shape[1])  # type: ignore[union-attr]
        ones = self._constant(f"{name}.ones", np.ones(channels))
        zeros = self._constant(f"{name}.zeros", np.zeros(channels))
        given = [*node.args[2:4], None, None][:2]
        scale, bias = (
            other if one is None else self._text(one) for one, other in zip(given, (ones, zeros), strict=True)
        )
        settings = {"num_groups": node.args[1], "epsilon": float(_arg(node, 4, 1e-5))}
        return self._add("GroupNormalization", [self._in(node), scale, bias], name, **settings)

    def _prelu(self, node: fx.Node, name: str) -> str:
        slope = self._values[node.args[1]].tensor.detach()  # type: ignore[index]
        shape = (-1, *[1] * (node.meta["val"].ndim - 2))
        return self._add("PRelu", [self._in(node), self._constant(f"{name}.slope", slope.view(shape).numpy())], name)

    def _clip(self, node: fx.Node, name: str, low: float | None, high: float | None) -> str:
        low, high = _arg(node, 1, low), _arg(node, 2, high)
        limits = [
            "" if one is None else self._constant(f"{name}.{side}", float(one))
            for side, one in (("low", low), ("high", high))
        ]
        return self._add("Clip", [self._in(node), *limits], name)

    def _binary(self, operation: str, node: fx.Node) -> str:
        first, second = (self._text(one, f"{node.name}.{side}") for side, one in zip("ab", node.args[:2], strict=True))
        alpha = node.kwargs.get("alpha", 1)
        if alpha != 1:
            scaled = self._constant(f"{node.name}.alpha", float(alpha))  # type: ignore[arg-type]
            second = self._add("Mul", [second, scaled], f"{node.name}.scaled")
        return self._add(operation, [first, second], node.name)

    def _max_pool(self, node: fx.Node, name: str) -> str:
        kernel = _pair(node.args[1])
        stride, padding = _pair(_arg(node, 2, None) or kernel), _pair(_arg(node, 3, 0))
        settings = {"dilations": _pair(_arg(node, 4, 1)), "ceil_mode": int(bool(_arg(node, 5, False)))}
        return self._add(
            "MaxPool", [self._in(node)], name, kernel_shape=kernel, strides=stride, pads=padding * 2, **settings
        )

    def _avg_pool(self, node: fx.Node, name: str) -> str:
        kernel = _pair(node.args[1])
        stride, padding = _pair(_arg(node, 2, None) or kernel), _pair(_arg(node, 3, 0))
        if _arg(node, 6, None) is not None:
            raise ExportError(f"There is no ONNX translation of {name}: an average with a divisor of its own.")
        settings = {"ceil_mode": int(bool(_arg(node, 4, False))), "count_include_pad": int(bool(_arg(node, 5, True)))}
        return self._add(
            "AveragePool", [self._in(node)], name, kernel_shape=kernel, strides=stride, pads=padding * 2, **settings
        )

    def _adaptive(self, node: fx.Node, name: str) -> str:
        """Averages over windows that may overlap: a product with a matrix from either side."""
        x = self._in(node)
        if _pair(node.args[1]) == [1, 1]:
            return self._add("GlobalAveragePool", [x], name)
        height, width = (int(size) for size in node.args[0].meta["val"].shape[2:])  # type: ignore[union-attr]
        down, right = (int(size) for size in node.meta["val"].shape[2:])
        rows = self._constant(f"{name}.rows", _windows(height, down))
        columns = self._constant(f"{name}.columns", _windows(width, right).T)
        return self._add("MatMul", [self._add("MatMul", [rows, x], f"{name}.down"), columns], name)

    def _adaptive_max(self, node: fx.Node, name: str) -> list[str]:
        outer = [int(size) for size in node.args[0].meta["val"].shape[2:]]  # type: ignore[union-attr]
        inner = _pair(node.args[1])
        if inner == [1, 1]:
            return [self._add("GlobalMaxPool", [self._in(node)], name), ""]
        if any(large % small for large, small in zip(outer, inner, strict=True)):
            raise ExportError(f"There is no ONNX translation of {name}: windows of several sizes.")
        kernel = [large // small for large, small in zip(outer, inner, strict=True)]
        return [self._add("MaxPool", [self._in(node)], name, kernel_shape=kernel, strides=kernel), ""]

    def _reduced(self, operation: str, node: fx.Node, name: str) -> str:
        axes = _arg(node, 1, None)
        axes = [axes] if isinstance(axes, int) else list(axes or range(node.args[0].meta["val"].ndim))  # type: ignore[union-attr]
        given = self._constant(f"{name}.axes", np.asarray(axes), "INT64")
        return self._add(operation, [self._in(node), given], name, keepdims=int(bool(_arg(node, 2, False))))

    def _reshape(self, node: fx.Node, name: str) -> str:
        """To the shape that comes out, whatever said so; the batch is what is left."""
        shape = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
        if shape.count(-1) > 1:
            raise ExportError(f"There is no ONNX translation of {name}: several sizes depend on the batch.")
        return self._add("Reshape", [self._in(node), self._constant(f"{name}.shape", np.asarray(shape), "INT64")], name)

    def _transpose(self, node: fx.Node, name: str) -> str:
        order = list(range(node.meta["val"].ndim))
        first, second = int(node.args[1]), int(node.args[2])  # type: ignore[arg-type]
        order[first], order[second] = order[second], order[first]
        return self._add("Transpose", [self._in(node)], name, perm=order)

    def _cat(self, node: fx.Node, name: str) -> str:
        parts = [self._text(one) for one in node.args[0]]  # type: ignore[union-attr]
        return self._add("Concat", parts, name, axis=int(_arg(node, 1, 0)))

    def _parts(self, node: fx.Node, name: str) -> list[str]:
        axis = int(_arg(node, 2, 0))
        sizes = [int(part.shape[axis]) for part in node.meta["val"]]
        outputs = [f"{name}.{index}" for index in range(len(sizes))]
        split = self._constant(f"{name}.sizes", np.asarray(sizes), "INT64")
        self._nodes.append(self._onnx.helper.make_node("Split", [self._in(node), split], outputs, name=name, axis=axis))
        return outputs

    def _sliced(self, node: fx.Node, name: str) -> str:
        axis, start, end, step = (_arg(node, place, other) for place, other in ((1, 0), (2, 0), (3, _FAR), (4, 1)))
        end = _FAR if end is None or not isinstance(end, int) else end
        given = {"starts": start or 0, "ends": end, "axes": axis, "steps": step}
        inputs = [self._constant(f"{name}.{key}", np.asarray([value]), "INT64") for key, value in given.items()]
        return self._add("Slice", [self._in(node), *inputs], name)

    def _padded(self, node: fx.Node, name: str) -> str:
        widths: Sequence[int] = list(node.args[1])  # type: ignore[arg-type]
        dims = node.meta["val"].ndim
        before, behind = [0] * dims, [0] * dims
        for index in range(len(widths) // 2):
            before[-1 - index], behind[-1 - index] = widths[2 * index], widths[2 * index + 1]
        pads = self._constant(f"{name}.pads", np.asarray(before + behind), "INT64")
        mode = str(_arg(node, 2, "constant")) if isinstance(_arg(node, 2, "constant"), str) else "constant"
        word = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
        value = _arg(node, 3, None) if isinstance(_arg(node, 2, None), str) else _arg(node, 2, None)
        filled = [self._constant(f"{name}.value", float(value))] if value else []
        return self._add("Pad", [self._in(node), pads, *filled], name, mode=word)


class _Kept:
    """A parameter, a buffer or a constant of the network."""

    def __init__(self, name: str, tensor: Any) -> None:
        self.name, self.tensor = name, tensor


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
