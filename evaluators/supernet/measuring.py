"""What cuts are worth: batch norm estimated anew, then accuracy and loss on some validation images, quickly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.quantization import calibration_batches
from slimfront.evaluators.training.augmentation import normalise
from slimfront.evaluators.training.loop import EVALUATION_BATCH, half_precision
from slimfront.models.kernels.convolution import quick_answers
from slimfront.models.network import Network
from slimfront.models.quantization.calibration import estimate_norms
from torch import Tensor

NORM_IMAGES = 2048
MEASURED_IMAGES = 2000


@dataclass(frozen=True)
class Measured:
    """What a network says of some images.

    Attributes:
        accuracy: Share that it classifies right.
        loss: Mean cross-entropy, in nats: it tells networks apart that so few images' accuracies do not.
    """

    accuracy: float
    loss: float


def norm_batches(images: Images, count: int, seed: int, device: torch.device | str) -> list[Tensor]:
    """Up to `count` training images to estimate norms on, normalised: the same for all shapes."""
    return list(calibration_batches(images, count, seed, torch.device(device)))


def settle(network: Network, batches: Iterable[Tensor]) -> None:
    """Estimate the running statistics of all batch norms anew: those of the supernet belong to no shape.

    Without this a cut is worth nothing (Yu and Huang 2019, arXiv:1903.05134, section 3.3).
    """
    with quick_answers(network):
        estimate_norms(network, batches)


def part_of(images: Images, count: int, seed: int = 0) -> Images:
    """So many images at random, or all where there are no more; the same for the same seed."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.subset(order[:count].to(images.labels.device))


def measure(networks: Iterable[Network], images: Images, count: int = MEASURED_IMAGES) -> Iterator[Measured]:
    """Accuracy and loss of each network on the same `count` images, at the precision of a training.

    Good for telling networks apart; what counts is measured by `training.loop.accuracy`.

    Args:
        networks: On one device.
        images: Validation images.
        count: How many of them.
    """
    part = part_of(images, count)
    inputs: Tensor | None = None
    for network in networks:
        device = next(network.parameters()).device
        if inputs is None:
            part = part.to(device)
            inputs = normalise(part.images)
        logits = _answers(network, inputs)
        right = int((logits.argmax(1) == part.labels).sum())
        yield Measured(right / len(part), float(F.cross_entropy(logits, part.labels)))


@torch.inference_mode()
def _answers(network: Network, inputs: Tensor) -> Tensor:
    half = half_precision(inputs.device)
    precision = torch.autocast(inputs.device.type, half or torch.bfloat16, enabled=half is not None)
    was_training = network.training
    network.eval()
    with precision, quick_answers(network):
        logits = torch.cat([network(batch).float() for batch in torch.split(inputs, EVALUATION_BATCH)])
    network.train(was_training)
    return logits
