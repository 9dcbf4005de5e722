"""The one file that holds a compressed network: `*.slim`.

    weights      uint8    every layer's weights, packed (`slimfront.evaluators.artifacts.packing`), one stream a layer
    numbers16    float16  for every layer with weights of at most 16 bits: biases, weight steps, input step
    numbers32    float32  the same of the other layers
                          batch norm that could not be folded: factors and summands, in the kind of the widest layer
    metadata     JSON: structure (`evaluators.artifacts.structure`), claims, provenance, and the seal
                          (`evaluators.artifacts.container`)

So the file is what the strict score counts, plus less than 8 bits for each stream and some kilobytes of metadata. What
was written is what is read: the logits are the same bit for bit on the same machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from slimfront.evaluators import outputs
from slimfront.evaluators.artifacts.container import (
    Array,
    ArtifactError,
    TamperedError,
    expand,
    read,
    seal,
    squeeze,
    unseal,
)
from slimfront.evaluators.artifacts.packing import (
    PackingError,
    decode,
    encode,
    from_codes,
    pad_mask,
    stored_bytes,
    to_codes,
)
from slimfront.evaluators.artifacts.structure import (
    LARGEST_MACS,
    Row,
    empty_network,
    give_memory,
    remaining_norms,
    row_of,
    shortcuts,
    to_runs,
)
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.scoring.strict import side_bits
from slimfront.models.folding import foldable_pairs
from slimfront.models.network import Network, WeightLayer, weight_layers
from slimfront.models.quantization.conversion import absorb_activations, norms_are_half, set_plain_norm, settle
from slimfront.models.quantization.quantizers import INTEGER_WIDTHS, QuantConv2d, QuantizedLayer, QuantLinear
from torch import Tensor, nn

__all__ = ["Artifact", "ArtifactError", "TamperedError", "load", "save"]

FORMAT = 1

COUNTED = ("parameters", "weights", "stored_weights", "macs", "score", "strict_score")
_LONGEST_NAME = 100  # characters of a claim's name


@dataclass(frozen=True)
class Artifact:
    """What a file holds.

    Attributes:
        network: In evaluation mode, channels_last.
        input_shape: (channels, height, width) of an image.
        classes: Number of classes.
        claims: What the file says of itself: counts, score, accuracy.
        provenance: Where it comes from, in its own words.
        payload_bytes: Bytes of all tensors.
        bytes: Size of the file.
        activation: Numbers between two layers for one image, at most.
    """

    network: Network
    input_shape: tuple[int, int, int]
    classes: int
    claims: Mapping[str, Any]
    provenance: Mapping[str, Any]
    payload_bytes: int
    bytes: int
    activation: int


def save(
    network: Network,
    path: Path,
    input_shape: tuple[int, int, int],
    *,
    accuracy: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """Write a finished network and return the size of the file.

    The file is there whole or not at all.

    Args:
        network: Deployed (`models.quantization.conversion.deploy`; `slimfront.evaluators.quantization` ends with that).
        path: Ends in `.slim`.
        input_shape: (channels, height, width).
        accuracy: Claimed, on the test images.
        provenance: JSON-able: what was trained from what, by which version.

    Raises:
        ArtifactError: the network is not in its final form, or the path does not end in `.slim`.
    """
    if path.suffix != ".slim":
        raise ArtifactError(f"artifacts end in .slim, but the path is {path.name}.")
    data = to_bytes(network, input_shape, accuracy=accuracy, provenance=provenance)
    outputs.write(path, data)
    return len(data)


def load(path: Path) -> Artifact:
    """Read an artifact.

    Raises:
        ArtifactError: the file is none; one line says why.
        TamperedError: it is one, but its contents contradict each other or its seal.
    """
    try:
        return from_bytes(read(path))
    except ArtifactError as error:
        raise type(error)(f"{path}: {error}") from None


@torch.no_grad()
def to_bytes(
    network: Network,
    input_shape: tuple[int, int, int],
    *,
    accuracy: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> bytes:
    """The contents of a file; see `save`."""
    _check_finished(network)
    counted = score(network, input_shape)
    if counted.macs > LARGEST_MACS:
        raise ArtifactError(f"an image takes {counted.macs:,} multiply-adds, more than the {LARGEST_MACS:,} allowed.")
    streams: list[bytes] = []
    numbers: dict[int, list[Tensor]] = {16: [], 32: []}
    rows = []
    for layer in weight_layers(network).values():
        there = _there(layer)
        row = row_of(layer, int(there.sum()))
        rows.append(row.to_list(layer.weight.numel()))
        streams.append(encode(_codes(layer), there, row.weight_bits, _zero(row.weight_bits)))
        beside = [layer.bias]
        if isinstance(layer, QuantizedLayer):
            beside += [layer.weight_step(), layer.input_step()]
        numbers[side_bits(row.weight_bits)] += [part.reshape(-1) for part in beside if part is not None]
    norms = remaining_norms(network)
    for norm in norms.values():
        numbers[16 if norms_are_half(network) else 32] += [norm.weight, norm.bias]
    facts: dict[str, Any] = {
        "format": FORMAT,
        "architecture": network.architecture.to_dict(),
        "classes": network.classifier.out_features,
        "input": list(input_shape),
        "layers": squeeze(rows),
        "norms": [norm.num_features for norm in norms.values()],
        "shortcuts": [to_runs(shortcut.source.tolist()) for shortcut in shortcuts(network)],
        "claims": {name: getattr(counted, name) for name in COUNTED} | {"accuracy": accuracy},
        "provenance": squeeze(dict(provenance or {})),
    }
    arrays: dict[str, Array] = {"weights": np.frombuffer(b"".join(streams), dtype=np.uint8)}
    for bits, dtype in ((16, np.dtype("<f2")), (32, np.dtype("<f4"))):
        if numbers[bits]:
            joined = torch.cat([part.detach().float().cpu() for part in numbers[bits]]).numpy()
            arrays[f"numbers{bits}"] = _exactly(joined, dtype)
    return seal(arrays, facts)


@torch.no_grad()
def from_bytes(data: bytes) -> Artifact:
    """The inverse of `to_bytes`; see `load`."""
    arrays, facts = unseal(data)
    if type(facts.get("format")) is not int or facts["format"] != FORMAT:
        raise ArtifactError(f"its format is {str(facts.get('format'))[:20]!r}, but only {FORMAT} is known.")
    claims, provenance = facts.get("claims"), expand(facts.get("provenance"))
    if not isinstance(claims, dict) or not isinstance(provenance, dict):
        raise TamperedError("it has no claims or no provenance.")
    network, rows, size = empty_network(
        architecture=facts.get("architecture"),
        classes=facts.get("classes"),
        input_shape=facts.get("input"),
        layers=expand(facts.get("layers")),
        norms=facts.get("norms"),
        sources=facts.get("shortcuts"),
    )
    lengths = _lengths(network, rows, arrays)
    give_memory(network)
    _fill(network, rows, lengths, arrays)
    absorb_activations(network)
    settle(network)
    channels, height, width = facts["input"]
    payload = sum(array.nbytes for array in arrays.values())
    return Artifact(
        network,
        (channels, height, width),
        facts["classes"],
        {str(name)[:_LONGEST_NAME]: claim for name, claim in claims.items() if not isinstance(claim, list | dict)},
        provenance,
        payload,
        len(data),
        size.activation,
    )


class _Numbers:
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
        start = self._taken[bits]
        part = self._arrays[bits][start : start + count]
        if len(part) != count:
            raise TamperedError("it has fewer biases and scales than its layers need.")
        self._taken[bits] += count
        return torch.from_numpy(part.astype(np.float32))

    def finish(self) -> None:
        if any(self._taken[bits] != len(array) for bits, array in self._arrays.items()):
            raise TamperedError("it has more biases and scales than its layers need.")


def _lengths(network: Network, rows: Mapping[str, Row], arrays: Mapping[str, Array]) -> dict[str, int]:
    """Bytes of each layer's stream. Raises TamperedError where they are not those that the file has."""
    weights = arrays.get("weights")
    if weights is None or weights.dtype != np.uint8 or not set(arrays) <= {"weights", "numbers16", "numbers32"}:
        raise TamperedError("it has other tensors than artifacts have.")
    layers = weight_layers(network)
    lengths = {
        name: stored_bytes(layers[name].weight.numel(), row.stored, row.weight_bits) for name, row in rows.items()
    }
    if sum(lengths.values()) != weights.size:
        raise TamperedError(f"its layers take {sum(lengths.values()):,} bytes, but it has {weights.size:,}.")
    return lengths


def _fill(network: Network, rows: Mapping[str, Row], lengths: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    """Read every number of the network from the tensors; no more and no fewer than are there."""
    weights, layers = arrays["weights"], weight_layers(network)
    numbers = _Numbers(arrays)
    start = 0
    for name, row in rows.items():
        stream = weights[start : start + lengths[name]].tobytes()
        start += lengths[name]
        try:
            codes, there = decode(
                stream, layers[name].weight.numel(), row.stored, row.weight_bits, _zero(row.weight_bits)
            )
        except PackingError as error:
            raise TamperedError(f"the weights of {name} are not as they are packed: {error}") from None
        _fill_layer(network, name, layers[name], row, codes, there, numbers)
    half = norms_are_half(network)
    for norm in remaining_norms(network).values():
        factor, summand = (numbers.take(16 if half else 32, norm.num_features) for _ in range(2))
        set_plain_norm(norm, factor, summand)
    numbers.finish()


def _fill_layer(
    network: Network,
    name: str,
    layer: WeightLayer,
    row: Row,
    codes: NDArray[np.uint32],
    there: NDArray[np.bool_],
    numbers: _Numbers,
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
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, layer)
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


def _check_finished(network: Network) -> None:
    """Raises ArtifactError unless `deploy` was the last that happened to the network."""
    pairs = foldable_pairs(network)
    if pairs:
        raise ArtifactError(f"batch norm {next(iter(pairs.values()))} is not folded: deploy the network first.")
    for name, layer in weight_layers(network).items():
        widths = (getattr(layer, "weight_bits", 32), getattr(layer, "activation_bits", 32))
        quantized = isinstance(layer, QuantizedLayer)
        if widths != (32, 32) and not quantized:
            raise ArtifactError(f"layer {name} is said to have {widths} bits, but is not quantized.")
        if quantized and not layer.frozen:
            raise ArtifactError(f"layer {name} is still in training: deploy the network first.")
    for name, norm in remaining_norms(network).items():
        if norm.eps != 0 or norm.weight is None:
            raise ArtifactError(f"batch norm {name} is still in training: deploy the network first.")


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


def _zero(bits: int) -> int:
    """The code of a weight that is not there."""
    return 2 ** (bits - 1) if 1 < bits <= 8 else 0
