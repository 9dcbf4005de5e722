"""Bits of a candidate on the layers of a network."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_architectures import architectures
from slimfront.models import assign_bits, build, layer_bits, weight_layers
from slimfront.models.quantization.precision import PrecisionError
from slimfront.spaces import presets
from slimfront.spaces.candidate import BIT_WIDTHS, Architecture, Bits


def test_stages_stem_classifier_and_head_take_their_own_entries() -> None:
    data = presets["resnet8"].architecture.to_dict() | {"head_width": 32}
    network = build(Architecture.from_dict(data), classes=10)
    bits = layer_bits(network, Bits(weights=(4, 3, 2), activations=(8, 7, 6), stem=16, classifier=5))
    assert list(bits) == list(weight_layers(network))
    assert bits["stem.conv"] == (16, 16)
    assert bits["classifier"] == (5, 5)
    assert bits["stages.0.0.conv1"] == (4, 8)
    assert bits["stages.1.0.conv2"] == (3, 7)
    assert bits["stages.1.0.shortcut.conv"] == (3, 7)
    assert bits["stages.2.0.conv1"] == (2, 6)
    assert bits["head.conv"] == (2, 6)


def test_one_entry_serves_all_stages_and_single_layers_override() -> None:
    network = build(presets["resnet8"].architecture, classes=10)
    bits = layer_bits(network, Bits.uniform(4, 8, outer=8, layers=(("stages.1.0.conv1", 2, 3), ("stem.conv", 32, 32))))
    assert bits["stages.0.0.conv1"] == bits["stages.2.0.conv2"] == (4, 8)
    assert bits["stages.1.0.conv1"] == (2, 3)
    assert bits["stem.conv"] == (32, 32)


def test_bits_that_do_not_fit_are_refused() -> None:
    network = build(presets["resnet8"].architecture, classes=10)
    with pytest.raises(PrecisionError, match=r"bits\.layers names 'nowhere', but .*stem\.conv.*classifier"):
        layer_bits(network, Bits(layers=(("nowhere", 4, 4),)))
    with pytest.raises(PrecisionError, match=r"bits\.activations has 2 entries, but needs 1 or 3"):
        layer_bits(network, Bits(activations=(4, 4)))


@settings(max_examples=20, deadline=None)
@given(architectures(), st.sampled_from(BIT_WIDTHS), st.sampled_from(BIT_WIDTHS))
def test_assigning_reaches_every_layer(architecture: Architecture, weights: int, activations: int) -> None:
    network = build(architecture, classes=3)
    assign_bits(network, Bits.uniform(weights, activations))
    for name, layer in weight_layers(network).items():
        expected = (weights, weights) if name in ("stem.conv", "classifier") else (weights, activations)
        assert (layer.weight_bits, layer.activation_bits) == expected
        assert type(layer.weight_bits) is int
    assert "weight_bits" not in " ".join(network.state_dict())
