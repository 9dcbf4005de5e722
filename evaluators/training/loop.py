"""The one training loop: uncompressed training, fine-tuning and quantization-aware training all come through here.

Training is a generator: it yields an `Epoch` after every epoch, and whoever consumes it decides whether it goes on;
closing it is stopping. Images stay on the device as uint8 and are augmented batch by batch; the device never waits for
the host within an epoch. With a checkpoint file it is resumable, and a finished training is replayed from its file in
no time, so that a job of several phases resumes by simply running again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.training.augmentation import augment, normalise
from slimfront.evaluators.training.averaging import Averaging
from slimfront.evaluators.training.checkpoint import State
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.learning_rate import learning_rate_factor
from slimfront.evaluators.training.progress import Meter
from slimfront.evaluators.training.views import Views
from slimfront.models.kernels.convolution import quick_answers
from slimfront.models.layout import layout_of
from slimfront.models.quantization.quantizers import quantized_layers
from slimfront.spaces.candidate import Recipe
from slimfront.spaces.optimizers import OPTIMIZERS
from torch import Tensor, nn

EVALUATION_BATCH = 500
TEACHER = "teacher"  # the phase of a teacher's epochs, which are nobody's curve


class TrainingError(RuntimeError):
    """A training that cannot go on. `reason` is one of a fixed set of words for the record."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        stage: Phase of the job that it belongs to: "dense" (the uncompressed training), "filters", "weights", "bits".
        epoch: 1-based within this phase; 0: what pruning or rounding left, before any fine-tuning (see `untrained`).
        epochs: Length of this phase.
        loss: Mean training loss; None before training.
        accuracy: Share of the validation images that are classified right (by the averaged weights where there are
            such); None without validation images.
        seconds: Wall time of training and evaluation.
    """

    stage: str
    epoch: int
    epochs: int
    loss: float | None
    accuracy: float | None
    seconds: float


def train(network: nn.Module, context: TrainContext) -> Iterator[Epoch]:
    """Train `network` in place and yield after every epoch; at the end it holds the weights that count.

    Args:
        network: Takes (B, C, H, W) float, gives logits (B, classes).
        context: Data, recipe, seed and all the rest.

    Raises:
        TrainingError: The loss is not finite.
    """
    recipe, device, total = context.recipe, context.device, context.length
    network.to(device=device, memory_format=layout_of(network))  # type: ignore[call-overload]
    images = context.images.to(device)
    optimizer = OPTIMIZERS[recipe.optimizer].make(network, recipe)
    averaging = Averaging(network, recipe.averaging) if recipe.averaging else None
    state = State(network, optimizer, averaging, {"recipe": recipe.digest, "epochs": total, "seed": context.seed})
    done = [Epoch(**epoch) for epoch in state.resume(context.checkpoint)]
    yield from done
    step = _Step(network, optimizer, context)
    batch = min(recipe.batch_size, len(images))
    batches = len(images) // batch  # the rest of an epoch's order is left out: batches of one size only
    for number in range(len(done) + 1, total + 1):
        start = time.perf_counter()
        # Seeded anew for each epoch, so that a resumed training needs no generator state.
        generator = torch.Generator(device).manual_seed(context.seed * 100_003 + number)
        order = torch.randperm(len(images), generator=generator, device=device)
        loss_sum = torch.zeros((), device=device)
        network.train()
        meter = Meter(context.phase, number, total, batches * batch)
        for index in range(batches):
            progress = ((number - 1) * batches + index + 1) / (total * batches)
            chosen = order[index * batch : (index + 1) * batch]
            moves, answers = step.known_answers(number, chosen)
            inputs, targets = augment(
                images.images[chosen], images.labels[chosen], context.augmentation, context.classes, generator, moves
            )
            loss_sum += step(inputs, targets, answers, progress)
            meter.tell((index + 1) * batch)
            if averaging is not None:
                averaging.update()
        loss = float(loss_sum) / batches
        if loss != loss or abs(loss) == float("inf"):
            raise TrainingError("loss_not_finite", f"The loss of epoch {number} is {loss}.")
        with averaging.applied() if averaging is not None else nullcontext():
            judged = judge(network, context, last=number == total)
        done.append(Epoch(context.phase, number, total, loss, judged, time.perf_counter() - start))
        if number == total and averaging is not None:
            averaging.exchange()
        state.keep(context.checkpoint, [asdict(epoch) for epoch in done])
        yield done[-1]


def untrained(network: nn.Module, context: TrainContext, epochs: int, start: float) -> Iterator[Epoch]:
    """Epoch 0 of a phase of `epochs`, where the context wants it: the accuracy before its fine-tuning.

    `start` is when the work on it began.
    """
    if context.preview and context.validation is not None:
        judged = accuracy(network, context.validation, context.device)
        yield Epoch(context.phase, 0, epochs, None, judged, time.perf_counter() - start)


def half_precision(device: torch.device) -> torch.dtype | None:
    """The type of half the width that multiplications train in (weights and sums stay float32); None: float32.

    On a CPU that is bfloat16, where the processor multiplies it in hardware: emulated it is slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return None


def _compiled(network: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`network` through torch.compile, on a GPU with CUDA graphs: an option, as it takes up to a minute a network.

    On a CPU our own kernels are about as fast; compiled code does without them.
    """
    compiled: Callable[[Tensor], Tensor] = torch.compile(
        network, mode="reduce-overhead" if device.type == "cuda" else None
    )
    return compiled


class _Step:
    """Forward, loss, backward and update of one batch."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, context: TrainContext) -> None:
        device = context.device
        self._network, self._optimizer = network, optimizer
        self._recipe, self._hooks = context.recipe, context.hooks
        self._forward = _compiled(network, device) if os.environ.get("SLIMFRONT_COMPILE") == "1" else network
        self._views: Views | None = None
        self._teacher: nn.Module | None = None
        if isinstance(context.teacher, Views):
            self._views = context.teacher.to(device)
        elif context.teacher is not None:
            self._teacher = context.teacher
            self._teacher.to(device=device, memory_format=layout_of(self._teacher)).eval()  # type: ignore[call-overload]
        self._autocast: AbstractContextManager[Any] = nullcontext()
        self._scaler: torch.amp.GradScaler | None = None
        half = half_precision(device)
        if half is not None:
            self._autocast = torch.autocast(device.type, half)
            if half == torch.float16:
                self._scaler = torch.amp.GradScaler("cuda")

    def known_answers(self, epoch: int, chosen: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """How the images at `chosen` have to be moved, and the teacher's logits for them so; None where it is asked."""
        return self._views.of(epoch, chosen) if self._views is not None else (None, None)

    def __call__(self, inputs: Tensor, targets: Tensor, answers: Tensor | None, progress: float) -> Tensor:
        """`answers`: the teacher's logits for `inputs`, where they are known already."""
        recipe, optimizer = self._recipe, self._optimizer
        rate = recipe.learning_rate * learning_rate_factor(progress, recipe.warmup, recipe.decay)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with self._autocast:
            loss = self._loss(inputs, targets, answers)
        optimizer.zero_grad(set_to_none=True)
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        else:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.step(optimizer)
            self._scaler.update()
        for hook in self._hooks:
            hook.after_step(self._network, progress)
        return loss.detach()

    def _loss(self, inputs: Tensor, targets: Tensor, answers: Tensor | None) -> Tensor:
        logits = self._forward(inputs)
        if self._teacher is not None and self._recipe.distillation > 0:
            with torch.no_grad(), quick_answers(self._teacher):
                answers = self._teacher(inputs)
        loss = loss_of(logits, targets, answers, self._recipe)
        for hook in self._hooks:
            penalty = hook.penalty(self._network)
            if penalty is not None:
                loss = loss + penalty
        return loss


def loss_of(logits: Tensor, targets: Tensor, answers: Tensor | None, recipe: Recipe) -> Tensor:
    """Cross-entropy, and by the recipe's `distillation` the divergence from a teacher's answers instead.

    Args:
        logits: (B, classes).
        targets: Labels (B,), int64, or shares of each class (B, classes).
        answers: The teacher's logits (B, classes); None: there is none.
        recipe: Says how much each weighs (Hinton et al. 2015, arXiv:1503.02531).
    """
    loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
    if answers is None or recipe.distillation == 0:
        return loss
    wanted = F.log_softmax(answers.float() / recipe.temperature, dim=1)
    given = F.log_softmax(logits / recipe.temperature, dim=1)
    gap = F.kl_div(given, wanted, reduction="batchmean", log_target=True) * recipe.temperature**2
    return torch.lerp(loss, gap, recipe.distillation)


def judge(network: nn.Module, context: TrainContext, *, last: bool) -> float | None:
    """Accuracy on the validation images for the curve; None where there are none.

    Before the last epoch it only guides early stopping, and is measured in the precision and by the convolutions of the
    training, which is faster: in half precision up to ten images in 5,000 were judged differently, where chance in
    choosing them moves twenty. The last epoch's, every finished network's and those of quantized networks are measured
    in float32, by torch's own convolutions.
    """
    if context.validation is None:
        return None
    device = context.device
    exact = last or bool(quantized_layers(network))
    half = None if exact else half_precision(device)
    precision = torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)
    with precision, nullcontext() if exact else quick_answers(network):
        return accuracy(network, context.validation, device)


@torch.inference_mode()
def accuracy(
    network: nn.Module, images: Images, device: torch.device | str = "cpu", batch_size: int = EVALUATION_BATCH
) -> float:
    """Share of `images` that `network` classifies right, in evaluation mode (the mode is put back)."""
    device = torch.device(device)
    images = images.to(device)
    was_training = network.training
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=device)
    for start in range(0, len(images.labels), batch_size):
        logits = network(normalise(images.images[start : start + batch_size]))
        right += (logits.argmax(1) == images.labels[start : start + batch_size]).sum()
    network.train(was_training)
    return int(right) / len(images.labels)
