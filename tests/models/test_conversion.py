import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.models import build, layer_bits
from slimfront.models.network import weight_layers
from slimfront.models.quantization.calibration import (
    Observation,
    best_steps,
    estimate_norms,
    input_step,
    observe,
    weight_steps,
)
from slimfront.models.quantization.conversion import ConversionError, convert, deploy, lower
from slimfront.models.quantization.quantizers import quantized_layers
from slimfront.models.quantization.straight_through import bounds
from slimfront.spaces.candidate import Architecture, Bits
from torch import nn
from torch.nn.utils import prune

from tests.random_architectures import architectures

RESIDUAL = Architecture("residual", 6, 1, (6, 8), (1, 1), (1, 2), shortcut="projection")
INVERTED = Architecture("inverted", 6, 1, (6, 8), (2, 1), (1, 2), kernels=(3, 5), expansions=(2, 1), head_width=7)
DENSE = Architecture("dense", 6, 1, (4, 4), (2, 1), (1, 2), compression=0.5)


def images(count=16, seed=0, side=16):
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed))
    return ((pixels.float() - 128) / 64).to(memory_format=torch.channels_last)


def trained(architecture, seed=0, mask=False):
    """A network with random weights whose batch norms have seen images."""
    network = build(architecture, 5, seed=seed).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_(1.0, 0.5, generator=generator)
                module.bias.normal_(0.0, 0.3, generator=generator)
    if mask:
        for layer in weight_layers(network).values():
            mask = torch.rand(layer.weight.shape, generator=generator) > 0.4
            prune.custom_from_mask(layer, "weight", mask.float())
    estimate_norms(network, [images()])
    return network


def quantized(architecture, bits, **options):
    network = trained(architecture, **options)
    observed = observe(network, weight_layers(network), [images()])
    convert(network, layer_bits(network, bits), observed, ternary=bits.ternary)
    return network


def assert_on_grids(network, batch):
    """Walk the network: what every multiplication sees takes no more values than its bits allow."""
    seen = set()

    def check(layer, inputs):
        with torch.no_grad():
            x, weight = layer.quantize_input(inputs[0]), layer.quantize_weight()
        if layer.activation_bits <= 8:
            assert len(x.unique()) <= 2**layer.activation_bits
        elif layer.activation_bits == 16:
            assert torch.equal(x, x.half().float())
        if layer.weight_bits == 16:
            assert torch.equal(weight, weight.half().float())
        mask = layer._buffers.get("weight_mask")
        for index, row in enumerate(weight):
            if mask is not None:
                assert (row[mask[index] == 0] == 0).all()
                row = row[mask[index] == 1]
            if layer.weight_bits <= 8:
                levels = 3 if layer.ternary and layer.weight_bits == 2 else 2**layer.weight_bits
                assert len(row.unique()) <= levels
        seen.add(layer)

    # The multiplication itself gets what is checked: the layers' forward is quantize, then multiply.
    handles = [layer.register_forward_pre_hook(check) for layer in quantized_layers(network).values()]
    with torch.no_grad():
        network(batch)
    for handle in handles:
        handle.remove()
    assert seen == set(weight_layers(network).values())


def operands(network, batch, monkeypatch):
    """(layer count) every pair (input, weight) that torch really multiplied."""
    pairs = []
    conv2d, linear = torch.conv2d, nn.functional.linear

    def spy(real):
        def call(x, weight, *others, **named):
            pairs.append((x, weight))
            return real(x, weight, *others, **named)

        return call

    monkeypatch.setattr(nn.functional, "conv2d", spy(conv2d))
    monkeypatch.setattr(nn.functional, "linear", spy(linear))
    with torch.no_grad():
        network(batch)
    monkeypatch.undo()
    return pairs


@pytest.mark.parametrize("architecture", [RESIDUAL, INVERTED, DENSE], ids=lambda a: a.family)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("deployed", [False, True])
def test_every_multiplication_sees_quantized_numbers(architecture, width, deployed, monkeypatch):
    network = quantized(architecture, Bits.uniform(width, width, outer=8))
    if deployed:
        deploy(network)
    network.eval()
    assert_on_grids(network, images(seed=1))
    pairs = operands(network, images(seed=1), monkeypatch)
    layers = list(weight_layers(network).values())
    assert len(pairs) == len(layers)
    for x, weight in pairs:
        edge = x.shape[1] == 3 or weight.dim() == 2
        most = 2 ** (8 if edge else width)
        assert len(x.unique()) <= most
        assert max(len(row.unique()) for row in weight) <= most


@settings(max_examples=15, deadline=None)
@given(
    architecture=architectures(),
    weights=st.sampled_from([1, 2, 3, 5, 8, 16, 32]),
    activations=st.sampled_from([1, 2, 4, 7, 16, 32]),
    mask=st.booleans(),
    ternary=st.booleans(),
)
def test_random_networks_are_on_their_grids_before_and_after_deployment(
    architecture, weights, activations, mask, ternary
):
    bits = Bits(weights=(weights,), activations=(activations,), stem=8, classifier=8, ternary=ternary and weights == 2)
    network = quantized(architecture, bits, mask=mask)
    network.eval()
    if weights < 32 or activations < 32:
        assert_on_grids(network, images(4, seed=1))
    before = network(images(4, seed=2)).detach()
    deploy(network)
    if weights < 32 or activations < 32:
        assert_on_grids(network, images(4, seed=1))
    after = network(images(4, seed=2)).detach()
    assert torch.isfinite(after).all()
    if min(weights, activations) >= 16:  # a coarse grid may round one number to the neighbour after folding
        torch.testing.assert_close(after, before, rtol=0.05, atol=0.1)


def test_deployment_keeps_the_function_up_to_rounding():
    for architecture in (RESIDUAL, INVERTED, DENSE):
        network = quantized(architecture, Bits.uniform(4, 4, outer=8))
        network.eval()
        integers = {}
        for name, layer in quantized_layers(copy.deepcopy(network)).items():
            layer.freeze()
            integers[name] = layer.integers
        before = network(images(64, seed=3)).detach()
        deploy(network)
        after = network(images(64, seed=3)).detach()
        assert (before - after).abs().mean() < 0.1 * before.std()
        for name, layer in quantized_layers(network).items():
            assert torch.equal(layer.integers, integers[name])


def test_relus_that_one_quantized_layer_reads_are_absorbed():
    network = quantized(RESIDUAL, Bits.uniform(4, 4, outer=8)).eval()
    block = network.stages[0][0]
    assert isinstance(block.act1, nn.Identity)
    assert isinstance(block.act2, nn.ReLU)  # the shortcut reads it, too
    with_relu = copy.deepcopy(network)
    for stage in with_relu.stages:
        for module in stage:
            module.act1 = nn.ReLU()
    assert torch.equal(with_relu(images()), network(images()))
    half = quantized(RESIDUAL, Bits.uniform(16, 16))
    assert isinstance(half.stages[0][0].act1, nn.ReLU)


def test_images_pass_the_stem_untouched():
    network = quantized(RESIDUAL, Bits.uniform(4, 4, outer=8))
    stem = network.stem.conv
    assert float(stem.input_step()) == 1 / 64
    assert not stem.activation_ratio.requires_grad
    assert torch.equal(stem.quantize_input(images()), images())


def test_signs_follow_the_tensors():
    inverted = quantized(INVERTED, Bits.uniform(4, 4, outer=8))
    layers = quantized_layers(inverted)
    assert not layers["stages.0.0.expand.conv"].signed  # the stem's ReLU
    assert layers["stages.0.1.expand.conv"].signed  # linear bottleneck
    assert not layers["stages.0.0.depthwise.conv"].signed
    assert not layers["classifier"].signed


def test_lowering_takes_new_steps_where_widths_change():
    network = quantized(RESIDUAL, Bits.uniform(8, 8, outer=8))
    before = {name: float(layer.input_step()) for name, layer in quantized_layers(network).items()}
    target = layer_bits(network, Bits.uniform(2, 2, outer=8))
    lower(network, target, observe(network, quantized_layers(network), [images()]))
    for name, layer in quantized_layers(network).items():
        assert (layer.weight_bits, layer.activation_bits) == target[name]
        if name in ("stem.conv", "classifier"):
            assert float(layer.input_step()) == before[name]
        else:
            assert float(layer.input_step()) > before[name]
    assert_on_grids(network.eval(), images())


def test_what_cannot_be_converted_says_why():
    network = trained(RESIDUAL)
    with pytest.raises(ConversionError, match=r"no layer 'stages\.9' to quantize"):
        convert(network, {"stages.9": (4, 4)}, {})
    with pytest.raises(ConversionError, match=r"'classifier' cannot be calibrated"):
        convert(network, {"classifier": (4, 4)}, {})
    convert(network, {"classifier": (16, 16)}, {})
    with pytest.raises(ConversionError, match="quantized already"):
        convert(network, {"classifier": (16, 16)}, {})
    with pytest.raises(ConversionError, match="from 16 to 4 bits"):
        lower(network, {"classifier": (4, 16)}, {})


@settings(max_examples=25, deadline=None)
@given(bits=st.integers(1, 8), signed=st.booleans(), seed=st.integers(0, 999), tail=st.floats(1, 3))
def test_steps_are_better_than_the_largest_number(bits, signed, seed, tail):
    values = torch.randn(4000, generator=torch.Generator().manual_seed(seed)).abs() ** tail
    values = values * torch.tensor([-1.0, 1.0]).repeat(2000) if signed else values
    low, high = bounds(bits, signed=signed)

    def error(step):
        integers = torch.where(values < 0, -1, 1) if bits == 1 and signed else (values / step).clamp(low, high).round()
        return float((integers * step - values).square().mean())

    ours = input_step(Observation(values, signed), bits, signed=signed)
    assert error(ours) <= error(values.abs().max() / high) * 1.0001
    brute = min(error(values.abs().max() / high * share) for share in torch.linspace(0.01, 1.2, 240))
    assert error(ours) <= brute * 1.02 + 1e-9


def test_steps_of_filters_are_positive_even_where_all_is_zero():
    weight = torch.zeros(3, 4, 3, 3)
    weight[1, 0, 0, 0] = 0.7
    for bits in range(1, 9):
        assert (weight_steps(weight, bits) > 0).all()
    assert float(weight_steps(weight, 1)[1]) == pytest.approx(0.7)  # pruned weights do not pull the signs to zero
    assert best_steps(torch.zeros(1, 5), 0, 15).item() > 0


def test_observation_leaves_the_network_as_it_was():
    network = trained(RESIDUAL).train()
    state = copy.deepcopy(network.state_dict())
    first = observe(network, weight_layers(network), [images()])
    second = observe(network, weight_layers(network), [images()])
    assert network.training
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert all(torch.equal(first[name].values, second[name].values) for name in first)
    assert not any(layer._forward_pre_hooks for layer in weight_layers(network).values())
