"""What makes a trained network small: filters removed, weights masked, bits lowered, each with its fine-tuning.

A job's pipeline (`slimfront.evaluators.pipeline`) ends with it, and a network of the user's own begins with it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from slimfront.evaluators.pruning.accounting import account
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.masks import finalise
from slimfront.evaluators.pruning.phase import PruningPhase
from slimfront.evaluators.pruning.report import Report
from slimfront.evaluators.quantization import QuantizationPhase
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch, TrainingError
from slimfront.models.quantization.conversion import deploy
from slimfront.models.quantization.precision import layer_bits, unquantizable
from slimfront.models.tying import untie
from slimfront.spaces.candidate import Bits, Pruning
from torch import nn


class Phase(Protocol):
    """A part of the pipeline: changes a network, and trains it."""

    def run(self, network: nn.Module, context: TrainContext) -> Generator[Epoch, None, Report | None]:
        """Yield after every epoch; return what was removed, if it is a phase that removes something."""


@dataclass
class Compression:
    """The phases after the uncompressed training.

    Attributes:
        pruning: Filters, then single weights; either may be absent.
        bits: Of weights and activations.
        notes: Remarks for people, such as a ratio that could not be met.
        facts: Remarks for programs: the account of pruning.
    """

    pruning: Pruning
    bits: Bits
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def check(self, network: nn.Module) -> None:
        """Raise PrecisionError where the bits do not fit the network, before any long work."""
        if not self.bits.is_float:
            layer_bits(network, self.bits)

    def run(
        self, network: nn.Module, context: TrainContext, file: Callable[[str], Path | None] = lambda _phase: None
    ) -> Iterator[Epoch]:
        """Compress `network` in place; yields after every epoch, and leaves the network in its final form.

        Args:
            network: Trained.
            context: Its recipe is the uncompressed training's.
            file: Where a phase of that name keeps its state; None: nowhere.

        Raises:
            TrainingError: Pruning that cannot be done, or a loss that is not finite.
        """
        steps = [step for step in (self.pruning.filters, self.pruning.weights) if step is not None]
        if steps or not self.bits.is_float:
            self.notes += [
                f"{name} is a tensor of its own from here on: it was {owner}, and every layer is compressed by itself."
                for name, owner in untie(network).items()
            ]
        shape = context.images.shape
        if steps:
            before = score(network, shape)
            for step in steps:
                yield from self.part(PruningPhase(step), network, replace(context, checkpoint=file(step.granularity)))
            self.facts["account"] = account(before, score(network, shape), self.pruning).to_dict()
        if self.bits.is_float:
            deploy(network)
        else:
            self.notes += [f"{name} is not quantized: {reason}." for name, reason in unquantizable(network).items()]
            yield from self.part(QuantizationPhase(self.bits), network, replace(context, checkpoint=file("bits")))
        finalise(network)

    def part(self, phase: Phase, network: nn.Module, context: TrainContext) -> Iterator[Epoch]:
        """One phase, and its remarks. Raises TrainingError."""
        try:
            report = yield from phase.run(network, context)
        except PruningError as error:
            raise TrainingError("pruning", str(error)) from None
        if report is not None and (report.left or not report.met):
            self.notes.append(report.message)
