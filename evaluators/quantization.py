"""The phase that quantizes: from a trained network, pruned or not, to its final form at the candidate's bits.

Calibrate, convert, train at falling widths, deploy. It yields the epochs of the one training loop; when it is
exhausted, the network is what an artifact stores. Without epochs it is rounding after training: steps of the least
squared error, batch norm measured anew behind the rounding, no gradient.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.training.augmentation import normalise
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch, train, untrained
from slimfront.models.layout import layout_of
from slimfront.models.network import weight_layers
from slimfront.models.quantization.calibration import Observation, estimate_norms, observe
from slimfront.models.quantization.conversion import Widths, convert, deploy, lower
from slimfront.models.quantization.precision import layer_bits
from slimfront.models.quantization.quantizers import INTEGER_WIDTHS, quantized_layers
from slimfront.spaces.candidate import Bits, Recipe
from torch import Tensor, nn

CALIBRATION_IMAGES = 512
NORM_IMAGES = 2048
BATCH = 128

# Of the uncompressed training's rate. The network is near its optimum, and rounding moves it a little; signs move it
# far.
LEARNING_RATE_SHARE = {1: 1.0}
OTHER_LEARNING_RATE_SHARE = 0.5
# LSQ, table 2 (arXiv:1902.08153): the fewer the bits, the more they regularise by themselves.
WEIGHT_DECAY_SHARE = {1: 0.0, 2: 0.25, 3: 0.5}


@dataclass(frozen=True)
class QuantizationPhase:
    """Rounds weights and activations, and trains the network for it.

    Attributes:
        bits: Widths, epochs and the path of widths on the way down.
    """

    bits: Bits

    def run(self, network: nn.Module, context: TrainContext) -> Generator[Epoch, None, None]:
        """Quantize `network` in place to `bits`, with `bits.epochs` epochs of training; at the end it is deployed.

        Args:
            network: Float, trained; filters may be gone, weights may be masked.
            context: Its recipe is the uncompressed training's, see `fine_tuning`. Some of its images calibrate. Each
                step of the path has a checkpoint of its own, named after its width. The preview is the accuracy after
                rounding to the final widths.

        Yields:
            Epochs numbered through all steps of the path.

        Raises:
            PrecisionError: bits that do not fit the network.
            TrainingError: the loss is not finite.
        """
        bits, context = self.bits, replace(context, phase="bits")
        start = time.perf_counter()
        target = layer_bits(network, bits)
        network.to(context.device).to(memory_format=layout_of(network))  # type: ignore[call-overload]
        observed = observe(network, weight_layers(network), _batches(context, CALIBRATION_IMAGES))
        if context.preview and context.validation is not None:
            rounded = copy.deepcopy(network)
            _convert(rounded, target, observed, bits, context)
            _settle_norms(rounded, target, context)
            yield from untrained(rounded, context, bits.epochs, start)
            del rounded
        done = 0
        for number, (width, epochs) in enumerate(path_of(bits)):
            widths = {name: (max(weight, width), max(input, width)) for name, (weight, input) in target.items()}
            if number == 0:
                _convert(network, widths, observed, bits, context)
            else:
                lower(
                    network, widths, observe(network, quantized_layers(network), _batches(context, CALIBRATION_IMAGES))
                )
            if epochs == 0:
                _settle_norms(network, widths, context)
                continue
            aware = replace(
                context,
                recipe=fine_tuning(context.recipe, widths),
                seed=context.seed + number,
                epochs=epochs,
                checkpoint=context.checkpoint_of(width),
            )
            for epoch in train(network, aware):
                yield replace(epoch, epoch=done + epoch.epoch, epochs=bits.epochs)
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


def fine_tuning(recipe: Recipe, widths: Widths) -> Recipe:
    """The recipe of quantization-aware training: a smaller learning rate, less weight decay at fewer bits."""
    least = min(width for pair in widths.values() for width in pair)
    return replace(
        recipe,
        learning_rate=recipe.learning_rate * LEARNING_RATE_SHARE.get(least, OTHER_LEARNING_RATE_SHARE),
        weight_decay=recipe.weight_decay * WEIGHT_DECAY_SHARE.get(least, 1.0),
    )


def _convert(
    network: nn.Module, widths: Widths, observed: Mapping[str, Observation], bits: Bits, context: TrainContext
) -> None:
    convert(network, widths, observed, ternary=bits.ternary)
    network.to(context.device).to(memory_format=layout_of(network))  # type: ignore[call-overload]


def _settle_norms(network: nn.Module, widths: Widths, context: TrainContext) -> None:
    """Measure batch norm anew behind what was rounded; float16 shifts nothing."""
    if any(width in INTEGER_WIDTHS for pair in widths.values() for width in pair):
        estimate_norms(network, _batches(context, NORM_IMAGES))


def _batches(context: TrainContext, count: int) -> Iterator[Tensor]:
    return calibration_batches(context.images, count, context.seed, context.device)


def calibration_batches(images: Images, count: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Up to `count` training images, drawn without replacement, normalised, in batches of one size."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)[:count].to(images.labels.device)
    batch = min(BATCH, len(order))
    for start in range(0, len(order) - batch + 1, batch):
        yield normalise(images.images[order[start : start + batch]].to(device))
