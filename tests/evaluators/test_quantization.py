import copy
import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.pruning.masks import copy_network
from slimfront.evaluators.quantization import QuantizationPhase, fine_tuning, path_of
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.training.context import Hook, TrainContext
from slimfront.evaluators.training.loop import accuracy, train
from slimfront.models import build, layer_bits
from slimfront.models.network import weight_layers
from slimfront.models.quantization.precision import PrecisionError, assign_bits
from slimfront.models.quantization.quantizers import quantized_layers
from slimfront.spaces import presets
from slimfront.spaces.candidate import Bits
from torch import nn
from torch.nn.utils import prune

DIGITS = presets["digits"]


@pytest.fixture(scope="module")
def data():
    return search_data("digits")


@pytest.fixture(scope="module")
def common(data):
    recipe = dataclasses.replace(DIGITS.recipe, epochs=8, batch_size=32)
    return TrainContext(data.train, None, recipe, DIGITS.augmentation, data.classes, seed=0)


@pytest.fixture(scope="module")
def trained(data, common):
    network = build(DIGITS.architecture, data.classes, channels=1, seed=0)
    for _ in train(network, common):
        pass
    return network


def run(network, data, common, bits, validation=False, **options):
    network = copy_network(network)
    context = dataclasses.replace(common, validation=data.validation if validation else None, **options)
    return network, list(QuantizationPhase(bits).run(network, context))


def test_epochs_are_numbered_through_the_path_and_the_network_is_deployed(trained, data, common):
    bits = Bits.uniform(3, 3, outer=8, epochs=4, path=(8, 4))
    network, epochs = run(trained, data, common, bits, validation=True)
    assert [(epoch.stage, epoch.epoch, epoch.epochs) for epoch in epochs] == [("bits", n, 4) for n in (1, 2, 3, 4)]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    wanted = layer_bits(network, bits)
    for name, layer in quantized_layers(network).items():
        assert (layer.weight_bits, layer.activation_bits) == wanted[name]
        assert layer.frozen
        for number in (layer.bias, layer.weight_step(), layer.input_step()):
            assert torch.equal(number, number.half().float())
    assert accuracy(network, data.validation) > 0.8
    assert abs(accuracy(network, data.validation) - epochs[-1].accuracy) < 0.03


def test_eight_bits_without_training_cost_little_and_two_bits_are_learned(trained, data, common):
    reference = accuracy(trained, data.validation)
    rounded, epochs = run(trained, data, common, Bits.uniform(8, 8))
    assert epochs == []
    assert accuracy(rounded, data.validation) > reference - 0.03
    blunt = accuracy(run(trained, data, common, Bits.uniform(2, 2, outer=8))[0], data.validation)
    learned = accuracy(run(trained, data, common, Bits.uniform(2, 2, outer=8, epochs=4))[0], data.validation)
    assert learned > blunt + 0.1


def test_half_precision_rounds_everything(trained, data, common):
    network, _ = run(trained, data, common, Bits.uniform(16, 16))
    for layer in weight_layers(network).values():
        for number in (layer.weight, layer.bias):
            assert torch.equal(number, number.half().float())
    assert accuracy(network, data.validation) > accuracy(trained, data.validation) - 0.01


def test_the_score_before_training_is_the_score_after(trained, data, common):
    bits = Bits(weights=(3, 2), activations=(4, 2), stem=8, classifier=16, ternary=True)
    plain = copy.deepcopy(trained)
    assign_bits(plain, bits)
    expected = score(plain, data.input_shape)
    found = score(run(trained, data, common, bits)[0], data.input_shape)
    assert found.score == expected.score
    assert found.strict_score == expected.strict_score
    assert found.macs == expected.macs


@pytest.mark.parametrize("width", [1, 4])
def test_masks_survive_training_averaging_and_deployment(trained, data, common, width):
    network = copy.deepcopy(trained)
    masks = {}
    for name, layer in weight_layers(network).items():
        mask = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(1)) > 0.5
        masks[name] = mask
        prune.custom_from_mask(layer, "weight", mask.float())
    stored = score(network, data.input_shape).stored_weights
    recipe = dataclasses.replace(common.recipe, averaging=0.9)
    network, _ = run(
        network, data, dataclasses.replace(common, recipe=recipe), Bits.uniform(width, width, outer=8, epochs=1)
    )
    for name, layer in weight_layers(network).items():
        assert (layer.weight[~masks[name]] == 0).all()
        assert not layer.integers[~masks[name]].any()
    assert score(network, data.input_shape).stored_weights == stored


def test_a_finished_phase_is_replayed_from_its_files(trained, data, common, tmp_path):
    bits = Bits.uniform(2, 2, outer=8, epochs=2, path=(4,))
    file = tmp_path / "bits.safetensors"
    first, epochs = run(trained, data, common, bits, checkpoint=file)
    again, replayed = run(trained, data, common, bits, checkpoint=file)
    assert replayed == epochs
    batch = torch.randn(4, *data.input_shape)
    assert torch.equal(first(batch), again(batch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bits-1.safetensors", "bits-4.safetensors"]


def test_the_same_seed_gives_the_same_network(trained, data, common):
    bits = Bits.uniform(3, 3, outer=8, epochs=1)
    batch = torch.randn(4, *data.input_shape)
    assert torch.equal(run(trained, data, common, bits)[0](batch), run(trained, data, common, bits)[0](batch))


def test_teacher_and_hooks_take_part(trained, data, common):
    class Count(Hook):
        steps = 0

        def after_step(self, network, progress):
            self.steps += 1

    hook = Count()
    recipe = dataclasses.replace(common.recipe, teacher="digits", distillation=0.5)
    _, epochs = run(
        trained,
        data,
        common,
        Bits.uniform(4, 4, epochs=1),
        recipe=recipe,
        teacher=copy.deepcopy(trained),
        hooks=(hook,),
    )
    assert len(epochs) == 1
    assert hook.steps == len(data.train) // recipe.batch_size


def test_bits_that_do_not_fit_are_refused(trained, data, common):
    with pytest.raises(PrecisionError, match="names 'stages"):
        run(trained, data, common, Bits(layers=(("stages.7", 4, 4),)))


@given(
    width=st.sampled_from([1, 2, 4, 8, 16, 32]),
    path=st.sets(st.integers(1, 8)).map(lambda widths: tuple(sorted(widths, reverse=True))),
    epochs=st.integers(0, 30),
)
def test_paths_spend_exactly_the_epochs(width, path, epochs):
    steps = path_of(Bits.uniform(width, width, epochs=epochs, path=path))
    assert sum(share for _, share in steps) == epochs
    assert steps[-1][0] == 1
    assert all(share > 0 for _, share in steps[:-1])
    assert [w for w, _ in steps[:-1]] == [w for w in path if w > width][-(len(steps) - 1) or len(path) :]


def test_weight_decay_falls_with_the_bits():
    recipe = DIGITS.recipe
    decays = [fine_tuning(recipe, {"a": (width, 8)}).weight_decay for width in (8, 4, 3, 2, 1)]
    assert decays == sorted(decays, reverse=True)
    assert decays[0] == recipe.weight_decay
    assert decays[-1] == 0
