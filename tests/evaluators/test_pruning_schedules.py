"""Schedules: who is cut when, epochs that add up, and a phase that resumes."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.pruning.masks import finalise
from slimfront.evaluators.pruning.phase import PruningPhase, fine_tuning
from slimfront.evaluators.pruning.report import Report
from slimfront.evaluators.pruning.schedules import layer_ratios, plan, share_epochs, share_gone
from slimfront.evaluators.pruning.sensitivity import sensitivity
from slimfront.evaluators.pruning.slimming import SlimmingPenalty
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.training.augmentation import normalise
from slimfront.evaluators.training.context import Hook, TrainContext
from slimfront.evaluators.training.loop import Epoch
from slimfront.models import build
from slimfront.spaces import Augmentation, Recipe, Sparsity, sparsity
from slimfront.spaces.criteria import METHODS
from test_pruning_groups import ARCHITECTURES, SHAPE, network_of
from torch import nn

RECIPE = Recipe(learning_rate=0.05, weight_decay=1e-3, batch_size=16, averaging=0.9)
AUGMENTATION = Augmentation(crop=1)


def images(count: int = 48) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(0, 5, (count,), generator=generator))


def run(
    network: nn.Module,
    step: Sparsity,
    *,
    checkpoint: Path | None = None,
    stop_after: int | None = None,
    hooks: tuple[Hook, ...] = (),
    recipe: Recipe = RECIPE,
) -> tuple[list[Epoch], Report | None]:
    context = TrainContext(
        images(), images(10), recipe, AUGMENTATION, classes=5, seed=4, checkpoint=checkpoint, hooks=hooks
    )
    phase = PruningPhase(step).run(network, context)
    epochs: list[Epoch] = []
    while True:
        try:
            epochs.append(next(phase))
        except StopIteration as end:
            return epochs, end.value
        if stop_after is not None and len(epochs) == stop_after:
            phase.close()
            return epochs, None


@pytest.mark.parametrize("family", ["padding", "inverted", "dense"])
@pytest.mark.parametrize("name", METHODS.names)
def test_every_method_on_every_family(name: str, family: str) -> None:
    network = network_of(family)
    dense = score(network, SHAPE)
    epochs, report = run(network, sparsity(name, 0.5, epochs=2))
    assert report is not None
    assert report.met
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert {epoch.epochs for epoch in epochs} == {2}
    assert {epoch.stage for epoch in epochs} == {METHODS[name].granularity}
    found = score(network, SHAPE)
    assert found.score < dense.score
    if METHODS[name].granularity == "weights":
        assert abs(found.stored_weights - dense.weights / 2) <= 1
        assert found.macs == dense.macs
        finalise(network)
        zeros = sum(int((layer.weight == 0).sum()) for layer in network.modules() if isinstance(layer, nn.Conv2d))
        assert zeros > 0
    else:
        assert found.macs < 0.6 * dense.macs
    with torch.no_grad():
        assert network.eval()(torch.rand(2, *SHAPE)).isfinite().all()


@pytest.mark.parametrize("name", METHODS.names)
def test_ratio_zero_changes_nothing(name: str) -> None:
    network = network_of("padding")
    inputs = torch.rand(2, *SHAPE)
    with torch.no_grad():
        logits = network(inputs)
        epochs, report = run(network, sparsity(name, 0.0, epochs=3))
        assert epochs == []
        assert report is not None
        assert (report.removed, report.met) == (0, True)
        assert torch.equal(network(inputs), logits)
    assert network.state_dict().keys() == network_of("padding").state_dict().keys()


@given(st.integers(0, 30), st.integers(1, 12), st.sampled_from(["once", "iterative", "gradual", "layerwise"]))
def test_epochs_add_up_and_the_last_round_recovers(epochs: int, rounds: int, schedule: str) -> None:
    step = Sparsity("filters", "l1", "layer", schedule, 0.5, epochs=epochs, rounds=rounds)
    layers = [f"stages.0.{number}" for number in range(7)]
    parts = plan(step, layers)
    assert sum(part.epochs for part in parts) == epochs
    assert parts[-1].progress == 1
    assert parts[-1].epochs >= min(1, epochs)
    assert [part.only for part in parts] == (layers if schedule == "layerwise" else [None] * len(parts))
    assert max(share_epochs(epochs, rounds)) - min(share_epochs(epochs, rounds)) <= 1


@given(st.floats(0, 0.99), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["once", "iterative", "gradual"]))
def test_what_is_gone_grows_to_the_ratio(ratio: float, one: float, other: float, schedule: str) -> None:
    early, late = sorted((one, other))
    assert share_gone(schedule, ratio, early) <= share_gone(schedule, ratio, late) + 1e-12
    assert share_gone(schedule, ratio, 1.0) == ratio
    if schedule != "once":
        assert share_gone(schedule, ratio, 0.0) == 0


def test_gradual_follows_the_cubic_curve() -> None:
    seen: list[tuple[float, float]] = []

    class Watch(Hook):
        def after_step(self, network: nn.Module, progress: float) -> None:
            counted = score(network, SHAPE)
            seen.append((progress, 1 - counted.stored_weights / counted.weights))

    network = network_of("padding")
    run(network, sparsity("gradual", 0.8, epochs=8), hooks=(Watch(),))
    total = score(network, SHAPE).weights
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    for progress, share in seen:
        # The hook looks before the masks of its step are updated: one step of 24 and one update of 40 behind.
        ahead, behind = min(1.0, progress / 0.75), max(0.0, (progress - 1 / 24) / 0.75 - 1 / 40)
        lower = 0.8 * (1 - (1 - min(1.0, behind)) ** 3)
        assert lower - 1 / total <= share <= 0.8 * (1 - (1 - ahead) ** 3) + 1 / total
    assert abs(shares[-1] - 0.8) <= 1 / total


@pytest.mark.parametrize("name", ["gradual", "taylor", "li_filters"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_phase_resumes_where_it_broke_off(name: str, stop_after: int, tmp_path: Path) -> None:
    step = sparsity(name, 0.6, epochs=4)
    whole = network_of("padding")
    wanted, _ = run(whole, step)
    run(network_of("padding"), step, checkpoint=tmp_path / "phase.safetensors", stop_after=stop_after)
    resumed = network_of("padding")
    epochs, report = run(resumed, step, checkpoint=tmp_path / "phase.safetensors")
    assert report is not None
    assert report.met
    assert [(epoch.epoch, epoch.loss, epoch.accuracy) for epoch in epochs] == [
        (epoch.epoch, epoch.loss, epoch.accuracy) for epoch in wanted
    ]
    for name_, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name_], tensor), name_


def test_layer_after_layer_sees_what_was_cut_before() -> None:
    network = network_of("projection")
    seen: list[int] = []

    class Watch(Hook):
        def after_step(self, network: nn.Module, progress: float) -> None:
            seen.append(sum(parameter.numel() for parameter in network.parameters()))

    run(network, sparsity("thinet", 0.5, epochs=6), hooks=(Watch(),))
    assert len(set(seen)) == 4  # three epochs after the last of the six cuts, three spread over the others
    assert seen.count(min(seen)) == len(seen) / 2
    assert seen == sorted(seen, reverse=True)


def test_fine_tuning_lowers_the_learning_rate_only() -> None:
    for optimizer, factor in (("sgd", 0.2), ("adamw", 0.3), ("muon", 0.3)):
        recipe = Recipe(optimizer=optimizer, learning_rate=0.01)
        assert fine_tuning(recipe) == dataclasses.replace(recipe, learning_rate=0.01 * factor)


def test_ratios_by_stage_cover_stem_and_head() -> None:
    step = Sparsity("filters", "l1", "stage", "once", ratios=(0.1, 0.5))
    names = ["stem.conv", "stages.0.0.conv1", "stages.1.0.conv1", "head.conv", "classifier"]
    assert list(layer_ratios(step, names).values()) == [0.1, 0.1, 0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match=r"'stages\.2\.0\.conv1' has none in \(0\.1, 0\.5\)"):
        layer_ratios(step, ["stages.2.0.conv1"])


def test_the_slimming_penalty_is_the_sum_of_scales() -> None:
    network = network_of("dense")
    scales = [layer.weight.abs().sum() for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    penalty = SlimmingPenalty(0.01).penalty(network)
    assert penalty is not None
    torch.testing.assert_close(penalty, 0.01 * torch.stack(scales).sum())
    penalty.backward()
    assert SlimmingPenalty(0.01).penalty(nn.Linear(2, 2)) is None


@pytest.mark.parametrize("name", ["random", "li_filters"])
def test_sensitivity_cuts_one_layer_at_a_time_on_a_copy(name: str) -> None:
    network = build(ARCHITECTURES["padding"], 5, seed=1).eval()
    judged = images(100)
    with torch.no_grad():
        logits = network(normalise(judged.images))
        network.classifier.bias -= logits.mean(0)  # a network that tells images apart ...
        judged.labels.copy_((logits - logits.mean(0)).argmax(1))  # ... and is right
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    rows = list(sensitivity(network, sparsity(name, 0.5), (0.0, 0.9), images(), judged, seed=0))
    assert len(rows) == 2 * (12 if name == "random" else 8)
    assert {row.accuracy for row in rows if row.ratio == 0} == {1.0}
    assert len({row.accuracy for row in rows}) > 3
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_every_round_trains_the_parameters_that_there_are() -> None:
    # An optimizer or an average made for the old shapes would fail or leave the new parameters untouched.
    network = network_of("dense")
    weights: list[tuple[int, float]] = []

    class Watch(Hook):
        def after_step(self, network: nn.Module, progress: float) -> None:
            weight = network.get_submodule("classifier").get_parameter("weight")
            weights.append((weight.shape[1], float(weight.detach().abs().sum())))

    step = Sparsity("filters", "l1", "global", "iterative", 0.6, epochs=3, rounds=3)
    run(network, step, hooks=(Watch(),), recipe=dataclasses.replace(RECIPE, optimizer="adamw", learning_rate=0.01))
    sizes = sorted({size for size, _ in weights}, reverse=True)
    assert len(sizes) == 3
    for size in sizes:
        assert len({value for there, value in weights if there == size}) > 1
