from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.training.context import Hook, TrainContext
from slimfront.evaluators.training.loop import Epoch, TrainingError, accuracy, half_precision, train
from slimfront.evaluators.training.views import Views, ask
from slimfront.models import build
from slimfront.models.kernels.convolution import Convolution
from slimfront.spaces import Architecture, Augmentation, Recipe
from torch import Tensor, nn

ARCHITECTURE = Architecture("residual", 4, 1, (4,), (1,), (1,), shortcut="padding")
PLAIN = Augmentation(flip=False, crop=0)


def _images(count: int, seed: int = 0) -> Images:
    """Two classes that are told apart by brightness, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 60, (count, 1, 8, 8), generator=generator)
    return Images((noise + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)


def _train(network: nn.Module, recipe: Recipe, **other: Any) -> list[Epoch]:
    return list(train(network, dataclasses.replace(_context(recipe), **other)))


def _context(recipe: Recipe, **other: Any) -> TrainContext:
    return TrainContext(_images(96), _images(40, seed=1), recipe, PLAIN, classes=2, seed=0, **other)


def _network(seed: int = 0) -> nn.Module:
    return build(ARCHITECTURE, classes=2, channels=1, seed=seed)


SHORT = Recipe(epochs=4, batch_size=32, learning_rate=0.05)


def _same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns() -> None:
    epochs = _train(_network(), SHORT)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1].accuracy == 1.0
    assert epochs[-1].loss < epochs[0].loss


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_same_seed_same_numbers(averaging: float) -> None:
    recipe = Recipe(epochs=2, batch_size=32, averaging=averaging)
    augmentation = Augmentation(flip=True, crop=2, policy="mixup", strength=0.4)
    networks = [_network(), _network(), _network()]
    losses = [
        [epoch.loss for epoch in _train(network, recipe, augmentation=augmentation, seed=seed)]
        for network, seed in zip(networks, (0, 0, 1), strict=True)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert _same(networks[0], networks[1])
    assert not _same(networks[0], networks[2])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_a_stopped_training_goes_on_where_it_was(tmp_path: Path, optimizer: str, averaging: float) -> None:
    recipe = Recipe(optimizer=optimizer, learning_rate=0.02, epochs=4, batch_size=32, averaging=averaging)
    whole = _network()
    expected = _train(whole, recipe)
    path = tmp_path / "c.safetensors"
    stopped = train(_network(), _context(recipe, checkpoint=path))
    assert len(list(itertools.islice(stopped, 2))) == 2
    stopped.close()  # type: ignore[attr-defined]
    resumed = _network(seed=5)  # what it starts from must not matter
    epochs = _train(resumed, recipe, checkpoint=path)
    assert [(epoch.loss, epoch.accuracy) for epoch in epochs] == [(epoch.loss, epoch.accuracy) for epoch in expected]
    assert _same(whole, resumed)
    replayed = _network(seed=6)
    assert _train(replayed, recipe, checkpoint=path) == epochs
    assert _same(whole, replayed)


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    _train(_network(), SHORT, checkpoint=path)
    other = Recipe(epochs=2, batch_size=32, learning_rate=0.01)
    fresh, mixed = _network(), _network()
    _train(fresh, other)
    _train(mixed, other, checkpoint=path)
    assert _same(fresh, mixed)


def test_the_loss_has_to_be_finite() -> None:
    network = _network()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError) as caught:
        _train(network, SHORT)
    assert caught.value.reason == "loss_not_finite"


def test_averaged_weights_are_what_is_left() -> None:
    network = _network()
    epochs = _train(network, Recipe(epochs=3, batch_size=32, averaging=0.8))
    assert accuracy(network, _images(40, seed=1)) == epochs[-1].accuracy


def test_tensors_stay_channels_last_and_images_stay_bytes() -> None:
    seen = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build(ARCHITECTURE, classes=2, channels=3, seed=0)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.is_contiguous(memory_format=torch.channels_last) and x.dtype == torch.float32)
            return self.inner(x)  # type: ignore[no-any-return]

    network = Spy()
    images = Images(torch.randint(0, 255, (64, 3, 8, 8)).to(torch.uint8), torch.arange(64) % 2)
    list(train(network, TrainContext(images, images, SHORT, PLAIN, classes=2, seed=0)))
    assert all(seen)
    assert images.images.dtype == torch.uint8
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_hooks_take_part() -> None:
    class Count(Hook):
        progress: list[float] = []  # noqa: RUF012

        def penalty(self, network: nn.Module) -> Tensor:
            return 1000.0 + 0.0 * next(network.parameters()).sum()

        def after_step(self, network: nn.Module, progress: float) -> None:
            self.progress.append(progress)

    hook = Count()
    epochs = _train(_network(), SHORT, hooks=(hook,))
    assert epochs[0].loss > 1000
    assert len(hook.progress) == 4 * 3
    assert hook.progress == sorted(hook.progress)
    assert hook.progress[-1] == 1.0


def test_a_teacher_pulls_towards_its_logits() -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x.mean((1, 2, 3)) > 0
            return torch.stack((bright.float(), 1 - bright.float()), 1) * 20  # the classes exchanged

    recipe = Recipe(epochs=4, batch_size=32, learning_rate=0.05, teacher="resnet8", distillation=1.0)
    epochs = _train(_network(), recipe, teacher=Wrong())
    assert epochs[-1].accuracy is not None
    assert epochs[-1].accuracy < 0.2


def test_teachers_and_nobody_else_may_answer_quickly() -> None:
    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Convolution(1, 2, 1)
            self.seen: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(not self.layer.exact)
            logits: Tensor = self.layer(x).mean((2, 3))
            return logits

    in_advance, at_every_step, judged = Asked(), Asked(), Asked()
    for _ in ask(in_advance, _images(32), Augmentation(flip=True, crop=2), 2, None):
        assert in_advance.layer.exact  # between two views others may ask it
    _train(_network(), Recipe(epochs=1, batch_size=32, teacher="any", distillation=0.5), teacher=at_every_step)
    accuracy(judged, _images(32))
    for asked, quick in ((in_advance, True), (at_every_step, True), (judged, False)):
        assert set(asked.seen) == {quick}


def test_answers_given_in_advance_teach_like_the_teacher_itself() -> None:
    teacher, augmentation = _network(seed=5).eval(), Augmentation(flip=True, crop=2)
    asked = list(ask(teacher, _images(96), augmentation, 2, half_precision(torch.device("cpu"))))
    known = Views(torch.stack([moves for moves, _ in asked]), torch.stack([logits for _, logits in asked]))
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.02, teacher="any", distillation=0.8)

    class Watched(nn.Module):
        """Asks the teacher itself, on the pixels that the student is given."""

        def __init__(self) -> None:
            super().__init__()
            self.student, self.gaps = _network(), []

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                with torch.no_grad():
                    self.gaps.append((teacher(x).float(), len(x)))
            logits: Tensor = self.student(x)
            return logits

    watched = Watched()
    _train(watched, recipe, augmentation=augmentation, teacher=known)
    seen = torch.cat([answers for answers, _ in watched.gaps])
    assert len(seen) == 2 * 96
    for epoch in (1, 2):  # the same answers, in the order that the images were drawn in
        expected = known.of(epoch, torch.arange(96))[1].float()
        given = seen[(epoch - 1) * 96 : epoch * 96]
        assert torch.allclose(given.sort(0).values, expected.sort(0).values, atol=0.05)
    assert not torch.equal(known.moves[1], known.moves[2])


def test_evaluation_puts_the_mode_back() -> None:
    network = _network().train()
    accuracy(network, _images(10), batch_size=3)
    assert network.training
    assert accuracy(network, _images(10), batch_size=3) == accuracy(network, _images(10))
