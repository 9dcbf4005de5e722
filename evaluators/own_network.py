"""`compress`: a trained network of the user's own, made small; for scripts, and for the command of that name.

import slimfront
compressed = slimfront.compress(network, "folder:pictures", prune="taylor:0.5", weight_bits=4, epochs=10)
print(compressed)
compressed.save("mine.slim")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from slimfront.evaluators.artifacts.artifact import save
from slimfront.evaluators.compression import Compression
from slimfront.evaluators.data.splits import SearchData, search_data
from slimfront.evaluators.pruning.masks import apply_masks
from slimfront.evaluators.scoring.score import Score, score
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch, accuracy
from slimfront.models.own import Origin, check_network, copy_of, set_origin
from slimfront.spaces.candidate import Architecture, Augmentation, Bits, CandidateError, Pruning, Recipe
from slimfront.spaces.criteria import METHODS
from slimfront.spaces.family import FIXED_OF_WHOLE
from slimfront.spaces.methods import sparsity
from slimfront.spaces.options import Options
from torch import nn

OUTER_BITS = 8  # of the first and the last layer, unless more is asked of the others or nothing is to be quantized
RECIPE = Recipe(learning_rate=0.02, weight_decay=5e-4, batch_size=128, warmup=0.05)


@dataclass(frozen=True, eq=False)
class Compressed:
    """What `compress` came to.

    Attributes:
        network: In its final form: on the CPU, in evaluation mode.
        input_shape: (channels, height, width) of an image.
        accuracy: Share of the validation images that it classifies right.
        score: What it costs.
        before: Accuracy and score of the network as it was given.
        notes: Remarks for people: layers that were not cut or not quantized, and why.
        provenance: Where it comes from, for its file.
        seconds: That it took.
    """

    network: nn.Module
    input_shape: tuple[int, int, int]
    accuracy: float
    score: Score
    before: tuple[float, Score]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def save(self, path: str | Path) -> int:
        """Write it as an artifact, which ends in `.slim`; returns its size in bytes. Raises ArtifactError."""
        return save(self.network, Path(path), self.input_shape, provenance=self.provenance)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        keys = ("parameters", "weights", "stored_weights", "macs", "score", "strict_score")
        now, was = ({key: getattr(one, key) for key in keys} for one in (self.score, self.before[1]))
        return {
            "accuracy": self.accuracy,
            **now,
            "before": {"accuracy": self.before[0], **was},
            "notes": list(self.notes),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        was, now = self.before[1], self.score
        rows = [
            f"accuracy  {self.before[0]:.2%} -> {self.accuracy:.2%} of the validation images",
            f"weights   {was.weights:,} -> {now.stored_weights:,}",
            f"MACs      {was.macs:,} -> {now.macs:,}",
            f"score     {was.score:.4g} -> {now.score:.4g}",
        ]
        return "\n".join([*rows, *self.notes])


@dataclass(frozen=True)
class Wishes:
    """How a network is made small.

    Attributes:
        prune: "METHOD:RATIO" with the name of a method and a share in (0, 1); "": nothing is pruned.
        weight_bits: Of every layer's weights but the first's and the last's.
        activation_bits: Of every layer's input; None: as weight_bits.
        layer_bits: (name or pattern, weight bits, activation bits) of single layers.
        epochs: Of fine-tuning in all, shared by pruning and quantization.
    """

    prune: str = ""
    weight_bits: int = 32
    activation_bits: int | None = None
    layer_bits: tuple[tuple[str, int, int], ...] = ()
    epochs: int = 10

    def compression(self) -> Compression:
        """The phases. Raises CandidateError where something of it cannot be."""
        activations = self.weight_bits if self.activation_bits is None else self.activation_bits
        is_float = (self.weight_bits, activations) == (32, 32) and not self.layer_bits
        both = bool(self.prune) and not is_float
        for_pruning = -(-self.epochs // 2) if both else self.epochs
        for_bits = 0 if is_float else self.epochs - (for_pruning if self.prune else 0)
        widest = max(self.weight_bits, activations)
        outer = widest if widest > OUTER_BITS else OUTER_BITS
        bits = Bits.uniform(self.weight_bits, activations, outer=outer, layers=self.layer_bits, epochs=for_bits)
        return Compression(self._pruning(for_pruning), bits)

    def _pruning(self, epochs: int) -> Pruning:
        if not self.prune:
            return Pruning()
        name, _, ratio = self.prune.rpartition(":")
        try:
            share = float(ratio)
        except ValueError:
            share = -1.0
        if not name or not 0 < share < 1:
            raise CandidateError(f"prune must be METHOD:RATIO, such as taylor:0.5, but got {self.prune[:100]!r}.")
        if name not in METHODS:
            raise CandidateError(f"prune: {METHODS.unknown(name)}")
        step = sparsity(name, share, epochs)
        return Pruning(filters=step) if step.granularity == "filters" else Pruning(weights=step)


def compress(
    network: nn.Module,
    data: str | SearchData,
    *,
    prune: str = "",
    weight_bits: int = 32,
    activation_bits: int | None = None,
    layer_bits: tuple[tuple[str, int, int], ...] = (),
    epochs: int = 10,
    recipe: Recipe = RECIPE,
    augmentation: Augmentation | None = None,
    reference: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    image_size: int | None = None,
    on_epoch: Callable[[Epoch], object] = lambda _epoch: None,
) -> Compressed:
    """Prune, quantize and fine-tune a trained network.

    Args:
        network: Any torch.nn.Module that maps images (N, C, H, W), (pixel - 128) / 64, to logits (N, classes). It
            stays as it is: a copy is compressed.
        data: Name of a data set ("digits", "folder:PATH", ...), or one that was opened.
        prune: "METHOD:RATIO", such as "taylor:0.5"; "": nothing is pruned.
        weight_bits: Of the weights; the first and the last layer keep at least 8.
        activation_bits: Of the layers' inputs; None: as `weight_bits`.
        layer_bits: (name or pattern, weight bits, activation bits) of single layers: ("features.*", 4, 8).
        epochs: Of fine-tuning in all.
        recipe: Of the fine-tuning; its learning rate is what the network would be trained at from fresh weights.
        augmentation: Of the fine-tuning; None: no changes at all.
        reference: "my_nets.py:MyNet" of the network's class, which its file then names.
        arguments: What that class was told.
        seed: Of everything random.
        device: Where it runs.
        image_size: Side that a folder's pictures get.
        on_epoch: Told every epoch.

    Raises:
        OwnNetworkError: The network is no classifier of such images.
        CandidateError, PrecisionError, DataError: Something is asked for that cannot be.
        TrainingError: The training fails.
    """
    wishes = Wishes(prune, weight_bits, activation_bits, layer_bits, epochs)
    compression = wishes.compression()
    found = search_data(data, image_size=image_size) if isinstance(data, str) else data
    return compressed(
        network,
        found,
        compression,
        recipe=recipe,
        augmentation=augmentation or Augmentation(flip=False, crop=0),
        origin=None if reference is None else origin_from(reference, arguments or {}, found),
        seed=seed,
        device=device,
        on_epoch=on_epoch,
    )


def compressed(
    network: nn.Module,
    data: SearchData,
    compression: Compression,
    *,
    recipe: Recipe,
    augmentation: Augmentation,
    origin: Origin | None,
    seed: int,
    device: str,
    on_epoch: Callable[[Epoch], object],
) -> Compressed:
    """`compress`, of wishes that are checked and data that are open."""
    start = time.perf_counter()
    called = type(network).__name__ if origin is None else origin.architecture.family
    apply_masks(network)  # without which a masked network that was trained cannot be copied
    small = copy_of(network, called).cpu()
    if origin is not None:
        set_origin(small, origin)
    check_network(small, called, data.input_shape, data.classes)
    compression.check(small)
    before = (accuracy(small.to(device), data.validation, device), score(small, data.input_shape))
    context = TrainContext(
        images=data.train,
        validation=data.validation,
        recipe=recipe,
        augmentation=augmentation,
        classes=data.classes,
        seed=seed,
        device=torch.device(device),
    )
    for epoch in compression.run(small, context):
        on_epoch(epoch)
    reached = accuracy(small, data.validation, device)
    small = small.cpu().eval()
    provenance = {
        "network": called,
        "data": {"name": data.name, "digest": data.digest, "part": "validation"},
        "class_names": list(data.class_names),
        "validation_accuracy": reached,
        "pruning": compression.pruning.to_dict(),
        "bits": compression.bits.to_dict(),
        "seed": seed,
    }
    counted = score(small, data.input_shape)
    seconds = time.perf_counter() - start
    notes = tuple(compression.notes)
    return Compressed(small, data.input_shape, reached, counted, before, notes, provenance, seconds)


def architecture_from(reference: str, arguments: Mapping[str, Any]) -> Architecture:
    """The architecture of a network's class that is told `arguments`. Raises CandidateError."""
    return Architecture.from_dict({"family": reference, **FIXED_OF_WHOLE, "options": Options(dict(arguments))})


def origin_from(reference: str, arguments: Mapping[str, Any], data: SearchData) -> Origin:
    """What a network of the data's classes was built from."""
    return Origin(architecture_from(reference, arguments), data.classes, data.input_shape[0])
