"""Shapes, and cutting them out of a supernet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.supernet import Shapes
from slimfront.evaluators.supernet.cutting import align_shortcuts, inherit
from slimfront.evaluators.supernet.measuring import settle
from slimfront.evaluators.supernet.ordering import channel_moves, reorder, reorder_optimizer
from slimfront.models import build
from slimfront.models.network import Network
from slimfront.spaces import Architecture, CandidateError, Space, SpaceError
from torch import Tensor, nn

# The second stage may be narrower than the first, and the stem wider or narrower than either.
LARGEST = Architecture("residual", 12, 1, (16, 24), (2, 3), (1, 2), shortcut="padding")
SHAPES = Shapes(LARGEST, (8, 12), ((8, 12, 16), (12, 24)), ((1, 2), (1, 3)))
SPACE = """
[architecture.residual]
stem_width = [8, 12]
stages = 2
width.0 = { low = 8, high = 16, step = 4 }
width.1 = [24, 12]
depth.0 = { low = 1, high = 2 }
depth.1 = [1, 3]
"""
CLASSES = 5


def test_a_space_says_which_shapes_it_has() -> None:
    shapes = Shapes.from_space(Space.from_toml(SPACE))
    assert shapes == SHAPES
    assert Shapes.from_json(shapes.to_json()).digest == SHAPES.digest
    assert len(shapes) == 2 * 3 * 2 * 2 * 2
    assert len(set(shapes)) == len(shapes)
    assert shapes.smallest == Architecture("residual", 8, 1, (8, 12), (1, 1), (1, 2), shortcut="padding")
    assert next(iter(shapes)) == shapes.smallest
    assert [*shapes][-1] == shapes.largest == LARGEST
    assert all(shape in shapes for shape in shapes)
    assert Architecture("residual", 8, 1, (8, 12), (1, 2), (1, 2), shortcut="padding") not in shapes
    assert Architecture("residual", 8, 1, (8, 12), (1, 1), (1, 2), shortcut="projection") not in shapes
    assert Architecture("residual", 8, 1, (8,), (1,), (1,), shortcut="padding") not in shapes


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('shortcut = "projection"', "padding shortcuts"),
        ('shortcut = ["padding", "projection"]', "residual.shortcut"),
        ("head_width = 16", "without a head"),
        ("stem_stride = [1, 2]", "stem_stride"),
        ("stride.1 = [1, 2]", "stride.1"),
        ("stages = [1, 2]", "stages"),
    ],
)
def test_a_space_that_cannot_share_says_why(more: str, named: str) -> None:
    kept = [line for line in SPACE.strip().splitlines() if not line.startswith(more.partition(" ")[0])]
    with pytest.raises(SpaceError, match=named):
        Shapes.from_space(Space.from_toml("\n".join([*kept, more])))


def test_other_families_say_why_they_cannot_share() -> None:
    written = SPACE.replace("residual", "inverted")
    with pytest.raises(SpaceError, match="basic blocks"):
        Shapes.from_space(Space.from_toml(f'architecture.family = "inverted"\n{written}'))
    with pytest.raises(SpaceError, match=r"architecture\.family"):
        Shapes.from_space(Space.from_toml(f'architecture.family = ["residual", "inverted"]\n{SPACE}{written}'))


def test_one_shape_is_nothing_to_share() -> None:
    with pytest.raises(SpaceError, match="nothing to share"):
        Shapes.from_space(Space.from_toml("[architecture.residual]\nstem_width = 8\nstages = 1\nwidth = 8\ndepth = 1"))


@pytest.mark.parametrize("widths", [((8, 8),), ((12, 8),), ((),), ((0, 8),), (8,), ((8,), (8,))])
def test_shapes_that_cannot_be_are_refused(widths: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(CandidateError, match=r"shapes\.widths|architecture\.widths|shapes\.largest"):
        Shapes(Architecture("residual", 8, 1, (8,), (1,), (1,), shortcut="padding"), (8,), widths, ((1,),))


@given(rounds=st.integers(1, 5), seed=st.integers(0, 99))
def test_all_depths_are_drawn_equally_often(rounds: int, seed: int) -> None:
    drawn = SHAPES.draw(4 * rounds, torch.Generator().manual_seed(seed))
    assert Counter(shape.depths for shape in drawn) == dict.fromkeys([(1, 1), (1, 3), (2, 1), (2, 3)], rounds)
    assert all(shape in SHAPES for shape in drawn)
    assert drawn == SHAPES.draw(4 * rounds, torch.Generator().manual_seed(seed))


def _largest(seed: int = 0) -> Network:
    """A network whose every number is drawn."""
    network = build(SHAPES.largest, CLASSES, channels=1, seed=seed)
    align_shortcuts(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.uniform_(0.2, 1.5, generator=generator)
    return network.eval()


def _run_at(weights: Mapping[str, Tensor], shape: Architecture, x: Tensor) -> Tensor:
    """The definition: the supernet's weights, sliced by hand, layer by layer."""

    def norm_conv(x: Tensor, conv: str, norm: str, outputs: int, stride: int) -> Tensor:
        x = F.conv2d(x, weights[f"{conv}.weight"][:outputs, : x.shape[1]], None, stride, 1)
        mean, variance, scale, shift = (
            weights[f"{norm}.{key}"][:outputs] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, scale, shift)

    x = norm_conv(x, "stem.conv", "stem.norm", shape.stem_width, shape.stem_stride).relu()
    for stage, (width, depth) in enumerate(zip(shape.widths, shape.depths, strict=True)):
        for block in range(depth):
            stride = shape.strides[stage] if block == 0 else 1
            name = f"stages.{stage}.{block}"
            inside = norm_conv(x, f"{name}.conv1", f"{name}.norm1", width, stride).relu()
            out = norm_conv(inside, f"{name}.conv2", f"{name}.norm2", width, 1)
            passed = x[:, :width, ::stride, ::stride]
            out[:, : passed.shape[1]] += passed
            x = out.relu()
    pooled = x.mean((2, 3))
    return F.linear(pooled, weights["classifier.weight"][:, : pooled.shape[1]], weights["classifier.bias"])


def test_a_cut_is_the_supernet_run_at_its_shape() -> None:
    weights = _largest().state_dict()
    images = torch.randn(6, 1, 10, 10, generator=torch.Generator().manual_seed(1))
    for shape in SHAPES:
        network = inherit(weights, shape, CLASSES, 1).eval()
        assert network.architecture == shape
        with torch.no_grad():
            torch.testing.assert_close(network(images), _run_at(weights, shape, images), rtol=1e-4, atol=1e-4)


def test_a_cut_has_the_weights_of_its_shape_and_shares_none() -> None:
    largest = _largest()
    network = inherit(largest.state_dict(), SHAPES.smallest, CLASSES, 1)
    # stem 1x8, first stage 8x8 twice, second stage 8x12 and 12x12, all 3x3; classifier 12x5
    assert score(network, (1, 12, 12)).weights == 9 * (8 + 2 * 64 + 96 + 144) + 60
    before = {name: tensor.clone() for name, tensor in largest.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in largest.state_dict().items())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())


def test_batch_norm_is_estimated_on_what_reaches_it() -> None:
    network = inherit(_largest().state_dict(), SHAPES.smallest, CLASSES, 1)
    batches = [torch.randn(16, 1, 10, 10) for _ in range(2)]
    settle(network, batches)
    with torch.no_grad():
        means = [network.stem.conv(batch).mean((0, 2, 3)) for batch in batches]
    torch.testing.assert_close(network.stem.norm.running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-4)


def test_sorting_changes_the_order_of_channels_and_nothing_else() -> None:
    network = _largest()
    images = torch.randn(6, 1, 10, 10)
    with torch.no_grad():
        before = network(images)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for parameter in network.parameters():
        optimizer.state[parameter]["momentum_buffer"] = 2 * parameter.detach()
    moves = channel_moves(network, SHAPES)
    reorder(network.state_dict(), moves)
    reorder_optimizer(optimizer, network, moves)
    with torch.no_grad():
        torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-4)
    for parameter in network.parameters():
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], 2 * parameter)
    for block in (block for stage in network.stages for block in stage):
        importance = block.norm1.weight.abs() * block.conv2.weight.abs().sum((0, 2, 3))
        assert torch.equal(importance, importance.sort(descending=True).values)


def test_the_channels_that_count_are_cut_last() -> None:
    """Of a network in which some channels do nothing, they are what goes."""
    network = _largest()
    idle = {0: [0, 3, 5, 7], 1: [2, 9, 17, 20]}  # as many as the widths let go in one step, in places that may be cut
    with torch.no_grad():
        for stage, channels in idle.items():
            for block in network.stages[stage]:
                block.norm1.weight[channels] = 0
                block.norm1.bias[channels] = 0
    images = torch.randn(6, 1, 10, 10)
    reorder(network.state_dict(), channel_moves(network, SHAPES))
    for stage, channels in idle.items():
        for block in network.stages[stage]:
            assert not block.norm1.weight[-len(channels) :].any()
    assert torch.isfinite(network(images)).all()
