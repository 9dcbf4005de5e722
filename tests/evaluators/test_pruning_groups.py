"""Removing a channel physically is the same function as making it say nothing."""

import copy
from collections import OrderedDict

import pytest
import torch
from slimfront.evaluators.pruning import groups as groups_module
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.groups import find_groups, remove_channels
from slimfront.models import Network, build
from slimfront.models.blocks import BasicBlock, PaddingShortcut
from slimfront.spaces import Architecture
from torch import nn

SHAPE = (3, 8, 8)
ARCHITECTURES = {
    "padding": Architecture(
        "residual",
        stem_width=4,
        stem_stride=1,
        widths=(4, 8, 8),
        depths=(2, 1, 2),
        strides=(1, 2, 2),
        shortcut="padding",
    ),
    "projection": Architecture(
        "residual", stem_width=5, stem_stride=1, widths=(4, 6), depths=(1, 2), strides=(1, 2), shortcut="projection"
    ),
    "inverted": Architecture(
        "inverted",
        stem_width=4,
        stem_stride=1,
        widths=(4, 6),
        depths=(2, 2),
        strides=(1, 2),
        kernels=(3, 5),
        expansions=(1, 3),
        head_width=10,
    ),
    "dense": Architecture(
        "dense", stem_width=4, stem_stride=1, widths=(3, 3), depths=(3, 2), strides=(1, 2), compression=0.5
    ),
}


def network_of(family: str) -> Network:
    network = build(ARCHITECTURES[family], 5, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean):
                    tensor.uniform_(-1, 1, generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def silence(network: Network, group_name: str, channel: int) -> None:
    """Make a channel zero behind its norms, and let nobody read it."""
    group = next(group for group in find_groups(network, SHAPE) if group.name == group_name)
    makers = {member.name for member in group.filters}
    with torch.no_grad():
        for member in group.norms:
            norm = network.get_submodule(member.name)
            for at in member.channels[member.roots == channel].tolist():
                norm.weight[at] = norm.bias[at] = 0
        for member in group.readers:
            reader = network.get_submodule(member.name)
            for at in member.channels[member.roots == channel].tolist():
                reader.weight[:, at] = 0
        for name, block in network.named_modules():
            if (
                isinstance(block, BasicBlock)
                and isinstance(block.shortcut, PaddingShortcut)
                and f"{name}.conv2" in makers
            ):
                block.shortcut.source[channel] = -1
                block.shortcut._recognise()


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_removing_channels_is_silencing_them(family: str) -> None:
    network = network_of(family)
    inputs = torch.rand(3, *SHAPE)
    expected = copy.deepcopy(network)
    groups = find_groups(network, SHAPE)
    gone = {group.name: sorted({0, group.channels // 2})[: group.channels - 1] for group in groups}
    for name, channels in gone.items():
        for channel in channels:
            silence(expected, name, channel)
    remove_channels(network, groups, {name: torch.tensor(channels) for name, channels in gone.items()})
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), expected(inputs), rtol=1e-4, atol=1e-5)
    smaller = sum(parameter.numel() for parameter in network.parameters())
    assert smaller < sum(parameter.numel() for parameter in expected.parameters())


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_filter_is_in_one_group_and_the_classifier_in_none(family: str) -> None:
    network = network_of(family)
    makers = [member.name for group in find_groups(network, SHAPE) for member in group.filters]
    assert sorted(makers) == sorted(name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))


def test_sums_and_depthwise_convolutions_go_together() -> None:
    groups = {group.name: group for group in find_groups(network_of("inverted"), SHAPE)}
    together = [member.name for member in groups["stages.1.1.expand.conv"].filters]
    assert together == ["stages.1.1.expand.conv", "stages.1.1.depthwise.conv"]
    stream = [member.name for member in groups["stages.1.0.project.conv"].filters]
    assert stream == ["stages.1.0.project.conv", "stages.1.1.project.conv"]


def test_tracing_leaves_the_network_as_it_was() -> None:
    network = network_of("dense").train()
    network.classifier.weight.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    find_groups(network, SHAPE)
    assert network.training
    assert not network.classifier.weight.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_built_again_is_not_traced_again_and_a_cut_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[nn.Module] = []
    trace = groups_module._trace
    monkeypatch.setattr(groups_module, "_known", OrderedDict())
    monkeypatch.setattr(groups_module, "_trace", lambda network, shape: traced.append(network) or trace(network, shape))
    first, second = network_of("padding"), network_of("padding")
    groups = find_groups(first, SHAPE)
    assert find_groups(second, SHAPE) is groups
    assert find_groups(network_of("padding"), SHAPE, remember=False) is not groups
    assert len(traced) == 2
    del traced[1]
    assert traced == [first]
    remove_channels(second, groups, {group.name: torch.tensor([0]) for group in groups})
    assert [group.channels for group in find_groups(second, SHAPE)] == [group.channels - 1 for group in groups]
    assert traced == [first, second]
    shortcut = first.get_submodule("stages.1.0.shortcut")
    shortcut.source = shortcut.source.flip(0)  # as wide as before, but other channels meet
    find_groups(first, SHAPE)
    assert traced == [first, second, first]


def test_groups_of_few_networks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "_REMEMBERED", 2)
    monkeypatch.setattr(groups_module, "_known", OrderedDict())
    for family in ARCHITECTURES:
        find_groups(network_of(family), SHAPE)
    assert len(groups_module._known) == 2


def test_what_is_frozen_stays_so_and_gradients_go() -> None:
    network = network_of("projection")
    network.classifier.weight.requires_grad_(False)
    network(torch.rand(2, *SHAPE)).sum().backward()
    groups = find_groups(network, SHAPE)
    remove_channels(network, groups, {group.name: torch.tensor([0]) for group in groups})
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == [
        "classifier.weight"
    ]
    assert all(parameter.grad is None for name, parameter in network.named_parameters() if name != "classifier.bias")


def test_groups_of_a_convolution_go_with_what_feeds_them() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 5)).eval()
    inputs = torch.rand(2, *SHAPE)
    (group,) = find_groups(network, SHAPE)
    assert (group.channels, group.size, [member.name for member in group.filters]) == (2, 2, ["0", "1"])
    with torch.no_grad():
        network[3].weight[:, 32:] = 0  # what the second group's 2 x 16 numbers are read by
        before = network(inputs)
        remove_channels(network, [group], {"0": torch.tensor([1])})
        assert torch.allclose(network(inputs), before, atol=1e-6)
    assert (network[0].out_channels, network[1].groups, network[1].out_channels) == (2, 1, 2)


@pytest.mark.parametrize(
    ("middle", "said"),
    [
        ([nn.Conv2d(4, 8, 3, groups=2)], "4 channels before it and 8 behind"),
        ([nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 3, groups=2)], "another one beside it"),
    ],
)
def test_other_convolutions_in_groups_are_refused(middle: list[nn.Module], said: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), *middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))
    network(torch.rand(2, *SHAPE))
    with pytest.raises(PruningError, match=said):
        find_groups(network, SHAPE)


def test_biases_and_flattened_positions_go_with_their_channel() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 5)
    ).eval()
    inputs = torch.rand(2, *SHAPE)
    expected = copy.deepcopy(network)
    with torch.no_grad():
        expected[3].weight[:, 1] = 0  # type: ignore[union-attr, operator, index]
        expected[5].weight[:, 2 * 16 : 3 * 16] = 0  # type: ignore[union-attr, operator, index]
    groups = find_groups(network, SHAPE)
    remove_channels(network, groups, {"0": torch.tensor([1]), "3": torch.tensor([2])})
    assert [tuple(parameter.shape) for parameter in network.parameters()] == [
        *((5, 3, 3, 3), (5,), (5,), (5,)),
        *((3, 5, 3, 3), (3,), (5, 48), (5,)),
    ]
    torch.testing.assert_close(network(inputs), expected(inputs))


def test_layers_that_cannot_be_cut_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(PruningError, match="'1' is a PReLU: its channels cannot be removed"):
        find_groups(network, SHAPE)


def test_nothing_to_prune_is_an_error() -> None:
    with pytest.raises(PruningError, match="Sequential has nothing to prune: no filters"):
        find_groups(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), SHAPE)


def test_projection_shortcuts_of_few_channels_train() -> None:
    # torch 2.14's strided 1x1 convolution corrupts memory here (channels_last, fewer than 8 input channels): the
    # process would die, sooner or later. ConvNorm picks the pixels itself.
    for name, layer in network_of("projection").named_modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            assert layer.stride == (1, 1), name
