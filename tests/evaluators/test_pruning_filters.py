"""Whole filters: hand counts, never below one a layer, and the criteria that choose."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.pruning.accounting import account
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.groups import find_groups
from slimfront.evaluators.pruning.importance import draw_sample, filter_importance
from slimfront.evaluators.pruning.phase import make_cutter
from slimfront.evaluators.pruning.reconstruction import removal_errors, rescaling
from slimfront.evaluators.pruning.report import Report
from slimfront.evaluators.pruning.structure import load_pruned
from slimfront.evaluators.scoring.score import formula, score
from slimfront.models import Network
from slimfront.spaces import Pruning, Sparsity, sparsity
from slimfront.spaces.criteria import CRITERIA
from test_pruning_groups import ARCHITECTURES, SHAPE, network_of
from torch import nn


def images(count: int = 64) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(0, 5, (count,), generator=generator))


def cut(network: Network, step: Sparsity, seed: int = 0) -> Report:
    cutter = make_cutter(network, step, images(), seed)
    cutter.cut(1.0)
    return cutter.report()


def widths(network: Network) -> dict[str, tuple[int, int]]:
    return {
        name: (layer.weight.shape[0], layer.weight.shape[1])
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def test_hand_count_residual() -> None:
    network = network_of("padding")
    cut(network, Sparsity("filters", "l1", "layer", "once", 0.5))
    assert widths(network) == {
        "stem.conv": (2, 3),
        "stages.0.0.conv1": (2, 2),
        "stages.0.0.conv2": (2, 2),
        "stages.0.1.conv1": (2, 2),
        "stages.0.1.conv2": (2, 2),
        "stages.1.0.conv1": (4, 2),
        "stages.1.0.conv2": (4, 4),
        "stages.2.0.conv1": (4, 4),
        "stages.2.0.conv2": (4, 4),
        "stages.2.1.conv1": (4, 4),
        "stages.2.1.conv2": (4, 4),
        "classifier": (5, 4),
    }
    counted = score(network, SHAPE)
    # stem 3x2 and four 2x2 at 8x8; 2x4 and 4x4 at 4x4; four 4x4 at 2x2; all kernels 9.
    assert counted.macs == 64 * 9 * (6 + 4 * 4) + 16 * 9 * (8 + 16) + 4 * 9 * 4 * 16 + 20
    assert counted.weights == 9 * (6 + 16 + 8 + 16 + 64) + 20


def test_hand_count_inverted_and_dense() -> None:
    network = network_of("inverted")
    cut(network, Sparsity("filters", "l2", "layer", "once", 0.5))
    found = widths(network)
    assert found["stages.1.1.expand.conv"] == (9, 3)
    assert found["stages.1.1.depthwise.conv"] == (9, 1)
    assert found["stages.1.1.project.conv"] == (3, 9)
    assert found["head.conv"] == (5, 3)
    network = network_of("dense")
    cut(network, Sparsity("filters", "l2", "layer", "once", 1 / 3))
    found = widths(network)
    assert found["stem.conv"] == (3, 3)
    assert found["stages.0.1.conv2"] == (2, 8)
    assert found["stages.0.2.conv1"] == (8, 3 + 2 + 2)
    assert found["classifier"] == (5, 4 + 2 + 2)


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize(
    ("criterion", "scope"),
    [
        *((criterion, "global") for criterion in CRITERIA.names),
        ("feature_map", "layer"),
        ("l1", "layer"),
        ("l1", "stage"),
    ],
)
def test_the_ratio_is_met_to_one_filter_a_layer(family: str, criterion: str, scope: str) -> None:
    network = network_of(family)
    stages = len(ARCHITECTURES[family].widths)
    ratio = {"ratios": (0.3, 0.6, 0.6)[:stages]} if scope == "stage" else {"ratio": 0.4}
    report = cut(network, Sparsity("filters", criterion, scope, "once", **ratio))
    assert report.met
    assert "removed" in report.message
    with torch.no_grad():
        assert network(torch.rand(2, *SHAPE)).isfinite().all()
    if scope == "layer":
        assert all(abs(layer.before * 0.6 - layer.after) <= 0.5 + 1e-9 for layer in report.layers)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_never_below_one_filter_and_never_a_class(family: str) -> None:
    for scope in ("global", "layer"):
        network = network_of(family)
        report = cut(network, Sparsity("filters", "l1", scope, "once", 0.99))
        assert min(outputs for outputs, _ in widths(network).values()) == 1
        assert widths(network)["classifier"][0] == 5
        with torch.no_grad():
            assert network(torch.rand(2, *SHAPE)).shape == (2, 5)
    assert report.ratio < 0.99


def test_a_ratio_that_cannot_be_met_says_by_how_much() -> None:
    network = network_of("padding")
    report = cut(network, Sparsity("filters", "l1", "global", "once", 0.99))
    assert not report.met
    assert report.before == 4 * 5 + 8 * 6
    assert report.removed == report.before - 11
    assert report.message == (
        "57 of 68 filters removed (83.82%; asked for 99.00%): 10 too few; 11 of 11 layers are down to their last one."
    )


@settings(max_examples=12, deadline=None)
@given(
    st.floats(0, 0.99), st.floats(0, 0.99), st.sampled_from(sorted(ARCHITECTURES)), st.sampled_from(["global", "layer"])
)
def test_more_pruning_never_raises_the_score(one: float, other: float, family: str, scope: str) -> None:
    found = []
    for ratio in sorted((one, other)):
        network = network_of(family)
        cut(network, Sparsity("filters", "l1", scope, "once", ratio))
        found.append(score(network, SHAPE))
    assert found[1].score <= found[0].score
    assert found[1].macs <= found[0].macs


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_pruned_and_saved_network_loads_to_the_same_logits(family: str) -> None:
    network = network_of(family)
    cut(network, Sparsity("filters", "l1", "global", "once", 0.4))
    make_cutter(network, sparsity("global_l1", 0.3), images(), 0).cut(1.0)
    inputs = torch.rand(3, *SHAPE)
    loaded = network_of(family)
    load_pruned(loaded, {name: tensor.clone() for name, tensor in network.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(loaded(inputs), network(inputs))
    assert score(loaded, SHAPE) == score(network, SHAPE)
    assert widths(loaded) == widths(network)


def test_a_state_of_another_architecture_does_not_load() -> None:
    with pytest.raises(PruningError, match="another architecture"):
        load_pruned(network_of("padding"), network_of("dense").state_dict())


def test_filters_come_before_weights() -> None:
    network = network_of("padding")
    make_cutter(network, sparsity("global_l1", 0.3), images(), 0).cut(1.0)
    with pytest.raises(PruningError, match=r"before single weights, but layer 'stem.conv' has a mask"):
        make_cutter(network, sparsity("li_filters", 0.3), images(), 0)


def test_criteria_see_what_they_should() -> None:
    network = network_of("projection")
    groups = find_groups(network, SHAPE)
    inner = next(group for group in groups if group.name == "stages.1.1.conv1")
    block = network.get_submodule("stages.1.1")
    with torch.no_grad():
        block.conv1.weight.copy_((torch.arange(1.0, 7.0) / 1000).view(6, 1, 1, 1).expand_as(block.conv1.weight))
        block.norm1.weight.copy_(torch.tensor([6.0, -5, 4, 3, -2, 1]))
        block.norm1.bias.fill_(20)  # none is silent by itself
        block.conv2.weight[:, 2] = 0  # nobody hears channel 2
    sample = draw_sample(images(), 0)

    def order(criterion: str) -> list[int]:
        return filter_importance(network, (inner,), criterion, sample, 0)[inner.name].argsort().tolist()

    assert order("l1") == order("l2") == [0, 1, 2, 3, 4, 5]
    assert order("batch_norm") == [5, 4, 3, 2, 1, 0]
    assert order("feature_map")[0] == 2
    assert order("taylor")[0] == 2
    assert order("random") == order("random")


def test_batch_norm_scales_need_a_batch_norm() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(4, 5))
    with pytest.raises(PruningError, match="batch_norm needs a batch norm behind '0'"):
        make_cutter(network, Sparsity("filters", "batch_norm", "layer", "once", 0.5), images(), 0).cut(1.0)
    assert make_cutter(network, Sparsity("filters", "taylor", "layer", "once", 0.5), images(), 0).ratios == {
        "0": 0.5,
        "1": 0.5,
    }


def test_greedy_removal_is_the_best_of_all_single_steps() -> None:
    contributions = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    contributions[:, 4] = -contributions[:, 1]  # these two make up for each other
    contributions[:, 1] *= 3
    contributions[:, 4] *= 3
    gram = contributions.T @ contributions
    removed: list[int] = []
    for _ in range(6):
        left = [index for index in range(6) if index not in removed]
        removed.append(min(left, key=lambda index: float(contributions[:, [*removed, index]].sum(1).square().sum())))
    assert removal_errors(gram).argsort().tolist() == removed


def test_rescaling_makes_up_for_what_is_missing() -> None:
    contributions = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    contributions[:, 2] = 0.5 * contributions[:, 0]
    factors = rescaling(contributions.T @ contributions, torch.tensor([0, 1]))
    torch.testing.assert_close(factors, torch.tensor([1.5, 1.0], dtype=torch.float64), rtol=0, atol=0.02)


def test_the_account_shows_what_the_nominal_formula_hides() -> None:
    network = network_of("padding")
    dense = score(network, SHAPE)
    pruning = Pruning(Sparsity("filters", "l1", "layer", "once", 0.5), Sparsity("weights", "l1", "global", "once", 0.4))
    assert pruning.filters is not None
    assert pruning.weights is not None
    cut(network, pruning.filters)
    middle = score(network, SHAPE)
    cut(network, pruning.weights)
    booked = account(dense, score(network, SHAPE), pruning)
    assert booked.weights == dense.weights
    assert booked.p_s == pytest.approx(1 - middle.weights / dense.weights)
    assert booked.p_s > 0.7  # not the nominal 0.5: inputs are gone as well as outputs
    assert booked.p_u == pytest.approx((1 - booked.p_s) * 0.4, abs=1 / dense.weights)
    assert (booked.nominal_p_s, booked.nominal_p_u) == (0.5, pytest.approx(0.2))
    assert booked.score == score(network, SHAPE).score
    assert booked.nominal_formula == formula(dense.weights, dense.macs, 0.5, 0.2) > booked.score
    assert booked.formula == pytest.approx(formula(dense.weights, dense.macs, booked.p_s, booked.p_u))
