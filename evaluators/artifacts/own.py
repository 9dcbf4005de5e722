"""Artifacts of networks of a user's own: the same tensors, and how the network comes to be.

    structure      of one that is torch's own modules in a row, a tree of them (`evaluators.artifacts.modules`)
    architecture   of another, the reference of its class and what its constructor is told
    layers         name, shape and row of every convolution and linear layer
    norms, beside, buffers     names and shapes of what else it keeps, in the order of the tensors
    folded         batch norms that the convolution before them has taken up
    tied           parameters that are another's tensor, which is stored once; absent where there is none

A class is code: it is called only where the user gave it, under its reference or as itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from slimfront.evaluators.artifacts import modules
from slimfront.evaluators.artifacts.container import Array, ArtifactError, TamperedError, expand, squeeze
from slimfront.evaluators.artifacts.structure import (
    LARGEST_CLASSES,
    LARGEST_NETWORK,
    Row,
    Size,
    checked_shape,
    remaining_norms,
)
from slimfront.evaluators.pruning.structure import match_numbers
from slimfront.evaluators.scoring.score import Score
from slimfront.models.folding import Folded
from slimfront.models.network import empty as build_empty
from slimfront.models.network import weight_layers, without_memory
from slimfront.models.own import OwnNetworkError, check_network, origin_of
from slimfront.models.quantization.conversion import exchange, parameters_beside, running_norms
from slimfront.models.quantization.quantizers import QuantizedLayer
from slimfront.models.tying import tie, ties, untie
from slimfront.spaces.candidate import Architecture, CandidateError
from torch import Tensor, nn

FORMAT = 2

OwnNetwork = nn.Module | Callable[..., nn.Module]
"""A network, its class, or a function that makes it."""

_LONGEST_NAME = 300  # characters of a tensor's name
_KINDS = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True)
class Table:
    """What a file says of its tensors, checked as far as it can be without the network.

    Attributes:
        shapes: Of every layer's weight, by name.
        rows: As the file has them, by name.
        norms: Channels of every batch norm that stays, by name.
        beside: Shapes of the other parameters, by name.
        buffers: (type, shape) of every buffer, by name.
        folded: Names of the batch norms that are folded.
        tied: Names of parameters that are another's tensor, with the name of that.
        macs: (multiply-adds, bits of weights, bits of activations) of whatever multiplies, by name: a claim.
    """

    shapes: dict[str, tuple[int, ...]]
    rows: dict[str, list[Any]]
    norms: dict[str, int]
    beside: dict[str, tuple[int, ...]]
    buffers: dict[str, tuple[str, tuple[int, ...]]]
    folded: tuple[str, ...]
    tied: dict[str, str]
    macs: dict[str, tuple[int, int, int]]


def described(
    network: nn.Module, rows: Mapping[str, Row], input_shape: tuple[int, int, int], counted: Score
) -> dict[str, Any]:
    """What a file says of the structure. Raises ArtifactError where nobody could build the network from that."""
    structure, origin = modules.described(network), origin_of(network)
    if structure is None and origin is None:
        raise ArtifactError(
            f"{type(network).__name__} is neither torch's own modules in a row nor known by a reference: say how it is "
            'built, such as reference="my_nets.py:MyNet".'
        )
    layers = weight_layers(network)
    made = {"architecture": origin.architecture.to_dict()} if structure is None and origin is not None else {}
    table = {
        "layers": [_layer_entry(name, layers[name].weight, row) for name, row in rows.items()],
        "norms": [[name, norm.num_features] for name, norm in remaining_norms(network).items()],
        "beside": [[name, list(found.shape)] for name, found in parameters_beside(network).items()],
        "buffers": [_buffer_entry(name, buffer) for name, buffer in _buffers(network).items()],
        "folded": _folded(network),
        "macs": [[one.name, one.macs, one.weight_bits, one.activation_bits] for one in counted.layers],
    }
    if tied := ties(network):
        table["tied"] = [list(pair) for pair in tied.items()]
    return {
        "own": type(network).__name__[:_LONGEST_NAME],
        **made,
        "classes": _classes(network, input_shape),
        "input": list(input_shape),
        "table": squeeze({"structure": structure, **table}),
    }


def _layer_entry(name: str, weight: Tensor, row: Row) -> list[Any]:
    return [name, list(weight.shape), *row.to_list(weight.numel())]


def _buffer_entry(name: str, buffer: Tensor) -> list[Any]:
    return [name, str(buffer.dtype).removeprefix("torch."), list(buffer.shape)]


def buffer_array(network: nn.Module) -> dict[str, Array]:
    """All buffers, one after the other, as bytes; nothing where there is none."""
    parts = [
        buffer.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for buffer in _buffers(network).values()
        if buffer.numel()
    ]
    return {"buffers": np.concatenate(parts)} if parts else {}


def table_of(facts: Mapping[str, Any]) -> tuple[Table, object]:
    """The table of a file, and the structure of torch's own modules, if it has one. Raises TamperedError."""
    found = expand(facts.get("table"))
    if not isinstance(found, dict):
        raise TamperedError("it has no table of its tensors.")
    layers = _entries(found, "layers", 7)
    buffers = _entries(found, "buffers", 3)
    macs = _entries(found, "macs", 4)
    tied = _entries(found, "tied", 2) if "tied" in found else {}
    folded = found.get("folded")
    if not isinstance(folded, list) or not all(isinstance(name, str) for name in folded):
        raise TamperedError("it does not say which norms are folded.")
    if not all(kind in _KINDS for kind, _ in buffers.values()):
        raise TamperedError("it has buffers of an unknown type.")
    for entry in macs.values():
        if not all(type(n) is int and n >= 0 for n in entry):
            raise TamperedError("its multiply-adds are no numbers.")
    if not all(isinstance(owner, str) and owner not in tied for owner, *_ in tied.values()):
        raise TamperedError("its table of tied parameters is not as it is written.")
    table = Table(
        shapes={name: _shape(name, entry[0], (2, 4)) for name, entry in layers.items()},
        rows={name: entry[1:] for name, entry in layers.items()},
        norms={name: _shape(name, [entry[0]], (1,))[0] for name, entry in _entries(found, "norms", 2).items()},
        beside={name: _shape(name, entry[0]) for name, entry in _entries(found, "beside", 2).items()},
        buffers={name: (entry[0], _shape(name, entry[1])) for name, entry in buffers.items()},
        folded=tuple(folded),
        tied={name: entry[0] for name, entry in tied.items()},
        macs={name: (entry[0], entry[1], entry[2]) for name, entry in macs.items()},
    )
    return table, found.get("structure")


def empty_network(facts: Mapping[str, Any], given: OwnNetwork | None) -> tuple[nn.Module, dict[str, Row]]:
    """A network in the right shapes, folded, on the CPU, and the rows of its layers.

    Raises:
        TamperedError, ArtifactError: Parts that do not fit each other, or are too large.
        CodeReferenceError: It is made by code that the user has not given.
        OwnNetworkError: The class cannot be built.
    """
    shape = checked_shape(facts.get("input"))
    classes = facts.get("classes")
    if type(classes) is not int or not 2 <= classes <= LARGEST_CLASSES:
        raise ArtifactError(f"its number of classes must be in 2..{LARGEST_CLASSES}.")
    table, structure = table_of(facts)
    network = _made(facts, given, structure, classes, shape[0]).eval()
    untie(network)  # what was tied to the end, the file says
    _fold(network, table.folded)
    full = weight_layers(network)
    if [*full] != [*table.shapes]:
        raise TamperedError(_other_names("layers", full, table.shapes))
    rows = {}
    for name, layer in full.items():
        if table.shapes[name][2:] != tuple(layer.weight.shape[2:]):
            raise TamperedError(f"layer {name} has a kernel of another shape than its network.")
        rows[name] = Row.from_list(name, table.rows[name], layer)
        if (rows[name].outputs, rows[name].inputs) != table.shapes[name][:2]:
            raise TamperedError(f"layer {name} has two shapes.")
        _resize_layer(layer, rows[name])
    norms = running_norms(network)
    if [*norms] != [*table.norms]:
        raise TamperedError(_other_names("batch norms", norms, table.norms))
    for name, norm in norms.items():
        if table.norms[name] > norm.num_features:
            raise TamperedError(f"batch norm {name} has an impossible number of channels.")
        norm.running_mean, norm.running_var = torch.zeros(table.norms[name]), torch.ones(table.norms[name])
        norm.num_features = table.norms[name]
    beside = parameters_beside(network)
    if {name: tuple(found.shape) for name, found in beside.items()} != table.beside:
        raise TamperedError(_other_names("parameters", beside, table.beside))
    try:
        tie(network, table.tied)
    except ValueError as error:
        raise TamperedError(f"it ties what cannot be tied: {error}") from None
    return network, rows


def fill_buffers(network: nn.Module, array: Array | None) -> None:
    """Read every buffer. Raises TamperedError where there are others."""
    raw = torch.from_numpy(np.zeros(0, np.uint8) if array is None else array.copy())
    start = 0
    for buffer in _buffers(network).values():
        size = buffer.numel() * buffer.element_size()
        part = raw[start : start + size]
        if len(part) != size:
            raise TamperedError("it has fewer buffers than its network.")
        start += size
        if size:
            buffer.copy_(part.view(buffer.dtype).view(buffer.shape))
    if start != len(raw):
        raise TamperedError("it has more buffers than its network.")


@torch.no_grad()
def tried_out(network: nn.Module, facts: Mapping[str, Any]) -> Size:
    """Run an image of zeros through the network: do the shapes fit? Its size. Raises TamperedError."""
    largest = [0]

    def watch(_module: nn.Module, _inputs: object, output: object) -> None:
        largest[0] = max(largest[0], output.numel() if isinstance(output, Tensor) else 0)

    handles = [module.register_forward_hook(watch) for module in network.modules()]
    try:
        check_network(network, str(facts["own"]), tuple(facts["input"]), facts["classes"], trains=False)
    except OwnNetworkError as error:
        raise TamperedError(f"its layers do not fit each other: {error}") from None
    finally:
        for handle in handles:
            handle.remove()
    return Size(0, 0, max(1, largest[0] // 2))  # of two images


def _made(
    facts: Mapping[str, Any], given: OwnNetwork | None, structure: object, classes: int, channels: int
) -> nn.Module:
    if isinstance(given, nn.Module):
        return copy.deepcopy(given).cpu()
    if given is None and structure is not None:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in modules.built(structure).parameters())
        if size > LARGEST_NETWORK:
            raise ArtifactError(f"its structure has {size:,} weights, more than the {LARGEST_NETWORK:,} allowed.")
        return modules.built(structure)
    try:
        architecture = Architecture.from_dict(facts.get("architecture") or {})
    except CandidateError as error:
        raise TamperedError(f"its architecture is impossible: {error}") from None
    if given is not None:
        from slimfront.models.own import make
        from slimfront.spaces.own.network_class import as_family

        return make(as_family(architecture.family, given), architecture, classes, channels)
    if sum(p.numel() for p in without_memory(architecture, classes, channels).parameters()) > LARGEST_NETWORK:
        raise ArtifactError(f"its network has more than the {LARGEST_NETWORK:,} weights allowed.")
    return build_empty(architecture, classes, channels)


def _fold(network: nn.Module, folded: tuple[str, ...]) -> None:
    found = running_norms(network)
    for name in folded:
        if type(dict(network.named_modules()).get(name)) is nn.Identity:
            continue  # a structure says so itself
        if name not in found:
            raise TamperedError(f"it has folded a batch norm {name[:_LONGEST_NAME]!r} that its network has not.")
        exchange(network, found[name], Folded())


def _folded(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, Folded)]


def _resize_layer(layer: nn.Conv2d | nn.Linear, row: Row) -> None:
    shape = (row.outputs, row.inputs, *layer.weight.shape[2:])
    layer.weight = nn.Parameter(torch.zeros(shape))
    layer.bias = nn.Parameter(torch.zeros(row.outputs)) if row.bias else None
    match_numbers(layer)


def _classes(network: nn.Module, input_shape: tuple[int, int, int]) -> int:
    with torch.no_grad():
        logits = network(torch.zeros(1, *input_shape))
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ArtifactError(f"{type(network).__name__} gives no (N, classes) tensor.")
    return int(logits.shape[1])


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    """Buffers that belong to no quantized layer and no batch norm: those are in the other tensors."""
    inside = {id(layer) for layer in weight_layers(network).values() if isinstance(layer, QuantizedLayer)}
    inside |= {id(norm) for norm in running_norms(network).values()}
    return {
        f"{name}.{key}" if name else key: buffer
        for name, module in network.named_modules()
        if id(module) not in inside
        for key, buffer in module._buffers.items()
        if buffer is not None and key not in module._non_persistent_buffers_set and key != "weight_mask"
    }


def _entries(found: Mapping[str, Any], key: str, least: int) -> dict[str, list[Any]]:
    """Lists that begin with a name, by the name."""
    rows = found.get(key)
    if not isinstance(rows, list):
        raise TamperedError(f"it has no table of {key}.")
    result: dict[str, list[Any]] = {}
    for row in rows:
        right = isinstance(row, list) and len(row) >= least and isinstance(row[0], str) and len(row[0]) <= _LONGEST_NAME
        if not right or row[0] in result:
            raise TamperedError(f"its table of {key} is not as it is written.")
        result[row[0]] = row[1:]
    return result


def _shape(name: str, shape: object, dims: Container[int] = range(9)) -> tuple[int, ...]:
    if isinstance(shape, list) and len(shape) in dims:
        whole = all(type(size) is int and 0 <= size <= LARGEST_NETWORK for size in shape)
        if whole and torch.Size(shape).numel() <= LARGEST_NETWORK:
            return tuple(shape)
    raise TamperedError(f"{name} has no shape that a tensor can have.")


def _other_names(what: str, network: Mapping[str, object], file: Mapping[str, object]) -> str:
    different = next(_differences(network, file), "their order")
    return f"its {what} are others than those of the network that was given: {different[:_LONGEST_NAME]} differs."


def _differences(first: Mapping[str, object], second: Mapping[str, object]) -> Iterator[str]:
    yield from (name for name in {**first, **second} if (name in first) != (name in second))
