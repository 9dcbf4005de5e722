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

import torch
from slimfront.evaluators import outputs
from slimfront.evaluators.artifacts import own
from slimfront.evaluators.artifacts.container import (
    ArtifactError,
    TamperedError,
    expand,
    read,
    seal,
    squeeze,
    unseal,
)
from slimfront.evaluators.artifacts.own import OwnNetwork
from slimfront.evaluators.artifacts.structure import (
    LARGEST_MACS,
    described,
    empty_network,
    give_memory,
    remaining_norms,
)
from slimfront.evaluators.artifacts.tensors import fill, lengths_of, written
from slimfront.evaluators.scoring.score import score
from slimfront.models.folding import foldable_pairs
from slimfront.models.network import Network, weight_layers
from slimfront.models.quantization.conversion import absorb_activations, settle
from slimfront.models.quantization.quantizers import QuantizedLayer
from torch import nn

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

    network: nn.Module
    input_shape: tuple[int, int, int]
    classes: int
    claims: Mapping[str, Any]
    provenance: Mapping[str, Any]
    payload_bytes: int
    bytes: int
    activation: int


def save(
    network: nn.Module,
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


def load(path: str | Path, network: OwnNetwork | None = None) -> Artifact:
    """Read an artifact.

    Code is imported only where the user has given it; a file that names some is refused otherwise.

    Args:
        path: The file.
        network: Of a file of a user's own network: its class, a function that makes it, or one that was made. None:
            what the file names, which the user has to have given to this command.

    Raises:
        ArtifactError: the file is none; one line says why.
        TamperedError: it is one, but its contents contradict each other or its seal.
        CodeReferenceError: it names code of a user's own that was not given.
    """
    try:
        return from_bytes(read(Path(path)), network)
    except ArtifactError as error:
        raise type(error)(f"{path}: {error}") from None


@torch.no_grad()
def to_bytes(
    network: nn.Module,
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
    rows, arrays = written(network)
    if isinstance(network, Network):
        facts = {"format": FORMAT, **described(network, rows, input_shape)}
    else:
        facts = {"format": own.FORMAT, **own.described(network, rows, input_shape, counted)}
        arrays |= own.buffer_array(network)
    facts |= {
        "claims": {name: getattr(counted, name) for name in COUNTED} | {"accuracy": accuracy},
        "provenance": squeeze(dict(provenance or {})),
    }
    return seal(arrays, facts)


@torch.no_grad()
def from_bytes(data: bytes, network: OwnNetwork | None = None) -> Artifact:
    """The inverse of `to_bytes`; see `load`."""
    arrays, facts = unseal(data)
    kind = facts.get("format")
    if type(kind) is not int or kind not in (FORMAT, own.FORMAT):
        raise ArtifactError(f"its format is {str(kind)[:20]!r}, but only {FORMAT} and {own.FORMAT} are known.")
    claims, provenance = facts.get("claims"), expand(facts.get("provenance"))
    if not isinstance(claims, dict) or not isinstance(provenance, dict):
        raise TamperedError("it has no claims or no provenance.")
    if kind == FORMAT:
        ours, rows, size = empty_network(
            architecture=facts.get("architecture"),
            classes=facts.get("classes"),
            input_shape=facts.get("input"),
            layers=expand(facts.get("layers")),
            norms=facts.get("norms"),
            sources=facts.get("shortcuts"),
        )
        lengths = lengths_of(ours, rows, arrays)
        give_memory(ours)
        fill(ours, rows, lengths, arrays)
        absorb_activations(ours)
        settle(ours)
        found: nn.Module = ours
    else:
        found, rows = own.empty_network(facts, network)
        fill(found, rows, lengths_of(found, rows, arrays), arrays)
        own.fill_buffers(found, arrays.get("buffers"))
        size = own.tried_out(found, facts)
        settle(found)
    channels, height, width = facts["input"]
    payload = sum(array.nbytes for name, array in arrays.items() if name != "buffers")
    return Artifact(
        found,
        (channels, height, width),
        facts["classes"],
        {str(name)[:_LONGEST_NAME]: claim for name, claim in claims.items() if not isinstance(claim, list | dict)},
        provenance,
        payload,
        len(data),
        size.activation,
    )


def _check_finished(network: nn.Module) -> None:
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
