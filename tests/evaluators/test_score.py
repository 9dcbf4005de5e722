"""The score: the formula, what is counted, what is refused, and what is left behind (nothing)."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_architectures import architectures
from slimfront.evaluators.scoring.score import ScoreError, formula, score, stored_weights
from slimfront.evaluators.scoring.strict import index_bits, layer_storage_bits, weight_storage
from slimfront.models import assign_bits, build, fold_batch_norm, weight_layers
from slimfront.spaces import presets
from slimfront.spaces.candidate import BIT_WIDTHS, Architecture, Bits
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.flop_counter import FlopCounterMode

IMAGE = (3, 16, 16)
few = settings(max_examples=20, deadline=None)
bit_widths = st.sampled_from(BIT_WIDTHS)


class SubclassedConv(nn.Conv2d):
    """A convolution that no table of exact types knows."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.round(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class TestFormula:
    def test_resnet18_in_half_precision_scores_1_99(self) -> None:
        assert round(formula(11.17e6, 555.4e6, q_w=16, q_a=16), 2) == 1.99
        assert round(formula(11.17e6, 555.4e6), 2) == 3.98

    def test_published_results(self) -> None:
        assert formula(269_722, 40.55e6, q_w=4, q_a=4) == pytest.approx(0.0241, abs=5e-5)
        assert formula(269_722, 40.55e6, p_s=0.05, p_u=0.10, q_w=1, q_a=4) == pytest.approx(0.0185, abs=1e-4)
        assert formula(268_336, 40.55e6, q_w=1, q_a=32) == pytest.approx(0.146, abs=1e-3)  # weights only: no use

    def test_every_term_by_hand(self) -> None:
        value = formula(5.6e6, 2.8e8, p_s=0.25, p_u=0.5, q_w=4, q_a=8)
        assert value == pytest.approx(0.25 * 4 / 32 + 0.75 * 8 / 32)
        assert formula(100, 1000, q_w=32, reference_weights=50, reference_macs=500) == pytest.approx(4)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"p_s": 0.4, "p_u": 0.7}, r"p_s \+ p_u must be at most 1: .* but got 1\.1"),
            ({"p_s": -0.1}, "p_s must be a share"),
            ({"p_u": 1.5}, "p_u must be a share"),
            ({"q_w": 0.5}, "q_w must be a number of bits in .* but got 0.5"),
            ({"q_a": 64}, "q_a must be a number of bits"),
            ({"q_a": math.nan}, "q_a must be"),
            ({"w": -1}, "w must be at least 0"),
            ({"f": math.inf}, "f must be at least 0, but got inf"),
            ({"reference_macs": 0}, "reference_macs must be above 0"),
        ],
    )
    def test_impossible_numbers_are_refused(self, arguments: dict[str, float], message: str) -> None:
        with pytest.raises(ScoreError, match=message) as error:
            formula(**({"w": 100, "f": 1000} | arguments))
        assert "\n" not in str(error.value)

    @given(st.integers(0, 100))
    def test_shares_that_add_up_to_one_are_fine(self, percent: int) -> None:
        p_s = percent / 100
        value = formula(5.6e6, 2.8e8, p_s=p_s, p_u=1 - p_s, q_w=8, q_a=8)
        assert value == pytest.approx((1 - p_s) * 8 / 32)

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), bit_widths, bit_widths)
    def test_pruning_more_never_costs_more(self, p_s: float, p_u: float, more: float, q_w: int, q_a: int) -> None:
        p_u *= 1 - p_s
        room = (1 - p_s - p_u) * more
        before = formula(1e6, 1e8, p_s, p_u, q_w, q_a)
        assert 0 <= formula(1e6, 1e8, p_s, min(1 - p_s, p_u + room), q_w, q_a) <= before + 1e-12
        assert 0 <= formula(1e6, 1e8, min(1 - p_u, p_s + room), p_u, q_w, q_a) <= before + 1e-12


class TestPresets:
    @pytest.mark.parametrize(
        ("name", "parameters", "macs"),
        [("resnet18", 11_173_962, 555_422_720), ("resnet20", 269_722, 40_551_040), ("resnet8", 78_042, 12_501_632)],
    )
    def test_counts(self, name: str, parameters: int, macs: int) -> None:
        result = score(build(presets[name].architecture, classes=10), (3, 32, 32))
        assert (result.parameters, result.macs) == (parameters, macs)

    def test_resnet18_at_16_bits_scores_1_99(self) -> None:
        network = build(presets["resnet18"].architecture, classes=10)
        assign_bits(network, Bits.uniform(16, 16))
        assert round(score(network, (3, 32, 32)).score, 2) == 1.99

    def test_it_is_fast(self) -> None:
        network = build(presets["resnet18"].architecture, classes=10)
        score(network, (3, 32, 32))
        start = time.perf_counter()
        score(network, (3, 32, 32))
        assert time.perf_counter() - start < 3  # 0.1 s when nothing else runs


class TestLayers:
    def test_a_convolution_and_a_classifier_by_hand(self) -> None:
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        )
        network[0].weight_bits, network[0].activation_bits = 4, 8
        result = score(network, (3, 4, 4))
        conv, linear = result.layers
        assert (conv.name, conv.kind, conv.weights, conv.stored_weights) == ("0", "conv", 216, 216)
        assert conv.macs == 2 * 2 * 8 * 27
        assert (conv.weight_bits, conv.activation_bits) == (4, 8)
        assert (linear.name, linear.kind, linear.weights, linear.macs) == ("4", "linear", 40, 40)
        assert (linear.weight_bits, linear.activation_bits) == (32, 32)
        assert (result.parameters, result.weights, result.macs) == (269, 256, 904)
        assert result.score_params == pytest.approx((216 * 4 / 32 + 40) / 5.6e6)
        assert result.score_ops == pytest.approx((864 * 8 / 32 + 40) / 2.8e8)
        assert result.score == pytest.approx(result.score_params + result.score_ops)
        # 4-bit weights, 8 biases, 8 weight scales and 1 input scale of 16 bits; then 40 weights and 5 biases of 32.
        assert result.strict_bits == 216 * 4 + (8 + 8 + 1) * 16 + (40 + 5) * 32
        assert result.strict_score == pytest.approx(result.strict_bits / 32 / 5.6e6 + result.score_ops)

    def test_the_example_of_the_documentation(self) -> None:
        conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        rest = (nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
        network = nn.Sequential(conv, *rest)
        for layer in weight_layers(network).values():
            layer.weight_bits = layer.activation_bits = 4
        result = score(network, (3, 32, 32))
        assert (result.weights, result.macs, result.strict_bits) == (296, 221_264, 1_792)
        assert f"{result.score:.7f} {result.strict_score:.7f}" == "0.0001054 0.0001088"
        prune.random_unstructured(conv, "weight", 0.5)
        masked = score(network, (3, 32, 32))
        assert result.strict_bits - masked.strict_bits == 864 - 648
        assert masked.score_ops == result.score_ops

    def test_groups_dilation_and_two_uses_of_one_layer(self) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.depthwise = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)

            def forward(self, x: Tensor) -> Tensor:
                return self.depthwise(self.depthwise(x))

        result = score(Twice(), (4, 5, 5))
        assert (result.weights, result.macs) == (36, 2 * 25 * 36)

    @few
    @given(architectures(), bit_widths, bit_widths)
    @example(presets["resnet20"].architecture, 3, 4)
    def test_the_sum_over_layers_is_the_formula(self, architecture: Architecture, q_w: int, q_a: int) -> None:
        network = build(architecture, classes=5)
        for layer in weight_layers(network).values():
            layer.weight_bits, layer.activation_bits = q_w, q_a
        result = score(network, IMAGE)
        assert result.score == pytest.approx(formula(result.weights, result.macs, q_w=q_w, q_a=q_a))
        with FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, *IMAGE))
        assert 2 * result.macs == counter.get_total_flops()

    @few
    @given(architectures(), st.floats(0, 0.9), bit_widths)
    def test_masked_weights_are_the_formulas_unstructured_share(
        self, architecture: Architecture, share: float, q_w: int
    ) -> None:
        network = build(architecture, classes=5)
        assign_bits(network, Bits.uniform(q_w, q_w))
        for layer in weight_layers(network).values():
            prune.random_unstructured(layer, "weight", share)
        result = score(network, IMAGE)
        p_u = 1 - result.stored_weights / result.weights
        assert result.score == pytest.approx(formula(result.weights, result.macs, p_u=p_u, q_w=q_w, q_a=q_w))

    @few
    @given(architectures(), bit_widths, bit_widths)
    def test_strict_is_at_least_the_score_and_the_same_once_folded(
        self, architecture: Architecture, q_w: int, q_a: int
    ) -> None:
        network = build(architecture, classes=5)
        assign_bits(network, Bits.uniform(q_w, q_a))
        before = score(network, IMAGE)
        after = score(fold_batch_norm(network), IMAGE)
        assert before.strict_score >= before.score
        assert after.layers == before.layers
        assert after.strict_bits == before.strict_bits
        assert after.score == before.score

    def test_zeros_without_a_mask_count_and_removed_masks_are_remembered(self) -> None:
        layer = nn.Linear(4, 4)
        nn.init.zeros_(layer.weight)
        assert stored_weights(layer) == 16
        layer.stored_weights = 5
        assert score(nn.Sequential(nn.Flatten(), layer), (1, 2, 2)).stored_weights == 5
        layer.stored_weights = 17
        with pytest.raises(ScoreError, match=r"1\.stored_weights must be in 0\.\.16"):
            score(nn.Sequential(nn.Flatten(), layer), (1, 2, 2))

    def test_the_dictionary_is_json_with_the_promised_keys(self) -> None:
        result = json.loads(json.dumps(score(build(presets["resnet8"].architecture, 10), (3, 32, 32)).to_dict()))
        totals = {"parameters", "weights", "macs", "score", "score_params", "score_ops", "strict_score", "layers"}
        assert totals <= result.keys()
        keys = {"name", "kind", "weights", "stored_weights", "macs", "weight_bits", "activation_bits"}
        assert keys <= result["layers"][0].keys()

    def test_reference_values_are_settings(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
        result = score(network, (1, 2, 2), reference_weights=16, reference_macs=8)
        assert (result.score_params, result.score_ops) == (1, 2)

    @pytest.mark.parametrize("bits", [0, 33, 4.0, True, "4"])
    def test_impossible_bits_are_refused(self, bits: Any) -> None:
        network = nn.Sequential(nn.Conv2d(1, 1, 1))
        network[0].weight_bits = bits
        with pytest.raises(ScoreError, match=r"0\.weight_bits must be a whole number in 1\.\.32"):
            score(network, (1, 2, 2))


class TestCountedOrRefused:
    """Whatever a convolution is dressed as: counted or refused, never zero."""

    def test_subclassed(self) -> None:
        plain, own = nn.Conv2d(3, 4, 3), SubclassedConv(3, 4, 3)
        assert score(nn.Sequential(own), IMAGE).score == score(nn.Sequential(plain), IMAGE).score > 0

    def test_parametrized(self) -> None:
        class Halved(nn.Module):
            def forward(self, weight: Tensor) -> Tensor:
                return weight / 2

        plain, own = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        parametrize.register_parametrization(own, "weight", Halved())
        expected = score(nn.Sequential(plain), IMAGE)
        assert score(nn.Sequential(own), IMAGE).layers == expected.layers
        normed = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        assert score(nn.Sequential(normed), IMAGE).layers == expected.layers

    def test_a_network_that_is_a_single_layer(self) -> None:
        assert score(nn.Conv2d(3, 4, 3), IMAGE).macs == score(SubclassedConv(3, 4, 3), IMAGE).macs == 14 * 14 * 108

    def test_functional(self) -> None:
        class Hidden(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("kernel", torch.randn(4, 3, 3, 3))

            def forward(self, x: Tensor) -> Tensor:
                return F.conv2d(x, self.kernel)

        hidden, conv = score(nn.Sequential(Hidden(), nn.Conv2d(4, 2, 1)), IMAGE).layers[::-1]
        assert (hidden.name, hidden.kind, hidden.weights, hidden.macs) == ("0", "product", 108, 14 * 14 * 108)
        assert (conv.name, conv.weights, conv.macs) == ("1", 8, 14 * 14 * 8)

    def test_functional_with_the_weights_of_a_layer(self) -> None:
        class Borrowed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(3, 4, 3)

            def forward(self, x: Tensor) -> Tensor:
                return F.conv2d(x, self.conv.weight)

        result = score(Borrowed(), IMAGE)
        assert (result.weights, result.macs) == (108, 14 * 14 * 108)  # stored once

    def test_matrix_products(self) -> None:
        class Mixer(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x @ x.transpose(2, 3)

        result = score(nn.Sequential(nn.Conv2d(3, 4, 3), Mixer()), IMAGE)
        assert (result.layers[1].weights, result.layers[1].macs) == (0, 4 * 14 * 14 * 14)

    def test_a_layer_that_does_more_than_its_shape_says(self) -> None:
        class Double(nn.Conv2d):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) + super().forward(-x)

        with pytest.raises(ScoreError, match=r"0 \(Double\) does 42,336 multiply-adds .* needs 21,168"):
            score(nn.Sequential(Double(3, 4, 3)), IMAGE)

    def test_parameters_that_multiply_nothing_are_only_strict(self) -> None:
        network = build(presets["resnet8"].architecture, classes=10)
        before = score(network, (3, 32, 32))
        network.extra = nn.Parameter(torch.zeros(3))
        network.classifier.lora = nn.Parameter(torch.zeros(5))
        after = score(network, (3, 32, 32))
        assert after.layers == before.layers
        assert after.strict_bits == before.strict_bits + 8 * 32

    def test_declared_scales_are_known_and_only_strict(self) -> None:
        class Scale(nn.Module):
            score_kind = "scale"

            def __init__(self, size: int) -> None:
                super().__init__()
                self.step = nn.Parameter(torch.ones(size))

            def forward(self, x: Tensor) -> Tensor:
                return x

        without = score(nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3)), IMAGE)
        outside = score(nn.Sequential(Scale(3), nn.Conv2d(3, 4, 3)), IMAGE)
        conv = nn.Conv2d(3, 4, 3)
        conv.quantizer = Scale(5)
        inside = score(nn.Sequential(nn.Identity(), conv), IMAGE)
        assert without.score == outside.score == inside.score
        assert outside.strict_bits == without.strict_bits + 3 * 32
        assert inside.strict_bits == without.strict_bits + 5 * 32

    def test_norms_pooling_and_activations_count_nothing(self) -> None:
        conv = nn.Conv2d(3, 4, 3)
        more = nn.Sequential(
            conv, nn.BatchNorm2d(4), nn.LeakyReLU(), nn.AvgPool2d(2), nn.Softmax(1), nn.Upsample(scale_factor=2)
        )
        assert score(more, IMAGE).score == score(nn.Sequential(conv), IMAGE).score

    @pytest.mark.parametrize("shape", [(), (3, 0, 32), (3, 32.0, 32), 8, "ab"])
    def test_an_impossible_image_is_refused(self, shape: Any) -> None:
        with pytest.raises(ScoreError, match="input_shape must be"):
            score(nn.Conv2d(3, 4, 3), shape)

    def test_an_image_that_does_not_fit_is_refused_in_one_line(self) -> None:
        network = build(presets["resnet8"].architecture, classes=10)
        with pytest.raises(ScoreError, match=r"cannot take an image of shape \(1, 32, 32\)") as error:
            score(network, (1, 32, 32))
        assert "\n" not in str(error.value)
        assert score(network, (3, 32, 32)).macs == 12_501_632  # no trace of the failure


class TestNothingIsLeftBehind:
    def test_state_modes_hooks_attributes_and_random_numbers(self) -> None:
        network = build(presets["small_dense"].architecture, classes=10).train()
        network.stem.eval()  # a mixture, which has to stay one
        prune.l1_unstructured(network.classifier, "weight", 0.5)
        fired = []
        network.classifier.register_forward_hook(lambda *_: fired.append(1))

        def snapshot() -> list[Any]:
            return [
                (
                    name,
                    module.training,
                    sorted(module.__dict__),
                    list(module._buffers),
                    len(module._forward_hooks),
                    len(module._forward_pre_hooks),
                )
                for name, module in network.named_modules()
            ]

        before, state = snapshot(), {name: tensor.clone() for name, tensor in network.state_dict().items()}
        weight = network.classifier.weight
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        score(network, (3, 32, 32))
        assert torch.equal(torch.rand(2), expected)
        assert snapshot() == before
        assert network.classifier.weight is weight  # still part of the graph of a penalty on it
        after = network.state_dict()
        assert list(after) == list(state)
        assert all(torch.equal(after[name], state[name]) for name in state)
        assert torch.is_grad_enabled()

    def test_a_quantizer_that_calibrates_itself_is_not_calibrated_by_zeros(self) -> None:
        class Calibrating(nn.Conv2d):
            score_kind = "scale"

            def __init__(self) -> None:
                super().__init__(3, 4, 3)
                self.step = nn.Parameter(torch.ones(()))
                self.ready = False

            def forward(self, x: Tensor) -> Tensor:
                if not self.ready:
                    self.step.data.copy_(x.abs().mean())
                    self.ready = True
                return super().forward(x)

        network = nn.Sequential(Calibrating())
        score(network, IMAGE)
        assert network[0].step.item() == 1
        assert not network[0].ready

    def test_random_layers_draw_from_nobody(self) -> None:
        class Noise(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x + torch.rand_like(x)

        torch.manual_seed(3)
        expected = torch.rand(2)
        network = nn.Sequential(Noise(), nn.Conv2d(3, 4, 3))
        torch.manual_seed(3)
        score(network, IMAGE)
        assert torch.equal(torch.rand(2), expected)


class TestStrictStorage:
    @given(st.integers(1, 10_000), st.data(), bit_widths)
    def test_the_cheapest_coding_wins(self, weights: int, data: st.DataObject, bits: int) -> None:
        stored = data.draw(st.integers(0, weights))
        coding = weight_storage(weights, stored, bits)
        sizes = {"bitmap": weights + stored * bits, "index": stored * (index_bits(weights) + bits)}
        if bits > 1 or stored == weights:
            sizes["dense"] = weights * bits
        assert coding.bits == sizes[coding.coding] == min(sizes.values())

    def test_one_bit_weights_have_no_zero(self) -> None:
        assert weight_storage(100, 100, 1).coding == "dense"
        assert weight_storage(100, 99, 1).coding == "bitmap"

    @pytest.mark.parametrize(("weights", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11)])
    def test_a_position_fits_its_index(self, weights: int, bits: int) -> None:
        assert index_bits(weights) == bits

    @given(st.integers(1, 500), bit_widths, bit_widths)
    def test_pruning_more_never_takes_more(self, weights: int, q_w: int, q_a: int) -> None:
        sizes = [
            layer_storage_bits(
                weights=weights, stored=stored, outputs=3, weight_bits=q_w, activation_bits=q_a, bias=True
            )
            for stored in range(weights)  # the mask itself costs where the first weight goes at 1 bit
        ]
        assert sizes == sorted(sizes)

    def test_what_stands_beside_the_weights(self) -> None:
        common = {"weights": 10, "stored": 10, "outputs": 5, "bias": True}
        assert layer_storage_bits(weight_bits=32, activation_bits=32, **common) == 320 + 5 * 32
        assert layer_storage_bits(weight_bits=16, activation_bits=32, **common) == 160 + 5 * 16
        assert layer_storage_bits(weight_bits=16, activation_bits=8, **common) == 160 + 6 * 16
        assert layer_storage_bits(weight_bits=8, activation_bits=8, **common) == 80 + 11 * 16
        assert layer_storage_bits(weight_bits=8, activation_bits=32, scales=6, **common) == 80 + 11 * 16

    def test_norms_that_cannot_be_folded_are_two_numbers_a_channel(self) -> None:
        conv = nn.Conv2d(3, 4, 3, bias=False)
        alone = score(nn.Sequential(conv), IMAGE).strict_bits
        folded = score(nn.Sequential(conv, nn.BatchNorm2d(4)), IMAGE).strict_bits
        kept = score(nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(4)), IMAGE).strict_bits
        assert (folded - alone, kept - alone) == (4 * 32, 2 * 4 * 32)


def test_counting_takes_one_thread_and_gives_the_others_back() -> None:
    """With as many threads as cores, the coordinator would wait for its own workers at every candidate."""
    seen = []

    class Watched(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(x)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        score(nn.Sequential(Watched(3, 4, 3)), IMAGE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
