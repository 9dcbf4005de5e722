"""The one training loop: dense training, fine-tuning, quantization-aware training and retraining all come through here.

Training is a generator: it yields an `Epoch` after every epoch, and whoever consumes it decides whether it goes on;
closing it is stopping. Images stay on the device as uint8 and are augmented batch by batch; nothing waits for the
host within an epoch. With a checkpoint file it is resumable, and a finished training is replayed from its file in no
time, so that a job of several stages resumes by simply running again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.training import checkpoint as files
from slimfront.evaluators.training.augmentation import augment, normalise
from slimfront.evaluators.training.averaging import Averaging
from slimfront.evaluators.training.optimizers import learning_rate_factor, make_optimizer
from slimfront.evaluators.training.views import Views
from slimfront.models.kernels.convolution import quick_answers
from slimfront.models.quantization.quantizers import quantized_layers
from slimfront.spaces.candidate import Augmentation, Recipe
from torch import Tensor, nn

EVALUATION_BATCH = 500
Teacher = nn.Module | Views  # a network that is asked, or what one said when it was asked before
TEACHER = "teacher"  # the stage of a teacher's epochs, which are nobody's curve


class TrainingError(RuntimeError):
    """A training that cannot go on. `reason` is one of a fixed set of words for the record."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        stage: Which stage of the job it belongs to: "dense", "filters", "weights", "bits".
        epoch: 1-based within this training; 0: what pruning or rounding left, before any fine-tuning (see `untrained`).
        epochs: Length of this training.
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


class Hook:
    """Something that takes part in training; both methods do nothing unless overridden."""

    def penalty(self, network: nn.Module) -> Tensor | None:
        """A scalar that is added to the loss."""
        return None

    def after_step(self, network: nn.Module, progress: float) -> None:
        """Called after each optimizer step; `progress` in (0, 1] is the share of this training's steps done."""


def train(
    network: nn.Module,
    images: Images,
    validation: Images | None,
    *,
    recipe: Recipe,
    augmentation: Augmentation,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
    epochs: int | None = None,
    stage: str = "dense",
    teacher: Teacher | None = None,
    hooks: Sequence[Hook] = (),
    checkpoint: Path | None = None,
) -> Iterator[Epoch]:
    """Train `network` in place and yield after every epoch; at the end it holds the weights that count.

    Args:
        network: Takes (B, C, H, W) float, gives logits (B, classes).
        images: Training images, uint8.
        validation: Judged after every epoch; None: nothing is judged.
        recipe: Optimizer, schedule and the rest; its `epochs` are the default for `epochs`.
        augmentation: Applied to every batch.
        classes: Number of classes.
        seed: Order of the images and augmentation. Same seed, machine and number of threads: same numbers.
        device: Where it runs.
        epochs: Length of this training.
        stage: Copied into every Epoch.
        teacher: Gives logits on the same augmented view, distilled with `recipe.distillation` and `temperature`
            (Hinton et al. 2015, arXiv:1503.02531). With `Views` the images are moved as they were when it was asked.
        hooks: Take part in every step.
        checkpoint: File that the state is kept in after every epoch, and taken up from.

    Raises:
        TrainingError: The loss is not finite.
    """
    total = recipe.epochs if epochs is None else epochs
    device = torch.device(device)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.to(device)
    if isinstance(teacher, Views):
        teacher = teacher.to(device)
    elif teacher is not None:
        teacher.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    optimizer = make_optimizer(network, recipe)
    averaging = Averaging(network, recipe.averaging) if recipe.averaging else None
    done = _resume(checkpoint, network, optimizer, averaging, recipe, total, seed) if checkpoint is not None else []
    yield from done
    step = _Step(network, recipe, classes, device, teacher, hooks)
    batch = min(recipe.batch_size, len(images.labels))
    batches = len(images.labels) // batch  # the rest of an epoch's order is left out: batches of one size only
    for number in range(len(done) + 1, total + 1):
        start = time.perf_counter()
        # Seeded anew for each epoch, so that a resumed training needs no generator state.
        generator = torch.Generator(device).manual_seed(seed * 100_003 + number)
        order = torch.randperm(len(images.labels), generator=generator, device=device)
        loss_sum = torch.zeros((), device=device)
        network.train()
        for index in range(batches):
            progress = ((number - 1) * batches + index + 1) / (total * batches)
            rate = recipe.learning_rate * learning_rate_factor(progress, recipe.warmup, recipe.decay)
            for group in optimizer.param_groups:
                group["lr"] = rate
            chosen = order[index * batch : (index + 1) * batch]
            moves, answers = teacher.of(number, chosen) if isinstance(teacher, Views) else (None, None)
            inputs, targets = augment(
                images.images[chosen], images.labels[chosen], augmentation, classes, generator, moves
            )
            loss_sum += step(optimizer, inputs, targets, answers)
            for hook in hooks:
                hook.after_step(network, progress)
            if averaging is not None:
                averaging.update()
        loss = float(loss_sum) / batches
        if loss != loss or abs(loss) == float("inf"):
            raise TrainingError("loss_not_finite", f"The loss of epoch {number} is {loss}.")
        with averaging.applied() if averaging is not None else nullcontext():
            judged = judge(network, validation, device, last=number == total) if validation is not None else None
        done.append(Epoch(stage, number, total, loss, judged, time.perf_counter() - start))
        if number == total and averaging is not None:
            averaging.exchange()
        if checkpoint is not None:
            _keep(checkpoint, network, optimizer, averaging, recipe, total, seed, done)
        yield done[-1]


def untrained(
    network: nn.Module, validation: Images, device: torch.device | str, *, stage: str, epochs: int, start: float
) -> Epoch:
    """Epoch 0 of a stage: the accuracy before its fine-tuning; `start` is when the work on it began."""
    judged = accuracy(network, validation, device)
    return Epoch(stage, 0, epochs, None, judged, time.perf_counter() - start)


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

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        classes: int,
        device: torch.device,
        teacher: Teacher | None,
        hooks: Sequence[Hook],
    ) -> None:
        self._network, self._recipe, self._hooks = network, recipe, hooks
        self._forward = _compiled(network, device) if os.environ.get("SLIMFRONT_COMPILE") == "1" else network
        self._classes = classes
        self._teacher = None if isinstance(teacher, Views) else teacher
        self._autocast: AbstractContextManager[Any] = nullcontext()
        self._scaler: torch.amp.GradScaler | None = None
        half = half_precision(device)
        if half is not None:
            self._autocast = torch.autocast(device.type, half)
            if half == torch.float16:
                self._scaler = torch.amp.GradScaler("cuda")

    def __call__(
        self, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, answers: Tensor | None
    ) -> Tensor:
        """`answers`: the teacher's logits for `inputs`, where they are known already."""
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
        return loss.detach()

    def _loss(self, inputs: Tensor, targets: Tensor, answers: Tensor | None) -> Tensor:
        recipe = self._recipe
        logits = self._forward(inputs)
        loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
        if self._teacher is not None and recipe.distillation > 0:
            with torch.no_grad(), quick_answers(self._teacher):
                answers = self._teacher(inputs)
        if answers is not None and recipe.distillation > 0:
            wanted = F.log_softmax(answers.float() / recipe.temperature, dim=1)
            given = F.log_softmax(logits / recipe.temperature, dim=1)
            gap = F.kl_div(given, wanted, reduction="batchmean", log_target=True) * recipe.temperature**2
            loss = torch.lerp(loss, gap, recipe.distillation)
        for hook in self._hooks:
            penalty = hook.penalty(self._network)
            if penalty is not None:
                loss = loss + penalty
        return loss


def judge(network: nn.Module, validation: Images, device: torch.device, *, last: bool) -> float:
    """Accuracy for the curve.

    Before the last epoch it only guides early stopping, and is measured in the precision and by the convolutions of the
    training, which is faster: in half precision up to ten images in 5,000 were judged differently, where chance in
    choosing them moves twenty. The last epoch's, every finished network's and those of quantized networks are measured
    in float32, by torch's own convolutions.
    """
    exact = last or bool(quantized_layers(network))
    half = None if exact else half_precision(device)
    precision = torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)
    with precision, nullcontext() if exact else quick_answers(network):
        return accuracy(network, validation, device)


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


def _identity(recipe: Recipe, total: int, seed: int) -> dict[str, Any]:
    return {"recipe": recipe.digest, "epochs": total, "seed": seed}


def _keep(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    averaging: Averaging | None,
    recipe: Recipe,
    total: int,
    seed: int,
    done: list[Epoch],
) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    facts: dict[str, Any] = {**_identity(recipe, total, seed), "done": [asdict(epoch) for epoch in done]}
    if len(done) < total:  # a finished training is only replayed: it needs its network, not its optimizer
        optimizer_tensors, facts["optimizer"] = files.flatten_optimizer(optimizer)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors.items()}
        if averaging is not None:
            tensors |= {f"averaging.{name}": tensor for name, tensor in averaging.state().items()}
    files.save(path, tensors, facts)


def _resume(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    averaging: Averaging | None,
    recipe: Recipe,
    total: int,
    seed: int,
) -> list[Epoch]:
    found = files.load(path)
    if found is None:
        return []
    tensors, facts = found

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    state = part("network.")
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    same = {name: tensor.shape for name, tensor in state.items()} == expected
    if not same or any(facts.get(key) != value for key, value in _identity(recipe, total, seed).items()):
        return []  # of another training: train from the start and write over it
    done = [Epoch(**epoch) for epoch in facts["done"]]
    network.load_state_dict(state)
    if len(done) < total:
        files.restore_optimizer(optimizer, part("optimizer."), facts["optimizer"])
        if averaging is not None:
            averaging.restore(part("averaging."))
    return done
