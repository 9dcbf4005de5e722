"""The phase that takes the place of the uncompressed training: weights out of a supernet."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimfront.evaluators.supernet.measuring import NORM_IMAGES
from slimfront.evaluators.supernet.supernet import Supernet, cut, load_supernet
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch, TrainingError, untrained
from slimfront.models.network import Network
from torch import nn


@dataclass(frozen=True)
class InheritedPhase:
    """Gives a network the weights of a supernet, and trains nothing: the phases that follow are its fine-tuning.

    Attributes:
        supernet: Its file.
        data_digest: Of the data that it must have been trained on.
    """

    supernet: Path
    data_digest: str

    def run(self, network: nn.Module, context: TrainContext) -> Generator[Epoch, None, dict[str, Any]]:
        """Overwrite the weights of `network`; yields an epoch 0 of the phase "dense", returns where they come from.

        Raises:
            TrainingError: There is no such supernet, or it was trained on other data, or does not hold this shape.
        """
        start = time.perf_counter()
        if not isinstance(network, Network):
            raise TrainingError("impossible", "A network of a class of the user's own has no shape to cut out.")
        supernet = load_supernet(self.supernet)
        if supernet.record["data"]["digest"] != self.data_digest:
            raise TrainingError("files", f"The supernet {supernet.key} was trained on other data: train one on these.")
        network.load_state_dict(_cut(supernet, network, context).state_dict())
        network.to(context.device)
        yield from untrained(network, context, 0, start)
        return {"supernet": supernet.key, "norm_images": NORM_IMAGES, "core_seconds": supernet.record["core_seconds"]}


def _cut(supernet: Supernet, network: Network, context: TrainContext) -> Network:
    try:
        return cut(supernet, network.architecture, context.images, seed=context.seed)
    except ValueError as error:
        raise TrainingError("impossible", str(error)) from None
