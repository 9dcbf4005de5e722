import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.models.quantization.quantizers import QuantConv2d, QuantLinear, quantized_layers
from slimfront.models.quantization.straight_through import bounds, quantize_activations, quantize_weights, round_to_half
from torch import nn
from torch.nn.utils import prune


def conv(outputs=6, bias=True):
    torch.manual_seed(0)
    return nn.Conv2d(4, outputs, 3, padding=1, bias=bias)


def quantized_conv(weight_bits=4, activation_bits=4, *, mask=False, bias=True, **options):
    layer = conv(bias=bias)
    if mask:
        prune.l1_unstructured(layer, "weight", amount=0.5)
    layer = QuantConv2d.of(layer, weight_bits, activation_bits, **options)
    if weight_bits <= 8:
        layer.set_weight_step(torch.linspace(0.02, 0.05, 6))
    if activation_bits <= 8:
        layer.set_input_step(torch.tensor(0.3), signed=options.get("signed", True))
    return layer


def reference(x, step, low, high):
    """LSQ as the paper writes it, with tensor operations and a detached rounding."""
    v = x / step
    clamped = v.clamp(low, high)
    return (clamped.round() - clamped).detach() * step + clamped * step


@settings(max_examples=40, deadline=None)
@given(
    bits=st.integers(1, 8),
    signed=st.booleans(),
    step=st.floats(0.01, 3.0),
    seed=st.integers(0, 2**16),
    channels_last=st.booleans(),
)
def test_activations_and_gradients_equal_the_paper(bits, signed, step, seed, channels_last):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 4, 5, 5, generator=generator)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    gradient = torch.randn(x.shape, generator=generator)
    low, high = bounds(bits, signed=signed)
    ours, ratio = x.clone().requires_grad_(), torch.tensor(1.0, requires_grad=True)
    y = quantize_activations(ours, torch.tensor(step), ratio, bits, signed=signed)
    y.backward(gradient)
    if bits == 1 and signed:
        torch.testing.assert_close(y, torch.where(x < 0, -step, step))
        torch.testing.assert_close(ours.grad, gradient * (x.abs() < 2 * torch.tensor(step)))
        step_gradient = (gradient * torch.where(x < 0, -1.0, 1.0)).sum()
    else:
        theirs, s = x.clone().requires_grad_(), torch.tensor(step, requires_grad=True)
        expected = reference(theirs, s, low, high)
        expected.backward(gradient)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(ours.grad, theirs.grad)
        step_gradient = s.grad
    wanted = step_gradient / (math.sqrt(4 * 5 * 5 * high) * step)
    torch.testing.assert_close(ratio.grad, wanted, rtol=1e-3, atol=1e-4 / step)
    assert len(y.unique()) <= 2**bits


@settings(max_examples=30, deadline=None)
@given(bits=st.integers(2, 8), ternary=st.booleans(), seed=st.integers(0, 2**16))
def test_weights_and_gradients_equal_the_paper(bits, ternary, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 4, 3, 3, generator=generator)
    gradient = torch.randn(weight.shape, generator=generator)
    step = torch.rand(5, generator=generator) + 0.1
    low, high = bounds(bits, signed=True, ternary=ternary)
    ours, ratio = weight.clone().requires_grad_(), torch.ones(5, requires_grad=True)
    y = quantize_weights(ours, step, ratio, bits, ternary=ternary)
    y.backward(gradient)
    theirs, s = weight.clone().requires_grad_(), step.clone().requires_grad_()
    expected = reference(theirs, s.view(-1, 1, 1, 1), low, high)
    expected.backward(gradient)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(ratio.grad, s.grad / math.sqrt(36 * high) / step, rtol=1e-4, atol=1e-5)
    for channel in y:
        assert len(channel.unique()) <= (3 if ternary and bits == 2 else 2**bits)


def test_a_learned_ratio_moves_the_step_as_gradient_descent_on_the_step_would():
    weight, base = torch.randn(2, 8), torch.tensor([0.2, 3.0])
    gradient, rate = torch.randn(2, 8), 1e-3
    ratio = torch.ones(2, requires_grad=True)
    quantize_weights(weight, base, ratio, 3).backward(gradient)
    moved = base * (1 - rate * ratio.grad)
    step = base.clone().requires_grad_()
    reference(weight, step.view(-1, 1), -4, 3).backward(gradient)
    torch.testing.assert_close(moved, base - rate * step.grad / math.sqrt(8 * 3))


def test_one_bit_weights_are_signs_and_all_of_them_learn():
    weight = torch.tensor([[0.0, -3.0, 0.1], [-0.1, 9.0, -9.0]], requires_grad=True)
    ratio = torch.ones(2, requires_grad=True)
    y = quantize_weights(weight, torch.tensor([0.5, 2.0]), ratio, 1)
    assert y.tolist() == [[0.5, -0.5, 0.5], [-2.0, 2.0, -2.0]]
    y.sum().backward()
    assert weight.grad.tolist() == [[1.0] * 3] * 2


def test_a_ratio_below_zero_still_gives_a_positive_step():
    y = quantize_activations(torch.ones(1, 2), torch.tensor(0.5), torch.tensor(-3.0), 4, signed=False)
    assert torch.isfinite(y).all()
    assert (y >= 0).all()


def test_relu_before_an_unsigned_grid_changes_nothing():
    x = torch.randn(4, 3, 6, 6)
    gradients, values = [], []
    for first in (nn.Identity(), nn.ReLU()):
        leaf, ratio = x.clone().requires_grad_(), torch.tensor(1.0, requires_grad=True)
        y = quantize_activations(first(leaf), torch.tensor(0.11), ratio, 3, signed=False)
        y.backward(torch.ones_like(x))
        values.append(y)
        gradients.append((leaf.grad, ratio.grad))
    assert torch.equal(*values)
    assert not (values[0].signbit()).any()
    assert torch.equal(gradients[0][0], gradients[1][0])
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


def test_images_survive_eight_bits_exactly():
    pixels = torch.arange(256).view(1, 1, 16, 16)
    x = (pixels.float() - 128) / 64
    assert torch.equal(quantize_activations(x, torch.tensor(1 / 64), torch.tensor(1.0), 8, signed=True), x)


def test_half_rounds_and_saturates():
    x = torch.tensor([0.1, 1e6, -1e6], requires_grad=True)
    y = round_to_half(x)
    assert y.tolist() == [pytest.approx(0.1, rel=1e-3), 65504.0, -65504.0]
    assert torch.equal(y.half().float(), y)
    y.sum().backward()
    assert x.grad.tolist() == [1.0] * 3


@pytest.mark.parametrize("bits", [0, 9, 16])
def test_only_one_to_eight_bits_are_integers(bits):
    with pytest.raises(ValueError, match=f"1 to 8 bits, but got {bits}"):
        bounds(bits, signed=True)


@pytest.mark.parametrize("weight_bits", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("mask", [False, True])
def test_freezing_keeps_the_output_and_shows_the_integers(weight_bits, mask):
    layer = quantized_conv(weight_bits, 8, mask=mask)
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        layer.get_parameter("weight_orig" if mask else "weight").mul_(0.9)  # as an optimizer step would
    before = layer(x)
    layer.freeze()
    assert torch.equal(layer(x), before)
    if weight_bits <= 8:
        low, high = bounds(weight_bits, signed=True)
        assert layer.integers.dtype == torch.int8
        assert low <= int(layer.integers.min()) <= int(layer.integers.max()) <= high
        assert torch.equal(layer.weight, layer.integers * layer.weight_step().view(-1, 1, 1, 1))
    if mask:
        assert (layer.weight[layer.weight_mask == 0] == 0).all()


@pytest.mark.parametrize("weight_bits", [1, 4, 16, 32])
def test_folding_scales_the_steps_and_keeps_the_integers(weight_bits):
    layer = quantized_conv(weight_bits, 8, mask=True, bias=False)
    x, scale = torch.randn(2, 4, 5, 5), torch.tensor([0.5, -1.5, 2.0, 1.0, -0.1, 3.0])
    before = layer(x) * scale.view(1, -1, 1, 1)
    layer.freeze()
    integers = copy.deepcopy(layer.integers)
    layer.scale_filters(scale)
    torch.testing.assert_close(layer(x), before, rtol=1e-4, atol=1e-5)
    if weight_bits <= 8:
        assert torch.equal(layer.integers, integers)
    layer.round_scales()
    torch.testing.assert_close(layer(x), before, rtol=1e-2, atol=1e-2)
    if weight_bits <= 16:
        stored = layer.weight_step() if weight_bits <= 8 else layer.weight
        assert torch.equal(stored.half().float(), stored)


def test_a_frozen_layer_is_loaded_into_a_fresh_one():
    layer = quantized_conv(3, 4)
    layer.freeze()
    fresh = QuantConv2d.of(conv(), 3, 4)
    fresh.load_state_dict(layer.state_dict())
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(fresh(x), layer(x))


def test_masked_weights_stay_zero_while_signs_are_trained():
    layer = quantized_conv(1, 4, mask=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.randn(2, 4, 5, 5)).square().sum().backward()
        optimizer.step()
    weight = layer.quantize_weight()
    assert (weight[layer.weight_mask == 0] == 0).all()
    assert (weight[layer.weight_mask == 1] != 0).all()


def test_linear_layers_and_listing():
    layer = QuantLinear.of(nn.Linear(6, 3), 2, 2, ternary=True)
    layer.set_weight_step(torch.full((3,), 0.2))
    layer.set_input_step(torch.tensor(0.5), signed=True)
    assert layer(torch.randn(4, 6)).shape == (4, 3)
    assert len(layer.quantize_weight().unique()) <= 3
    network = nn.Sequential(layer, nn.ReLU(), nn.Linear(3, 2))
    assert list(quantized_layers(network)) == ["0"]
    assert "weight_bits=2, ternary" in repr(layer)


def test_widths_above_eight_need_no_steps():
    layer = QuantConv2d.of(conv(), 16, 16)
    assert layer.weight_step() is None
    assert layer.input_step() is None
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    x = torch.randn(1, 4, 5, 5)
    expected = nn.functional.conv2d(x.half().float(), layer.weight.half().float(), layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)
