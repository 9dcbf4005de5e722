"""Networks: exact sizes, shapes, shortcuts, initialisation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_architectures import architectures
from slimfront.models import build, weight_layers
from slimfront.models.blocks import DenseLayer, InvertedBlock, PaddingShortcut
from slimfront.spaces import presets
from slimfront.spaces.candidate import Architecture
from torch import nn

few = settings(max_examples=25, deadline=None)


def residual(**changes: Any) -> Architecture:
    values: dict[str, Any] = {
        "family": "residual",
        "stem_width": 4,
        "stem_stride": 1,
        "widths": (4, 8),
        "depths": (1, 1),
        "strides": (1, 2),
        "shortcut": "projection",
    }
    return Architecture(**(values | changes))


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 11_173_962), ("resnet20", 269_722), ("resnet8", 78_042)])
def test_presets_that_the_field_knows_have_their_exact_size(name: str, parameters: int) -> None:
    network = build(presets[name].architecture, classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@few
@given(architectures(), st.sampled_from((1, 3)), st.sampled_from((7, 8, 16)))
def test_every_architecture_gives_logits_and_gradients(architecture: Architecture, channels: int, size: int) -> None:
    network = build(architecture, classes=5, channels=channels, seed=0)
    logits = network(torch.randn(3, channels, size, size))
    assert logits.shape == (3, 5)
    assert torch.isfinite(logits).all()
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    parts = {name.partition(".")[0] for name in weight_layers(network)}
    assert parts <= {"stem", "stages", "head", "classifier"}


@few
@given(architectures())
def test_strides_divide_the_image_and_round_up(architecture: Architecture) -> None:
    network = build(architecture, classes=2, seed=0).eval()
    x = network.stem(torch.zeros(1, 3, 13, 13))
    size = -(-13 // architecture.stem_stride)
    assert x.shape[2:] == (size, size)
    for stage, stride in zip(network.stages, architecture.strides, strict=True):
        x, size = stage(x), -(-size // stride)
        assert x.shape[2:] == (size, size)


def test_eight_halvings_of_a_small_image_end_at_one_pixel() -> None:
    for name in ("small_residual", "small_inverted", "small_dense"):
        data = presets[name].architecture.to_dict()
        data |= {"stem_stride": 4, "widths": [4] * 8, "depths": [1] * 8, "strides": [2] * 8}
        data |= {key: [data[key][0]] * 8 for key in ("kernels", "expansions") if data[key]}
        assert build(Architecture.from_dict(data), classes=3)(torch.zeros(2, 3, 8, 8)).shape == (2, 3)


def test_memory_format_changes_no_shape_and_hardly_a_digit() -> None:
    for name in ("small_residual", "small_inverted", "small_dense"):
        network = build(presets[name].architecture, classes=10, seed=0).eval()
        images = torch.randn(2, 3, 32, 32)
        plain = network(images)
        assert torch.allclose(network(images.to(memory_format=torch.channels_last)), plain, atol=1e-4)


def test_fewer_than_two_classes_and_no_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="classes must be at least 2, but got 1"):
        build(residual(), classes=1)
    with pytest.raises(ValueError, match="channels must be at least 1, but got 0"):
        build(residual(), classes=2, channels=0)


class TestInitialisation:
    @few
    @given(architectures(), st.integers(0, 2**32))
    def test_the_seed_decides_and_other_random_numbers_go_on(self, architecture: Architecture, seed: int) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        first = build(architecture, classes=4, seed=seed).state_dict()
        assert torch.equal(torch.rand(3), expected)
        second = build(architecture, classes=4, seed=seed).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_other_seeds_give_other_weights_and_none_takes_torchs_own(self) -> None:
        one, two = (build(residual(), classes=4, seed=seed).stem.conv.weight for seed in (1, 2))
        assert not torch.equal(one, two)
        torch.manual_seed(7)
        drawn = build(residual(), classes=4).stem.conv.weight
        assert not torch.equal(drawn, build(residual(), classes=4).stem.conv.weight)
        torch.manual_seed(7)
        assert torch.equal(drawn, build(residual(), classes=4).stem.conv.weight)

    def test_signals_keep_their_size_through_depthwise_convolutions(self) -> None:
        layer = build(presets["small_inverted"].architecture, classes=10, seed=0).stages[0][0].depthwise.conv
        assert layer.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.1)


class TestPaddingShortcut:
    def test_it_is_option_a(self) -> None:
        x = torch.randn(2, 4, 6, 6)
        out = PaddingShortcut(4, 8, stride=2)(x)
        assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
        assert not out[:, :2].any()
        assert not out[:, 6:].any()

    def test_a_narrower_output_takes_the_channels_in_the_middle(self) -> None:
        x = torch.randn(2, 6, 4, 4)
        assert torch.equal(PaddingShortcut(6, 2, stride=1)(x), x[:, 2:4])

    @few
    @given(st.data())
    def test_removed_channels_are_those_of_the_whole_shortcut(self, data: st.DataObject) -> None:
        inputs, outputs = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9))
        shortcut = PaddingShortcut(inputs, outputs, stride=2)
        gone = data.draw(st.sets(st.integers(0, inputs - 1), max_size=inputs - 1))
        cut = data.draw(st.sets(st.integers(0, outputs - 1), max_size=outputs - 1))
        x = torch.randn(1, inputs, 5, 5)
        x[:, sorted(gone)] = 0
        expected = shortcut(x)[:, [channel for channel in range(outputs) if channel not in cut]]
        shortcut.remove_inputs(gone)
        shortcut.remove_outputs(cut)
        left = x[:, [channel for channel in range(inputs) if channel not in gone]]
        assert torch.equal(shortcut(left), expected)

    def test_a_copy_and_a_loaded_one_do_the_same(self) -> None:
        shortcut = PaddingShortcut(4, 6, stride=1)
        shortcut.remove_inputs([1])
        shortcut.remove_outputs([0, 4])
        x = torch.randn(1, 3, 2, 2)
        loaded = PaddingShortcut(3, 4, stride=1)  # would pad plainly
        loaded.load_state_dict(shortcut.state_dict())
        assert torch.equal(loaded(x), shortcut(x))
        assert torch.equal(copy.deepcopy(shortcut)(x), shortcut(x))


class TestFamilies:
    def test_a_residual_block_without_change_of_shape_has_a_plain_shortcut(self) -> None:
        network = build(residual(depths=(2, 2)), classes=2)
        plain = [isinstance(block.shortcut, nn.Identity) for stage in network.stages for block in stage]
        assert plain == [True, True, False, True]

    def test_an_inverted_block_adds_its_input_only_where_shape_allows(self) -> None:
        x = torch.randn(2, 4, 6, 6)
        for outputs, stride, adds in ((4, 1, True), (4, 2, False), (5, 1, False)):
            block = InvertedBlock(4, outputs, stride, kernel=3, expansion=2).eval()
            nn.init.zeros_(block.project.conv.weight)
            assert torch.equal(block(x), x) if adds else not block(x).any()

    def test_expansion_one_has_no_expanding_convolution(self) -> None:
        assert list(weight_layers(InvertedBlock(4, 4, 1, kernel=3, expansion=1))) == [
            "depthwise.conv",
            "project.conv",
        ]

    def test_a_dense_layer_appends_its_growth_to_an_untouched_input(self) -> None:
        x = torch.randn(2, 5, 4, 4)
        before = x.clone()
        out = DenseLayer(5, growth=3)(x)
        assert out.shape == (2, 8, 4, 4)
        assert torch.equal(out[:, :5], before)
        assert torch.equal(x, before)

    def test_dense_transitions_compress_and_halve(self) -> None:
        architecture = Architecture(
            "dense",
            stem_width=6,
            stem_stride=1,
            widths=(4, 4),
            depths=(2, 1),
            strides=(2, 2),
            compression=0.5,
        )
        network = build(architecture, classes=2)
        x = network.stem(torch.zeros(1, 3, 16, 16))
        x = network.stages[0](x)
        assert x.shape == (1, 6 + 2 * 4, 8, 8)  # the first stage halves without a transition
        assert network.stages[1](x).shape == (1, 14 // 2 + 4, 4, 4)
