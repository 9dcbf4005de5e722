"""The numbers of an artifact: a network's layers to streams and flat tensors, and back into an empty network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from slimfront.evaluators.artifacts.container import Array, ArtifactError, TamperedError
from slimfront.evaluators.artifacts.packing import (
    PackingError,
    decode,
    encode,
    from_codes,
    pad_mask,
    stored_bytes,
    to_codes,
)
from slimfront.evaluators.artifacts.structure import Row, remaining_norms, row_of
from slimfront.evaluators.scoring.strict import side_bits
from slimfront.models.network import Network, WeightLayer, weight_layers
from slimfront.models.quantization.conversion import exchange, norms_are_half, parameters_beside, set_plain_norm
from slimfront.models.quantization.quantizers import INTEGER_WIDTHS, QuantConv2d, QuantizedLayer, QuantLinear
from slimfront.models.tying import ties
from torch import Tensor, nn


@torch.no_grad()
def written(network: nn.Module) -> tuple[dict[str, Row], dict[str, Array]]:
    """The rows of a finished network's layers, and all its numbers but buffers. Raises ArtifactError."""
    streams: list[bytes] = []
    numbers: dict[int, list[Tensor]] = {16: [], 32: []}
    rows, tied = {}, ties(network)
    for name, layer in weight_layers(network).items():
        there = _there(layer)
        rows[name] = row = row_of(layer, int(there.sum()))
        if _weight_of(name) not in tied:  # which is stored once
            streams.append(encode(_codes(layer), there, row.weight_bits, zero_code(row.weight_bits)))
        beside = [layer.bias]
        if isinstance(layer, QuantizedLayer):
            beside += [layer.weight_step(), layer.input_step()]
        numbers[side_bits(row.weight_bits)] += [part.reshape(-1) for part in beside if part is not None]
    between = numbers[16 if norms_are_half(network) else 32]
    for norm in remaining_norms(network).values():
        between += [norm.weight, norm.bias]
    if not isinstance(network, Network):
        between += [one.reshape(-1) for name, one in parameters_beside(network).items() if name not in tied]
    arrays: dict[str, Array] = {"weights": np.frombuffer(b"".join(streams), dtype=np.uint8)}
    for bits, dtype in ((16, np.dtype("<f2")), (32, np.dtype("<f4"))):
        if numbers[bits]:
            joined = torch.cat([part.detach().float().cpu() for part in numbers[bits]]).numpy()
            arrays[f"numbers{bits}"] = _exactly(joined, dtype)
    return rows, arrays


class Numbers:
    """Takes numbers from the two tensors in the order in which they were written."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = {bits: arrays.get(f"numbers{bits}", np.zeros(0, np.float32)) for bits in (16, 32)}
        self._taken = {16: 0, 32: 0}
        for bits, array in self._arrays.items():
            if array.dtype.itemsize * 8 != bits and array.size:
                raise TamperedError(f"numbers{bits} has another type than float{bits}.")
            if not np.isfinite(array).all():
                raise TamperedError(f"numbers{bits} holds numbers that are not finite.")

    def take(self, bits: int, count: int) -> Tensor:
        """The next `count` of that kind, float32. Raises TamperedError where there are fewer."""
        start = self._taken[bits]
        part = self._arrays[bits][start : start + count]
        if len(part) != count:
            raise TamperedError("it has fewer biases and scales than its layers need.")
        self._taken[bits] += count
        return torch.from_numpy(part.astype(np.float32))

    def finish(self) -> None:
        """Raise TamperedError where numbers are left."""
        if any(self._taken[bits] != len(array) for bits, array in self._arrays.items()):
            raise TamperedError("it has more biases and scales than its layers need.")


def lengths_of(network: nn.Module, rows: Mapping[str, Row], arrays: Mapping[str, Array]) -> dict[str, int]:
    """Bytes of each layer's stream, of which a layer whose weight is another's has none.

    Raises TamperedError where they are not those that the file has.
    """
    weights = arrays.get("weights")
    allowed = {"weights", "numbers16", "numbers32"} | (set() if isinstance(network, Network) else {"buffers"})
    if weights is None or weights.dtype != np.uint8 or not set(arrays) <= allowed:
        raise TamperedError("it has other tensors than artifacts have.")
    layers, tied = weight_layers(network), ties(network)
    lengths = {
        name: stored_bytes(layers[name].weight.numel(), row.stored, row.weight_bits)
        for name, row in rows.items()
        if _weight_of(name) not in tied
    }
    if sum(lengths.values()) != weights.size:
        raise TamperedError(f"its layers take {sum(lengths.values()):,} bytes, but it has {weights.size:,}.")
    return lengths


def fill(network: nn.Module, rows: Mapping[str, Row], lengths: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    """Read every number of the network from the tensors; no more and no fewer than are there."""
    weights, layers, tied = arrays["weights"], weight_layers(network), ties(network)
    numbers = Numbers(arrays)
    start = 0
    for name, row in rows.items():
        if name not in lengths:
            _fill_tied(name, layers[name], row, numbers)
            continue
        stream = weights[start : start + lengths[name]].tobytes()
        start += lengths[name]
        try:
            codes, there = decode(
                stream, layers[name].weight.numel(), row.stored, row.weight_bits, zero_code(row.weight_bits)
            )
        except PackingError as error:
            raise TamperedError(f"the weights of {name} are not as they are packed: {error}") from None
        _fill_layer(network, name, layers[name], row, codes, there, numbers)
    half = norms_are_half(network)
    for norm in remaining_norms(network).values():
        factor, summand = (numbers.take(16 if half else 32, norm.num_features) for _ in range(2))
        set_plain_norm(norm, factor, summand)
    if not isinstance(network, Network):
        with torch.no_grad():
            for name, parameter in parameters_beside(network).items():
                if name in tied:
                    continue
                found = numbers.take(16 if half else 32, parameter.numel())
                parameter.copy_(found.view(parameter.shape))
    numbers.finish()


def _fill_tied(name: str, layer: WeightLayer, row: Row, numbers: Numbers) -> None:
    """What a layer has beside a weight that is another's: only networks that are not compressed have such."""
    if (row.weight_bits, row.activation_bits, row.stored) != (32, 32, layer.weight.numel()):
        raise TamperedError(f"{name} has the weight of another layer, and bits or a mask of its own.")
    layer.weight_bits, layer.activation_bits = 32, 32  # type: ignore[assignment]
    if row.bias:
        assert layer.bias is not None
        layer.bias.copy_(numbers.take(side_bits(32), row.outputs))


def _weight_of(name: str) -> str:
    """Name of a layer's weight; "" is the network itself."""
    return f"{name}.weight" if name else "weight"


def _fill_layer(
    network: nn.Module,
    name: str,
    layer: WeightLayer,
    row: Row,
    codes: NDArray[np.uint32],
    there: NDArray[np.bool_],
    numbers: Numbers,
) -> None:
    side, shape = side_bits(row.weight_bits), layer.weight.shape
    bias = numbers.take(side, row.outputs) if row.bias else None
    if (row.weight_bits, row.activation_bits) != (32, 32):
        widths = (row.weight_bits, row.activation_bits)
        grid = {"signed": row.signed, "ternary": row.ternary}
        if isinstance(layer, nn.Conv2d):
            layer = QuantConv2d.of(layer, *widths, **grid)
        else:
            layer = QuantLinear.of(layer, *widths, **grid)
        exchange(network, network.get_submodule(name), layer)
    layer.weight_bits, layer.activation_bits = row.weight_bits, row.activation_bits  # type: ignore[assignment]
    if row.weight_bits in INTEGER_WIDTHS:
        assert isinstance(layer, QuantizedLayer)
        integers = from_codes(codes, row.weight_bits)
        integers[~there] = 0
        if row.ternary and integers.min(initial=0) < -1:
            raise TamperedError(f"{name} has a weight of -2, outside of its ternary grid.")
        layer.load_grid(torch.from_numpy(integers).view(shape), numbers.take(side, row.outputs))
    else:
        floats = codes.astype(np.uint16).view(np.float16) if row.weight_bits == 16 else codes.view(np.float32)
        if not np.isfinite(floats).all():
            raise TamperedError(f"{name} has weights that are not finite.")
        layer.weight.copy_(torch.from_numpy(floats.astype(np.float32)).view(shape))
        if isinstance(layer, QuantizedLayer):
            layer.frozen = True
    if bias is not None:
        assert layer.bias is not None
        layer.bias.copy_(bias)
    if row.activation_bits in INTEGER_WIDTHS:
        assert isinstance(layer, QuantizedLayer)
        step = numbers.take(side, 1).squeeze(0)
        if not step > 0:
            raise TamperedError(f"{name} has an input step of {float(step):g}.")
        layer.set_input_step(step, signed=row.signed)
    if row.stored < layer.weight.numel():
        layer.stored_weights = row.stored  # type: ignore[assignment]


def _there(layer: WeightLayer) -> NDArray[np.bool_]:
    """Which weights are not pruned, (n,)."""
    mask = layer._buffers.get("weight_mask")
    if mask is not None:
        return np.asarray(mask.detach().cpu().reshape(-1).numpy() != 0)
    stored = getattr(layer, "stored_weights", None)
    if not isinstance(stored, int):
        return np.ones(layer.weight.numel(), dtype=np.bool_)
    try:
        return pad_mask(_values(layer) != 0, stored)
    except PackingError as error:
        raise ArtifactError(f"stored_weights of a layer is wrong: {error}") from None


def _values(layer: WeightLayer) -> Array:
    """Integers where there are such, else the weights, (n,)."""
    integers = layer.integers if isinstance(layer, QuantizedLayer) else None
    values: Tensor = layer.weight if integers is None else integers
    return values.detach().cpu().contiguous().reshape(-1).numpy()


def _codes(layer: WeightLayer) -> NDArray[np.uint32]:
    """What is packed: integers as unsigned codes, floats as their bits, (n,)."""
    bits = int(getattr(layer, "weight_bits", 32))
    values = _values(layer)
    if bits in INTEGER_WIDTHS:
        return to_codes(values, bits)
    if bits == 16:
        return _exactly(values, np.dtype("<f2")).view(np.uint16).astype(np.uint32)
    return _exactly(values, np.dtype("<f4")).view(np.uint32)


def _exactly(values: Array, dtype: np.dtype[Any]) -> Array:
    """`values` in a narrower type. Raises ArtifactError where that would round: the network is not deployed."""
    narrow = values.astype(dtype)
    if not np.array_equal(narrow.astype(values.dtype), values):
        raise ArtifactError(f"numbers that belong in {dtype.name} do not fit into it: deploy the network first.")
    return narrow


def zero_code(bits: int) -> int:
    """The code of a weight that is not there."""
    return 2 ** (bits - 1) if 1 < bits <= 8 else 0
