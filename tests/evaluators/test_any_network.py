"""Filters of networks that nobody here knows: what goes computes what silence would; the rest is named and stays."""

from __future__ import annotations

import copy

import pytest
import torch
from any_networks import (
    Buffer,
    ChannelMean,
    EndsInConvolution,
    FixedSlice,
    PlainGroupNorm,
    Residual,
    Roll,
    Shuffle,
    SigmoidBetween,
)
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.pruning.cuts.checking import silence
from slimfront.evaluators.pruning.groups import find_groups, remove_channels
from slimfront.evaluators.pruning.phase import make_cutter
from slimfront.spaces.methods import sparsity
from torch import nn

SHAPE = (3, 8, 8)


def _images() -> Images:
    generator = torch.Generator().manual_seed(0)
    return Images(torch.randint(0, 256, (16, *SHAPE), generator=generator, dtype=torch.uint8), torch.arange(16) % 5)


@pytest.mark.parametrize("method", ["taylor", "li_filters", "thinet"])
def test_half_of_the_filters_go(method: str) -> None:
    torch.manual_seed(0)
    network = Residual().eval()
    cutter = make_cutter(network, sparsity(method, 0.5, 0), _images(), 0)
    cutter.cut(1.0)
    assert (network.conv1.out_channels, network.shared.in_channels) == (network.bn1.num_features,) * 2
    assert network.conv1.out_channels + network.conv2.out_channels + network.shared.out_channels <= 18
    assert cutter.report().met
    assert network(torch.rand(2, *SHAPE)).shape == (2, 5)


@pytest.mark.parametrize("kind", [Residual, SigmoidBetween])
def test_what_is_cut_is_what_is_silent(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network, left = kind().eval(), dict[str, str]()
    groups = find_groups(network, SHAPE, left=left)
    assert not left
    gone = {group.name: torch.tensor([1, 3]) for group in groups}
    silent = copy.deepcopy(network)
    silence(silent, groups, gone)
    remove_channels(network, groups, gone)
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(network(images), silent(images))


@pytest.mark.parametrize("kind", [FixedSlice, Roll, Shuffle, Buffer, PlainGroupNorm, ChannelMean])
def test_a_cut_that_would_compute_something_else_is_not_made(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = kind().eval()
    cutter = make_cutter(network, sparsity("li_filters", 0.5, 0), _images(), 0)
    cutter.cut(1.0)
    assert network.get_submodule("first").out_channels == 8
    assert network.get_submodule("second").out_channels == 3
    report = cutter.report()
    assert [*report.left] == ["first"]
    assert "first is not cut: " in report.message
    assert network(torch.rand(2, *SHAPE)).shape == (2, 5)


def test_a_convolution_that_gives_the_logits_keeps_its_classes() -> None:
    network = EndsInConvolution().eval()
    cutter = make_cutter(network, sparsity("taylor", 0.5, 0), _images(), 0)
    cutter.cut(1.0)
    assert (network.classifier.in_channels, network.classifier.out_channels) == (4, 5)
    assert "outputs" in cutter.report().left["classifier"]


def test_an_unfollowed_layer_does_not_stop_the_others() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 6, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
    ).eval()
    left: dict[str, str] = {}
    assert [group.name for group in find_groups(network, SHAPE, left=left)] == ["3"]
    assert "PReLU" in left["0"]


def test_a_fault_that_zeros_hide_is_found() -> None:
    """A batch norm that begins as zero, as in many residual networks, tells nothing of what stands before it."""
    network = Roll()
    with torch.no_grad():
        network.second.weight.zero_()
    left: dict[str, str] = {}
    find_groups(network.eval(), SHAPE, left=left)
    assert "first" in left
