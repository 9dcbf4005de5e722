"""The training of a supernet: in every step several shapes, their gradients summed in a fixed order.

Each shape of a step is a plain network with copies of the shared weights, trained on one batch by one thread, so all
that is known about training a network holds for it. Threads do not share a sum, and which of them took which shape
makes no difference: the numbers are the same for any number of threads, and a training that was killed goes on to the
same last bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.scoring.counting import one_thread
from slimfront.evaluators.supernet.cutting import inherit, renew, share_of
from slimfront.evaluators.supernet.measuring import measure, norm_batches, part_of, settle
from slimfront.evaluators.supernet.ordering import channel_moves, reorder, reorder_optimizer
from slimfront.evaluators.supernet.sharing import Sharing
from slimfront.evaluators.training.augmentation import augment
from slimfront.evaluators.training.averaging import Averaging
from slimfront.evaluators.training.checkpoint import State
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.learning_rate import learning_rate_factor
from slimfront.evaluators.training.loop import Epoch, TrainingError, half_precision, loss_of
from slimfront.evaluators.training.views import Views
from slimfront.models.network import Network
from slimfront.spaces.candidate import Architecture
from slimfront.spaces.optimizers import OPTIMIZERS
from torch import Tensor

CURVE_IMAGES = 1000  # of the validation images, and of those that norms are estimated on, after every epoch
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class SharedEpoch(Epoch):
    """What one epoch of a supernet came to; its `accuracy` is the mean of `accuracies`.

    Attributes:
        accuracies: Of the smallest shape, the largest and two that were drawn once, cut, on some validation images.
        core_seconds: Processor time of training and evaluation, of all threads.
    """

    accuracies: tuple[float, ...] = ()
    core_seconds: float = 0.0


def watched(sharing: Sharing) -> tuple[Architecture, ...]:
    """The shapes of the curve."""
    drawn = sharing.shapes.draw(2, torch.Generator().manual_seed(0))
    return (sharing.shapes.smallest, sharing.shapes.largest, *drawn)


def train_shared(
    network: Network, sharing: Sharing, context: TrainContext, identity: dict[str, Any], threads: int = 1
) -> Iterator[SharedEpoch]:
    """Train the largest shape's `network` in place so that its parts are trained, too; yield after every epoch.

    Args:
        network: With `cutting.align_shortcuts`.
        sharing: What shares the training, and how; its recipe is the one that counts.
        context: Images, validation images, seed, device, checkpoint, and the teacher's views, if it has any.
        identity: What two trainings have in common if one can go on from the other's checkpoint.
        threads: That take the shapes of a step in turn, on a CPU.

    Raises:
        TrainingError: The loss is not finite, or there are fewer images than a step takes.
    """
    recipe, device, total = sharing.recipe, context.device, sharing.recipe.epochs
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = OPTIMIZERS[recipe.optimizer].make(network, recipe)
    averaging = Averaging(network, recipe.averaging) if recipe.averaging else None
    state = State(network, optimizer, averaging, {**identity, "epochs": total})
    done = [_read(epoch) for epoch in state.resume(context.checkpoint)]
    yield from done
    run = _Run(network, optimizer, averaging, sharing, context, 1 if device.type != "cpu" else threads)
    for number in range(len(done) + 1, total + 1):
        start, core_start = time.perf_counter(), time.process_time()
        with one_thread():
            if number == sharing.alone + 1:
                run.sort_channels()
            loss = run.epoch(number)
            if loss != loss or abs(loss) == float("inf"):
                raise TrainingError("loss_not_finite", f"The loss of the supernet's epoch {number} is {loss}.")
            with averaging.applied() if averaging is not None else nullcontext():
                judged = run.judge()
        mean = sum(judged) / len(judged) if judged else None
        seconds, core_seconds = time.perf_counter() - start, time.process_time() - core_start
        done.append(SharedEpoch(context.phase, number, total, loss, mean, seconds, judged, core_seconds))
        if number == total and averaging is not None:
            averaging.exchange()
        state.keep(context.checkpoint, [asdict(epoch) for epoch in done])
        yield done[-1]


def _read(written: dict[str, Any]) -> SharedEpoch:
    return SharedEpoch(**{**written, "accuracies": tuple(written["accuracies"])})


class _Run:
    """A training on its way: all that an epoch needs and that no checkpoint has to hold."""

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        averaging: Averaging | None,
        sharing: Sharing,
        context: TrainContext,
        threads: int,
    ) -> None:
        self._network, self._optimizer, self._averaging = network, optimizer, averaging
        self._sharing, self._context, self._threads = sharing, context, threads
        self._images: Images = context.images.to(context.device)
        self._views: Views | None = None
        if context.teacher is not None:
            assert isinstance(context.teacher, Views)
            self._views = context.teacher.to(context.device)
        self._batch = min(sharing.recipe.batch_size, len(self._images) // sharing.shapes_a_step)
        if self._batch < 2:
            text = f"{len(self._images)} training images are too few for {sharing.shapes_a_step} shapes a step."
            raise TrainingError("impossible", text)
        self._weights = dict(network.named_parameters())
        self._state = network.state_dict()  # the numbers themselves, not what they are now
        self._places: list[Network | None] = [None] * sharing.shapes_a_step
        self._norms = norm_batches(context.images, CURVE_IMAGES, context.seed, context.device)
        self._judged = part_of(context.validation, CURVE_IMAGES) if context.validation is not None else None

    def sort_channels(self) -> None:
        """Put the channels in order of importance; what the optimizer and the average keep of them moves along."""
        moves = channel_moves(self._network, self._sharing.shapes)
        reorder(self._state, moves)
        reorder_optimizer(self._optimizer, self._network, moves)
        if self._averaging is not None:
            reorder(self._averaging.average, moves)

    def epoch(self, number: int) -> float:
        """Train once on every image; returns the mean loss of all shapes."""
        sharing, recipe, context = self._sharing, self._sharing.recipe, self._context
        shapes_a_step, total = sharing.shapes_a_step, recipe.epochs
        # Seeded anew for each epoch, so that a resumed training needs no generator state.
        seed = context.seed * 100_003 + number
        order = torch.randperm(len(self._images), generator=torch.Generator().manual_seed(seed)).to(context.device)
        steps = len(order) // (self._batch * shapes_a_step)
        chosen = order[: steps * self._batch * shapes_a_step].view(steps, shapes_a_step, self._batch)
        drawn = sharing.shapes.draw(steps * sharing.drawn, torch.Generator().manual_seed(seed))
        loss_sum = 0.0
        self._network.train()
        with ThreadPoolExecutor(self._threads) as pool:
            for step in range(steps):
                # The dearest first: whichever thread is free takes the next, and none waits long for the other.
                random = drawn[step * sharing.drawn : (step + 1) * sharing.drawn]
                shapes = [sharing.shapes.largest, *random, sharing.shapes.smallest]
                if number <= sharing.alone:
                    shapes = [sharing.shapes.largest] * shapes_a_step
                tasks = [
                    (place, shape, number, chosen[step, place], (seed * steps + step) * shapes_a_step + place)
                    for place, shape in enumerate(shapes)
                ]
                trained = pool.map(self._gradients, tasks) if self._threads > 1 else map(self._gradients, tasks)
                progress = ((number - 1) * steps + step + 1) / (total * steps)
                loss_sum += self._update([*trained], progress) / shapes_a_step
        return loss_sum / steps

    def _gradients(self, task: tuple[int, Architecture, int, Tensor, int]) -> tuple[float, Gradients]:
        """Loss and gradients of one shape on one batch; touches nothing that another shape's thread touches."""
        place, shape, number, chosen, seed = task
        context, recipe, images = self._context, self._sharing.recipe, self._images
        network = self._at(place, shape)
        generator = torch.Generator(context.device).manual_seed(seed)
        moves, answers = self._views.of(number, chosen) if self._views is not None else (None, None)
        inputs, targets = augment(
            images.images[chosen], images.labels[chosen], context.augmentation, context.classes, generator, moves
        )
        half = half_precision(context.device)
        usable = half == torch.bfloat16  # float16 would need its gradients scaled
        with torch.autocast(context.device.type, torch.bfloat16, enabled=usable):
            loss = loss_of(network(inputs), targets, answers, recipe)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        return float(loss.detach()), {name: grad for name, grad in gradients.items() if grad is not None}

    def _at(self, place: int, shape: Architecture) -> Network:
        """A network of this shape with the weights of now; the one of the last step again, if it has this shape."""
        network = self._places[place]
        if network is None or network.architecture != shape:
            network = self._inherit(shape)
            self._places[place] = network
        else:
            renew(network, self._weights)
            network.zero_grad(set_to_none=True)
        return network.train()

    def _inherit(self, shape: Architecture) -> Network:
        channels = self._context.images.shape[0]
        return inherit(self._state, shape, self._context.classes, channels)

    @torch.no_grad()
    def _update(self, trained: list[tuple[float, Gradients]], progress: float) -> float:
        """One step of the optimizer on the sum of all gradients, added up in the order of the shapes."""
        recipe = self._sharing.recipe
        for parameter in self._weights.values():
            parameter.grad = torch.zeros_like(parameter)
        for _, gradients in trained:
            for name, gradient in gradients.items():
                shared = self._weights[name].grad
                assert shared is not None
                share_of(shared, gradient).add_(gradient)
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_factor(progress, recipe.warmup, recipe.decay)
        self._optimizer.step()
        if self._averaging is not None:
            self._averaging.update()
        return sum(loss for loss, _ in trained)

    def judge(self) -> tuple[float, ...]:
        """Accuracies of the watched shapes; none where there are no validation images."""
        if self._judged is None:
            return ()
        with ThreadPoolExecutor(self._threads) as pool:
            return tuple(pool.map(self._accuracy, watched(self._sharing)))

    def _accuracy(self, shape: Architecture) -> float:
        assert self._judged is not None
        network = self._inherit(shape)
        settle(network, self._norms)
        return next(measure([network], self._judged, len(self._judged))).accuracy
