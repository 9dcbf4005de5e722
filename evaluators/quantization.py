"""The quantization stage: from a trained network, pruned or not, to its final form at the candidate's bits.

Calibrate, convert, train at falling widths, deploy. It yields the epochs of the one training loop; when it is
exhausted, the network is what an artifact stores. Without epochs it is rounding after training: steps of the least
squared error, batch norm measured anew behind the rounding, no gradient.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.training.augmentation import normalise
from slimfront.evaluators.training.loop import Epoch, Hook, Teacher, train, untrained
from slimfront.models.network import Network, weight_layers
from slimfront.models.quantization.calibration import estimate_norms, observe
from slimfront.models.quantization.conversion import convert, deploy, lower
from slimfront.models.quantization.precision import layer_bits
from slimfront.models.quantization.quantizers import INTEGER_WIDTHS, quantized_layers
from slimfront.spaces.candidate import Augmentation, Bits, Recipe
from torch import Tensor, nn

STAGE = "bits"
CALIBRATION_IMAGES = 512
NORM_IMAGES = 2048
BATCH = 128

# Of the dense training's rate. The network is near its optimum and rounding moves it a little; signs move it far.
LEARNING_RATE_SHARE = {1: 1.0}
OTHER_LEARNING_RATE_SHARE = 0.5
# LSQ, table 2 (arXiv:1902.08153): the fewer the bits, the more they regularise by themselves.
WEIGHT_DECAY_SHARE = {1: 0.0, 2: 0.25, 3: 0.5}


def quantize(
    network: Network,
    images: Images,
    validation: Images | None,
    *,
    bits: Bits,
    recipe: Recipe,
    augmentation: Augmentation,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
    teacher: Teacher | None = None,
    hooks: Sequence[Hook] = (),
    checkpoint: Path | None = None,
    preview: bool = False,
) -> Iterator[Epoch]:
    """Quantize `network` in place to `bits`, with `bits.epochs` epochs of training; at the end it is deployed.

    Args:
        network: Float, trained; filters may be gone, weights may be masked.
        images: Training images; some of them calibrate.
        validation: Judged after every epoch; None: nothing is judged.
        bits: Widths, epochs and the path of widths on the way down.
        recipe: The dense training's; see `fine_tuning`.
        augmentation: As in `train`.
        classes: As in `train`.
        seed: As in `train`.
        device: Where it runs.
        teacher: As in `train`.
        hooks: As in `train`.
        checkpoint: File as in `train`; each step of the path has its own, named after it.
        preview: Yield an epoch 0 as well: the accuracy after rounding to the final widths, before any training.

    Yields:
        Epochs of the stage "bits", numbered through all steps of the path.

    Raises:
        PrecisionError: bits that do not fit the network.
        TrainingError: the loss is not finite.
    """
    device = torch.device(device)
    target = layer_bits(network, bits)
    steps = path_of(bits)
    network.to(device).to(memory_format=torch.channels_last)
    start = time.perf_counter()
    widths = _at_least(target, steps[0][0])
    layers: Mapping[str, nn.Module] = weight_layers(network)
    observed = observe(network, layers, _batches(images, CALIBRATION_IMAGES, seed, device))
    if preview and validation is not None:
        rounded = copy.deepcopy(network)
        convert(rounded, target, observed, ternary=bits.ternary)
        rounded.to(device).to(memory_format=torch.channels_last)
        if any(width in INTEGER_WIDTHS for pair in target.values() for width in pair):
            estimate_norms(rounded, _batches(images, NORM_IMAGES, seed, device))
        yield untrained(rounded, validation, device, stage=STAGE, epochs=bits.epochs, start=start)
        del rounded
    convert(network, widths, observed, ternary=bits.ternary)
    network.to(device).to(memory_format=torch.channels_last)
    done = 0
    for number, (width, epochs) in enumerate(steps):
        if number > 0:
            widths = _at_least(target, width)
            layers = quantized_layers(network)
            observed = observe(network, layers, _batches(images, CALIBRATION_IMAGES, seed, device))
            lower(network, widths, observed)
        if epochs == 0:
            if any(width in INTEGER_WIDTHS for pair in widths.values() for width in pair):  # float16 shifts nothing
                estimate_norms(network, _batches(images, NORM_IMAGES, seed, device))
            continue
        for epoch in train(
            network,
            images,
            validation,
            recipe=fine_tuning(recipe, widths),
            augmentation=augmentation,
            classes=classes,
            seed=seed + number,
            device=device,
            epochs=epochs,
            stage=STAGE,
            teacher=teacher,
            hooks=hooks,
            checkpoint=_file_of_step(checkpoint, width),
        ):
            yield dataclasses.replace(epoch, epoch=done + epoch.epoch, epochs=bits.epochs)
        done += epochs
    deploy(network)


def path_of(bits: Bits) -> list[tuple[int, int]]:
    """(least width, epochs) of each training: those of `bits.path`, then 1, which is the candidate's own widths.

    Only widths above some layer's own say anything. Each step of the path takes an equal share of the epochs, the last
    training at least as many; where there are fewer epochs than steps, the widest steps are left out.

    >>> path_of(Bits.uniform(2, 2, epochs=8, path=(8, 4)))
    [(8, 2), (4, 2), (1, 4)]
    """
    own = [width for width in (*bits.weights, *bits.activations) if width in INTEGER_WIDTHS]
    path = [width for width in bits.path if own and width > min(own)]
    path = path[len(path) - max(0, min(len(path), bits.epochs - 1)) :]
    share = bits.epochs // (len(path) + 1)
    return [*((width, share) for width in path), (1, bits.epochs - share * len(path))]


def fine_tuning(recipe: Recipe, widths: dict[str, tuple[int, int]]) -> Recipe:
    """The recipe of quantization-aware training: a smaller learning rate, less weight decay at fewer bits."""
    least = min(width for pair in widths.values() for width in pair)
    return dataclasses.replace(
        recipe,
        learning_rate=recipe.learning_rate * LEARNING_RATE_SHARE.get(least, OTHER_LEARNING_RATE_SHARE),
        weight_decay=recipe.weight_decay * WEIGHT_DECAY_SHARE.get(least, 1.0),
    )


def _at_least(target: dict[str, tuple[int, int]], width: int) -> dict[str, tuple[int, int]]:
    """`target` with integers of at least `width` bits; float stays float."""
    return {name: (max(weight, width), max(activation, width)) for name, (weight, activation) in target.items()}


def _batches(images: Images, count: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Up to `count` training images, drawn without replacement, normalised, in batches of one size."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images.labels), generator=generator)[:count].to(images.labels.device)
    batch = min(BATCH, len(order))
    for start in range(0, len(order) - batch + 1, batch):
        yield normalise(images.images[order[start : start + batch]].to(device))


def _file_of_step(checkpoint: Path | None, width: int) -> Path | None:
    return None if checkpoint is None else checkpoint.with_name(f"{checkpoint.stem}-{width}{checkpoint.suffix}")
