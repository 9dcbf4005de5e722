"""Single weights: exact counts, masks that last, and what is left when they are taken away."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.masks import apply_masks, attach_masks, copy_network, finalise, read_masks
from slimfront.evaluators.pruning.phase import make_cutter
from slimfront.evaluators.pruning.structure import load_pruned
from slimfront.evaluators.scoring.score import score
from slimfront.models import Network, build
from slimfront.models.network import weight_layers
from slimfront.spaces import Architecture, Sparsity, sparsity
from slimfront.spaces.candidate import CandidateError
from torch import nn
from torch.nn.utils import prune

SHAPE = (3, 8, 8)
ARCHITECTURE = Architecture(
    "residual", stem_width=4, stem_stride=1, widths=(4, 6), depths=(1, 1), strides=(1, 2), shortcut="padding"
)


def fresh() -> Network:
    return build(ARCHITECTURE, 5, seed=3)


def images(count: int = 64) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(0, 5, (count,), generator=generator))


def pruned(step: Sparsity, seed: int = 0) -> Network:
    network = fresh()
    make_cutter(network, step, images(), seed).cut(1.0)
    return network


def test_global_l1_is_what_torch_calls_global_unstructured() -> None:
    expected = fresh()
    layers = [(layer, "weight") for layer in weight_layers(expected).values()]
    total = sum(layer.weight.numel() for layer, _ in layers)
    prune.global_unstructured(layers, prune.L1Unstructured, amount=round(0.7 * total))
    network = pruned(sparsity("global_l1", 0.7))
    for name, mask in read_masks(network).items():
        assert torch.equal(mask, expected.get_submodule(name).weight_mask)


def test_a_hand_count() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.arange(1, 385).view(2, 192) / 384)
    make_cutter(network, sparsity("global_l1", 0.75), images(), 0).cut(1.0)
    assert score(network, SHAPE).stored_weights == 96
    assert network[1].weight_mask.flatten().tolist() == [0.0] * 288 + [1.0] * 96


@pytest.mark.parametrize("criterion", ["l1", "l2", "taylor", "random"])
@pytest.mark.parametrize("scope", ["global", "layer", "stage"])
def test_the_ratio_is_met_to_one_weight(criterion: str, scope: str) -> None:
    ratio = {"ratios": (0.37, 0.61)} if scope == "stage" else {"ratio": 0.37}
    step = Sparsity("weights", criterion, scope, "once", **ratio)
    network = fresh()
    cutter = make_cutter(network, step, images(), 1)
    cutter.cut(1.0)
    report = cutter.report()
    assert report.met
    if scope == "global":
        assert abs(report.removed - 0.37 * report.before) <= 0.5
    for layer in report.layers:
        asked = 0.61 if scope == "stage" and not layer.name.startswith(("stem", "stages.0")) else 0.37
        if scope != "global":
            assert abs(layer.before - layer.after - asked * layer.before) <= 0.5
    counted = {layer.name: layer.stored_weights for layer in score(network, SHAPE).layers}
    assert counted == {layer.name: layer.after for layer in report.layers}


@settings(max_examples=15, deadline=None)
@given(
    st.floats(0, 0.999), st.floats(0, 0.999), st.sampled_from(["global", "layer"]), st.sampled_from(["l1", "random"])
)
def test_more_pruning_never_raises_the_score(one: float, other: float, scope: str, criterion: str) -> None:
    low, high = sorted((one, other))
    scores = [score(pruned(Sparsity("weights", criterion, scope, "once", ratio)), SHAPE) for ratio in (low, high)]
    assert scores[1].score <= scores[0].score
    assert scores[1].stored_weights <= scores[0].stored_weights


def test_l1_and_l2_agree_on_single_weights_and_chance_does_not() -> None:
    kept = {
        criterion: read_masks(pruned(Sparsity("weights", criterion, "global", "once", 0.5)))["stem.conv"]
        for criterion in ("l1", "l2", "random")
    }
    assert torch.equal(kept["l1"], kept["l2"])
    assert not torch.equal(kept["l1"], kept["random"])


def test_taylor_looks_at_gradients_and_leaves_no_trace() -> None:
    network = fresh()
    network.classifier.weight.grad = torch.ones_like(network.classifier.weight)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    make_cutter(network, sparsity("taylor_weights", 0.5, rounds=1), images(), 0).cut(1.0)
    assert network.training
    assert network.stem.conv.weight_orig.grad is None
    assert torch.equal(network.classifier.weight_orig.grad, torch.ones_like(network.classifier.weight))
    assert all(torch.equal(buffers[name], network.get_buffer(name)) for name in buffers)
    assert not torch.equal(
        network.stem.conv.weight_mask, read_masks(pruned(Sparsity("weights", "l1", "global", "once", 0.5)))["stem.conv"]
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_masked_weights_stay_zero_through_momentum_and_weight_decay(optimizer: str) -> None:
    network = fresh()
    options = {"sgd": (torch.optim.SGD, {"momentum": 0.9}), "adamw": (torch.optim.AdamW, {})}
    kind, more = options[optimizer]
    inputs, labels = torch.randn(16, *SHAPE), torch.randint(0, 5, (16,))
    make_cutter(network, sparsity("global_l1", 0.2), images(), 0).cut(1.0)
    algorithm = kind(network.parameters(), lr=0.1, weight_decay=0.1, **more)
    for step in range(6):
        if step == 3:  # momentum has gathered for weights that are masked only now
            make_cutter(network, sparsity("global_l1", 0.6), images(), 0).cut(1.0)
        algorithm.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        algorithm.step()
    network.eval()(inputs)
    masks = read_masks(network)
    for name, mask in masks.items():
        assert network.get_submodule(name).weight[mask == 0].abs().sum() == 0
    apply_masks(network)
    for name, mask in masks.items():
        assert network.get_submodule(name).weight_orig[mask == 0].abs().sum() == 0


def test_finalised_is_plain_with_exact_zeros_and_the_same_logits_and_score() -> None:
    network = pruned(sparsity("global_l1", 0.8)).eval()
    inputs = torch.randn(2, *SHAPE)
    with torch.no_grad():
        logits, counted = network(inputs), score(network, SHAPE)
        masks = read_masks(network)
        finalise(network)
        assert torch.equal(network(inputs), logits)
    assert network.state_dict().keys() == fresh().state_dict().keys()
    assert score(network, SHAPE) == counted
    for name, mask in masks.items():
        assert torch.equal(network.get_submodule(name).weight != 0, mask != 0)
    assert read_masks(network) == {}


def test_masks_can_be_carried_over_and_pruning_goes_on_after_finalising() -> None:
    network = pruned(sparsity("global_l1", 0.5))
    masks = read_masks(network)
    finalise(network)
    attach_masks(network, masks)
    assert not hasattr(network.stem.conv, "stored_weights")
    finalise(network)
    before = score(network, SHAPE).stored_weights
    make_cutter(network, sparsity("global_l1", 0.5), images(), 0).cut(1.0)
    assert abs(score(network, SHAPE).stored_weights - before / 2) <= 1
    with pytest.raises(PruningError, match=r"'stem\.nothing'"):
        attach_masks(network, {"stem.nothing": torch.ones(1)})
    with pytest.raises(PruningError, match=r"\(4, 3, 3, 3\), but got \(2,\)"):
        attach_masks(network, {"stem.conv": torch.ones(2)})


def test_a_trained_masked_network_can_be_copied_saved_and_loaded() -> None:
    network = pruned(sparsity("global_l1", 0.5))
    inputs = torch.randn(2, *SHAPE)
    network(inputs).sum().backward()
    twin = copy_network(network).eval()
    loaded = fresh()
    load_pruned(loaded, copy.deepcopy(network.state_dict()))
    network.eval()
    loaded.eval()
    with torch.no_grad():
        assert torch.equal(twin(inputs), network(inputs))
        assert torch.equal(loaded(inputs), network(inputs))
    assert score(loaded, SHAPE) == score(network, SHAPE)


def test_a_second_cut_takes_from_what_is_left_only() -> None:
    network = fresh()
    cutter = make_cutter(network, Sparsity("weights", "random", "layer", "iterative", 0.6, rounds=2), images(), 5)
    cutter.cut(0.5)
    first = read_masks(network)
    cutter.cut(1.0)
    assert cutter.report().met
    assert all(bool((mask <= first[name]).all()) for name, mask in read_masks(network).items())


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_impossible_ratios_are_one_line_with_the_value(ratio: float) -> None:
    for make in (lambda: sparsity("han", ratio), lambda: Sparsity("weights", "l1", "layer", "once", ratio)):
        with pytest.raises(CandidateError) as caught:
            make()
        assert str(ratio) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_unknown_methods_are_one_line_with_the_value() -> None:
    with pytest.raises(CandidateError, match=r"no pruning method 'hann': did you mean han\? known are global_l1, "):
        sparsity("hann", 0.5)
    with pytest.raises(PruningError, match="Sequential has nothing to prune: no convolution and no linear layer"):
        make_cutter(nn.Sequential(nn.ReLU()), sparsity("han", 0.5), images(), 0)


def test_almost_everything_leaves_one_weight_a_layer() -> None:
    network = pruned(Sparsity("weights", "l1", "layer", "once", 0.9999))
    assert {layer.stored_weights for layer in score(network, SHAPE).layers} == {1}
