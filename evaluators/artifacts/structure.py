"""A finished network's structure as a small table, and an empty network from such a table.

An architecture says how modules are joined; the table says what the layers have become: their shapes after filters were
removed, bits, grids, how many weights are stored. It comes from a file, so everything is checked before anything large
is allocated: the architecture's size, each layer against the unpruned one, and the whole on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from slimfront.evaluators.artifacts.container import ArtifactError, TamperedError, squeeze
from slimfront.evaluators.pruning.structure import groups_left
from slimfront.models.blocks import PaddingShortcut
from slimfront.models.folding import foldable_pairs
from slimfront.models.network import Network, WeightLayer, weight_layers
from slimfront.models.quantization.conversion import running_norms
from slimfront.models.quantization.quantizers import INTEGER_WIDTHS, QuantizedLayer
from slimfront.spaces.candidate import BIT_WIDTHS, Architecture, CandidateError
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm

LARGEST_NETWORK = 2**26  # weights; ResNet-18 has 2^23.4
LARGEST_ACTIVATION = 2**26  # numbers between two layers, for one image
LARGEST_OUTPUTS = 2**27  # numbers that all layers give, for one image
LARGEST_MACS = 2**34  # multiply-adds of an image; ResNet-18 has 2^29.1. A few kilobytes could ask for a week
LARGEST_SIDE = 1024  # pixels
LARGEST_CHANNELS = 64  # of an image
LARGEST_CLASSES = 100_000

_SIGNED, _TERNARY, _BIAS = 1, 2, 4


@dataclass(frozen=True)
class Row:
    """One convolution or linear layer.

    Attributes:
        outputs: Output channels.
        inputs: Input channels of a filter; 1 in a depthwise convolution.
        weight_bits: Bits of a weight.
        activation_bits: Bits of the input.
        signed: Whether the input's integers go below zero.
        ternary: Whether 2-bit weights are -1, 0, 1.
        bias: Whether there is a bias.
        stored: Weights that are not pruned.
    """

    outputs: int
    inputs: int
    weight_bits: int
    activation_bits: int
    signed: bool
    ternary: bool
    bias: bool
    stored: int

    def to_list(self, weights: int) -> list[int]:
        """[outputs, inputs, weight bits, activation bits, flags], and the stored weights where some are pruned."""
        flags = _SIGNED * self.signed | _TERNARY * self.ternary | _BIAS * self.bias
        pruned = [self.stored] if self.stored < weights else []
        return [self.outputs, self.inputs, self.weight_bits, self.activation_bits, flags, *pruned]

    @classmethod
    def from_list(cls, name: str, row: object, full: WeightLayer) -> Row:
        """The inverse of `to_list`, checked against the unpruned layer. Raises TamperedError."""
        if not isinstance(row, list) or len(row) not in (5, 6) or not all(type(n) is int for n in row):
            raise TamperedError(f"layer {name} is not described by five or six whole numbers.")
        outputs, inputs, weight_bits, activation_bits, flags = row[:5]
        most = full.weight.shape
        if not (1 <= outputs <= most[0] and 1 <= inputs <= most[1]):
            raise TamperedError(f"layer {name} is {outputs}x{inputs}, but its architecture has {most[0]}x{most[1]}.")
        if weight_bits not in BIT_WIDTHS or activation_bits not in BIT_WIDTHS or not 0 <= flags < 8:
            raise TamperedError(f"layer {name} has impossible bits: {weight_bits} and {activation_bits}.")
        if (flags & _TERNARY and weight_bits != 2) or (flags & _SIGNED and activation_bits not in INTEGER_WIDTHS):
            raise TamperedError(f"layer {name} has a grid that its bits do not have.")
        weights = outputs * inputs * most[2:].numel()
        stored = row[5] if len(row) == 6 else weights
        if not 0 <= stored <= weights or (len(row) == 6 and stored == weights):
            raise TamperedError(f"layer {name} stores {stored} of {weights} weights.")
        return cls(
            outputs,
            inputs,
            weight_bits,
            activation_bits,
            bool(flags & _SIGNED),
            bool(flags & _TERNARY),
            bool(flags & _BIAS),
            stored,
        )


def row_of(layer: WeightLayer, stored: int) -> Row:
    """The row of a finished layer."""
    weight_bits, activation_bits = (int(getattr(layer, key, 32)) for key in ("weight_bits", "activation_bits"))
    return Row(
        layer.weight.shape[0],
        layer.weight.shape[1],
        weight_bits,
        activation_bits,
        signed=isinstance(layer, QuantizedLayer) and bool(layer.signed) and activation_bits in INTEGER_WIDTHS,
        ternary=isinstance(layer, QuantizedLayer) and bool(layer.ternary) and weight_bits == 2,
        bias=layer.bias is not None,
        stored=stored,
    )


def remaining_norms(network: nn.Module) -> dict[str, AnyBatchNorm]:
    """Batch norms that no convolution takes up, by name."""
    folded = set(foldable_pairs(network).values())
    return {name: norm for name, norm in running_norms(network).items() if name not in folded}


def described(network: Network, rows: Mapping[str, Row], input_shape: tuple[int, int, int]) -> dict[str, Any]:
    """What a file says of the structure of a network of ours; `empty_network` is the inverse."""
    layers = weight_layers(network)
    return {
        "architecture": network.architecture.to_dict(),
        "classes": network.classifier.out_features,
        "input": list(input_shape),
        "layers": squeeze([row.to_list(layers[name].weight.numel()) for name, row in rows.items()]),
        "norms": [norm.num_features for norm in remaining_norms(network).values()],
        "shortcuts": [to_runs(shortcut.source.tolist()) for shortcut in shortcuts(network)],
    }


def shortcuts(network: nn.Module) -> list[PaddingShortcut]:
    """The padding shortcuts in the network's order."""
    return [module for module in network.modules() if isinstance(module, PaddingShortcut)]


def to_runs(source: list[int]) -> list[list[int]]:
    """A shortcut's channels as [first, count]: rising by one from `first`, or all -1.

    >>> to_runs([-1, -1, 0, 1, 2, 5])
    [[-1, 2], [0, 3], [5, 1]]
    """
    runs: list[list[int]] = []
    for channel in source:
        if runs and channel == (-1 if runs[-1][0] == -1 else sum(runs[-1])):
            runs[-1][1] += 1
        else:
            runs.append([channel, 1])
    return runs


def from_runs(runs: object, most: int) -> list[int]:
    """The inverse of `to_runs`, with at most `most` channels. Raises TamperedError."""
    pairs = isinstance(runs, list) and all(isinstance(run, list) and len(run) == 2 for run in runs)
    whole = pairs and all(type(n) is int for run in runs for n in run)  # type: ignore[attr-defined]
    if not whole or not all(
        -1 <= first < LARGEST_NETWORK and 1 <= count <= most
        for first, count in runs  # type: ignore[attr-defined]
    ):
        raise TamperedError("a shortcut is not described by pairs of whole numbers.")
    result: list[int] = []
    for first, count in runs:  # type: ignore[attr-defined]
        result += [-1] * count if first == -1 else range(first, first + count)
        if len(result) > most:
            raise TamperedError("a shortcut has more channels than its architecture.")
    return result


@dataclass(frozen=True)
class Size:
    """What one image takes: multiply-adds, numbers that all layers give, and numbers between two layers at most."""

    macs: int
    outputs: int
    activation: int


def empty_network(
    architecture: Any, classes: Any, input_shape: Any, layers: Any, norms: Any, sources: Any
) -> tuple[Network, dict[str, Row], Size]:
    """A network of plain layers in the right shapes, folded, on the meta device; its rows by layer, and its size.

    Nothing that grows with the network is allocated: `give_memory` does that, once the file has proved to hold it.

    Args:
        architecture: `Architecture.to_dict()`.
        classes: Number of classes.
        input_shape: [channels, height, width].
        layers: `Row.to_list` of every layer, in order.
        norms: Channels of every remaining batch norm, in order.
        sources: `to_runs` of every padding shortcut, in order.

    Raises:
        ArtifactError: not of these types, or too large.
        TamperedError: parts that do not fit each other.
    """
    shape = checked_shape(input_shape)
    if type(classes) is not int or not 2 <= classes <= LARGEST_CLASSES:
        raise ArtifactError(f"its number of classes must be in 2..{LARGEST_CLASSES}.")
    try:
        described = Architecture.from_dict(architecture)
    except CandidateError as error:
        raise TamperedError(f"its architecture is impossible: {error}") from None
    with torch.device("meta"):
        network = Network(described, classes, shape[0])
    full = weight_layers(network)
    size = sum(layer.weight.numel() for layer in full.values())
    if size > LARGEST_NETWORK:
        raise ArtifactError(f"its architecture has {size:,} weights, more than the {LARGEST_NETWORK:,} allowed.")
    if not all(isinstance(part, list) for part in (layers, norms, sources)) or len(layers) != len(full):
        raise TamperedError(f"it does not describe the {len(full)} layers of its architecture.")
    rows = {name: Row.from_list(name, row, full[name]) for (name, row) in zip(full, layers, strict=True)}
    for norm in foldable_pairs(network).values():
        _replace(network, norm, nn.Identity())
    for name, row in rows.items():
        _replace(network, name, _empty_layer(row, full[name]))
    _resize_norms(network, norms)
    _set_sources(network, sources)
    return network, rows, _try_out(network, shape, classes)


def checked_shape(shape: Any) -> tuple[int, int, int]:
    """A file's (channels, height, width). Raises ArtifactError."""
    limits = (LARGEST_CHANNELS, LARGEST_SIDE, LARGEST_SIDE)
    right = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)
    if not right or not all(1 <= n <= limit for n, limit in zip(shape, limits, strict=True)):
        raise ArtifactError(f"its image shape must be three whole numbers up to {limits}.")
    return shape[0], shape[1], shape[2]


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def _empty_layer(row: Row, full: WeightLayer) -> WeightLayer:
    if isinstance(full, nn.Linear):
        return nn.Linear(row.inputs, row.outputs, bias=row.bias, device="meta")
    groups = groups_left(full.out_channels, full.groups, row.outputs)
    if row.outputs % groups:
        raise TamperedError(f"a convolution in {groups} groups has {row.outputs} channels.")
    return nn.Conv2d(
        row.inputs * groups,
        row.outputs,
        full.kernel_size,  # type: ignore[arg-type]
        full.stride,  # type: ignore[arg-type]
        full.padding,  # type: ignore[arg-type]
        groups=groups,
        bias=row.bias,
        device="meta",
    )


def _resize_norms(network: Network, channels: list[Any]) -> None:
    found = remaining_norms(network)
    if len(channels) != len(found):
        raise TamperedError(f"it has {len(channels)} batch norms, but its architecture leaves {len(found)}.")
    for (name, norm), count in zip(found.items(), channels, strict=True):
        if type(count) is not int or not 1 <= count <= norm.num_features:
            raise TamperedError(f"batch norm {name} has an impossible number of channels.")
        _replace(network, name, nn.BatchNorm2d(count, device="meta"))


def _set_sources(network: Network, described: list[Any]) -> None:
    found = shortcuts(network)
    if len(described) != len(found):
        raise TamperedError(f"it has {len(described)} padding shortcuts, but its architecture has {len(found)}.")
    for shortcut, runs in zip(found, described, strict=True):
        source = torch.tensor(from_runs(runs, len(shortcut.source)), dtype=torch.int64)
        shortcut.source = torch.empty_like(source)
        shortcut.load_state_dict({"source": source})


def _try_out(network: Network, shape: tuple[int, int, int], classes: int) -> Size:
    """Run an image of no memory through the network of no memory: do the shapes fit, and is nothing huge?"""
    macs = outputs = activation = 0
    layers = set(weight_layers(network).values())
    sources = {shortcut: shortcut.source for shortcut in shortcuts(network)}

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs, outputs, activation
        activation = max(activation, output.numel())
        if module in layers:
            weight: Tensor = module.weight  # type: ignore[assignment]
            outputs += output.numel()
            macs += output.numel() * (weight.numel() // weight.shape[0])
        if output.numel() > LARGEST_ACTIVATION:
            raise ArtifactError(f"an image of shape {shape} needs {output.numel():,} numbers between two layers.")
        if isinstance(module, PaddingShortcut):
            largest = max(highest[module])
            if largest >= inputs[0].shape[1]:
                raise TamperedError(f"a shortcut takes channel {largest} of {inputs[0].shape[1]}.")

    highest = {shortcut: source.tolist() or [-1] for shortcut, source in sources.items()}
    network.to("meta").eval()
    handles = [module.register_forward_hook(watch) for module in network.modules()]
    try:
        logits = network(torch.zeros(1, *shape, device="meta"))
    except (RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise TamperedError(f"its layers do not fit each other: {reason}") from None
    finally:
        for handle in handles:
            handle.remove()
    if logits.shape != (1, classes):
        raise TamperedError(f"it has {logits.shape[-1]} logits for {classes} classes.")
    if macs > LARGEST_MACS or outputs > LARGEST_OUTPUTS:
        raise ArtifactError(
            f"an image of shape {shape} takes {macs:,} multiply-adds and {outputs:,} numbers, "
            f"more than the {LARGEST_MACS:,} and {LARGEST_OUTPUTS:,} allowed."
        )
    for shortcut, source in sources.items():
        shortcut.source = source  # whose channels are data, and small
    return Size(macs, outputs, activation)


def give_memory(network: Network) -> None:
    """Memory on the CPU for a network on the meta device; its numbers are whatever was there before."""
    sources = {shortcut: shortcut.source for shortcut in shortcuts(network)}
    network.to_empty(device="cpu")
    for shortcut, source in sources.items():
        shortcut.load_state_dict({"source": source})
