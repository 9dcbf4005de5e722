"""What an artifact really is, from the file alone.

Counts, bits, score and accuracy are worked out here anew, from the layers as they were read: nothing is shared with
training but the layers' definitions, and with the score no more than its constants and the table of codings. Then
they are compared with what the file says of itself and with what `slimfront.evaluators.scoring.score` measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from slimfront.evaluators.artifacts.artifact import COUNTED, Artifact, TamperedError, load
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.scoring.counting import count
from slimfront.evaluators.scoring.score import REFERENCE_MACS, REFERENCE_WEIGHTS, score
from slimfront.evaluators.scoring.strict import layer_storage_bits
from slimfront.models.network import Network, WeightLayer, weight_layers
from slimfront.models.quantization.conversion import parameters_beside, running_norms
from slimfront.models.quantization.quantizers import QuantizedLayer
from slimfront.models.tying import ties
from torch import Tensor, nn

TOLERANCE = 2e-4  # of accuracy: two of 10,000 images, which another processor's rounding may turn
_BATCH = 250
_NUMBERS = 2**26  # between two layers at once: a network with many in one image is measured in smaller batches
_FIRST = 4096  # numbers that are looked at before all others
_PROBES = 8  # random images, at most, where there are no others


@dataclass(frozen=True)
class Verification:
    """The facts of an artifact; None where the file was changed and nothing in it can be believed.

    Attributes:
        artifact: Path.
        bytes: Size of the file.
        parameters: All numbers of the network.
        weights: Those of convolutions and linear layers, without biases.
        stored_weights: Weights that are not pruned.
        macs: Multiply-adds for one image.
        score: By the formula, layer by layer.
        strict_score: With everything that is stored.
        accuracy: On the given images; None without images.
        ok: Whether the file's claims are the facts.
        claims: What the file says of itself.
        problems: What differs, one line each.
    """

    artifact: str
    bytes: int | None
    parameters: int | None
    weights: int | None
    stored_weights: int | None
    macs: int | None
    score: float | None
    strict_score: float | None
    accuracy: float | None
    ok: bool
    claims: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.__dict__, "claims": dict(self.claims), "problems": list(self.problems)}


def verify(path: Path, test: Images | None = None) -> Verification:
    """Work out what the artifact at `path` is and compare it with what it claims.

    Args:
        path: The file.
        test: Images to measure the accuracy on; None: a claimed accuracy is neither confirmed nor held against it.

    Raises:
        ArtifactError: the file is no artifact at all, or cannot be read. A file that was changed does not raise: its
            `ok` is False.
    """
    try:
        artifact = load(path)
    except TamperedError as error:
        reason = str(error).removeprefix(f"{path}: ")
        nothing: dict[str, Any] = dict.fromkeys((*COUNTED, "accuracy"))
        return Verification(artifact=str(path), bytes=path.stat().st_size, ok=False, problems=(reason,), **nothing)
    network = artifact.network
    facts: dict[str, Any] = _counts(artifact)
    # A file from elsewhere must not ask for all memory there is.
    batch = max(1, min(_BATCH, _NUMBERS // artifact.activation))
    problems = list(_unlike_measured(artifact, facts))
    right = _Watch(network)
    images = test if test is None or test.shape == artifact.input_shape else None
    if test is not None and images is None:
        problems.append(f"it takes images of shape {artifact.input_shape}, but the given ones have {test.shape}.")
    facts["accuracy"] = _accuracy(network, images, batch) if images is not None else None
    if images is None:
        _probe(artifact, min(batch, _PROBES))
    problems += right.problems()
    problems += _false_claims(artifact.claims, facts)
    return Verification(
        artifact=str(path),
        bytes=artifact.bytes,
        ok=not problems,
        claims=dict(artifact.claims),
        problems=tuple(problems),
        **facts,
    )


def _counts(artifact: Artifact) -> dict[str, Any]:
    """Counts and scores by this module's own arithmetic."""
    network = artifact.network
    layers, tied = weight_layers(network), ties(network)
    macs = _macs(artifact, layers)
    params = operations = weights = stored = strict = 0
    for name, layer in layers.items():
        weight_bits, activation_bits = (int(getattr(layer, key, 32)) for key in ("weight_bits", "activation_bits"))
        is_anothers = f"{name}.weight" in tied  # and stored there
        numbers = 0 if is_anothers else layer.weight.numel()
        there = 0 if is_anothers else int(getattr(layer, "stored_weights", numbers))
        weights, stored = weights + numbers, stored + there
        params += there * weight_bits
        operations += macs[name] * max(weight_bits, activation_bits)
        strict += layer_storage_bits(
            weights=numbers,
            stored=there,
            outputs=layer.weight.shape[0],
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            bias=layer.bias is not None,
        )
    widest = max(int(getattr(layer, "weight_bits", 32)) for layer in layers.values())
    beside = sum(2 * norm.num_features for norm in running_norms(network).values())
    if not isinstance(network, Network):
        beside += sum(one.numel() for name, one in parameters_beside(network).items() if name not in tied)
        products = {one.name or "(network)": one.macs for one in count(network, artifact.input_shape).products}
        macs |= products
        operations += sum(products.values()) * 32
    strict += beside * (16 if widest <= 16 else 32)
    ops = operations / 32 / REFERENCE_MACS
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "weights": weights,
        "stored_weights": stored,
        "macs": sum(macs.values()),
        "score": params / 32 / REFERENCE_WEIGHTS + ops,
        "strict_score": strict / 32 / REFERENCE_WEIGHTS + ops,
    }


def _macs(artifact: Artifact, layers: dict[str, WeightLayer]) -> dict[str, int]:
    """Multiply-adds of each layer for one image: output numbers times the length of a filter."""
    found = dict.fromkeys(layers, 0)

    def counting(name: str) -> Any:
        def hook(layer: WeightLayer, _inputs: Any, output: Tensor) -> None:
            found[name] += output.numel() * (layer.weight.numel() // layer.weight.shape[0])

        return hook

    handles = [layer.register_forward_hook(counting(name)) for name, layer in layers.items()]
    with torch.no_grad():
        artifact.network(torch.zeros(1, *artifact.input_shape))
    for handle in handles:
        handle.remove()
    return found


def _unlike_measured(artifact: Artifact, facts: dict[str, Any]) -> Iterator[str]:
    measured = score(artifact.network, artifact.input_shape)
    for name, fact in facts.items():
        if not math.isclose(getattr(measured, name), fact, rel_tol=1e-9):
            yield f"{name} is {fact} by this count, but {getattr(measured, name)} by the score's own."
    needed = measured.strict_bits / 8
    streams = 2 * len(measured.layers)  # each ends at a full byte
    if not needed <= artifact.payload_bytes <= needed + streams:
        yield f"its tensors have {artifact.payload_bytes:,} bytes, but the strict score counts {needed:,.1f}."


def _false_claims(claims: Any, facts: dict[str, Any]) -> Iterator[str]:
    for name, fact in facts.items():
        claim = claims.get(name)
        if name == "accuracy" and (fact is None or claim is None):
            continue
        if isinstance(claim, bool) or not isinstance(claim, int | float):
            yield f"it claims no {name}, which is {fact}."
        elif isinstance(fact, int):
            if claim != fact:
                yield f"it claims {name} {claim}, but that is {fact}."
        elif name == "accuracy":
            if abs(claim - fact) > TOLERANCE:
                yield f"it claims accuracy {claim}, but that is {fact}."
        elif not math.isclose(claim, fact, rel_tol=1e-9):
            yield f"it claims {name} {claim}, but that is {fact}."


class _Watch:
    """Counts the different numbers that each layer really multiplies."""

    def __init__(self, network: nn.Module) -> None:
        self._problems: list[str] = []
        self._seen: dict[str, Tensor] = {}
        self._handles = []
        for name, layer in weight_layers(network).items():
            if isinstance(layer, QuantizedLayer):
                self._weights(name, layer)
                if layer.activation_bits <= 8:
                    self._handles.append(layer.register_forward_pre_hook(self._inputs(name, layer)))

    def problems(self) -> list[str]:
        """What was found; the watching ends."""
        for handle in self._handles:
            handle.remove()
        return self._problems

    def _weights(self, name: str, layer: QuantizedLayer) -> None:
        if layer.weight_bits > 8:
            return
        zero = int(getattr(layer, "stored_weights", layer.weight.numel())) < layer.weight.numel()
        # A sign has no zero: a pruned weight is one value more.
        most = 2**layer.weight_bits + int(zero and layer.weight_bits == 1)
        rows = layer.quantize_weight().flatten(1).sort(1).values
        used = 1 + int((rows.diff(dim=1) != 0).sum(1).max())  # at once: a file may have millions of filters
        if used > most:
            self._problems.append(
                f"{name} has {used} different weights in a filter, more than {layer.weight_bits} bits."
            )

    def _inputs(self, name: str, layer: QuantizedLayer) -> Any:
        def hook(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = layer.quantize_input(inputs[0]).flatten()
            seen = self._seen.get(name)
            if seen is None:
                seen = torch.unique(values[:_FIRST])
            # Sorting all of them would take ten times as long as the network itself: only new numbers are sorted.
            nearest = seen[torch.searchsorted(seen, values, out_int32=True).clamp_(max=len(seen) - 1)]
            seen = torch.unique(torch.cat((seen, values[nearest != values])))
            self._seen[name] = seen
            if len(seen) > 2**layer.activation_bits:
                text = f"{name} sees {len(seen)} different numbers, more than {layer.activation_bits} bits."
                self._problems.append(text)

        return hook


@torch.no_grad()
def _accuracy(network: nn.Module, images: Images, batch: int) -> float:
    right = 0
    for start in range(0, len(images.labels), batch):
        pixels = images.images[start : start + batch].cpu()
        inputs = ((pixels.float() - 128) / 64).contiguous(memory_format=torch.channels_last)
        right += int((network(inputs).argmax(1) == images.labels[start : start + batch].cpu()).sum())
    return right / len(images.labels)


@torch.no_grad()
def _probe(artifact: Artifact, images: int) -> None:
    """Show the network so many random images, for what the layers see."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, *artifact.input_shape), generator=generator)
    artifact.network(((pixels.float() - 128) / 64).contiguous(memory_format=torch.channels_last))
