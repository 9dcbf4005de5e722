"""Folding batch norm: the same logits, fewer numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from random_architectures import architectures
from slimfront.models import build, fold_batch_norm, weight_layers
from slimfront.models.folding import FoldingError
from slimfront.spaces import presets
from slimfront.spaces.candidate import Architecture
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune


def trained(network: nn.Module) -> nn.Module:
    """A network in evaluation mode whose batch norms have seen something; in double, so that equal is equal."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.normal_(generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
    return network.double().eval()


def norms(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]


@settings(max_examples=25, deadline=None)
@given(architectures())
def test_logits_are_the_same_in_every_family(architecture: Architecture) -> None:
    network = trained(build(architecture, classes=4, seed=0))
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
        assert fold_batch_norm(network) is network
        assert torch.allclose(network(images), expected, rtol=1e-9, atol=1e-9)
    # What sees a sum or a concatenation has no convolution to be folded into.
    assert all(name.endswith((".norm1", ".norm")) for name in norms(network))
    if architecture.family in ("residual", "inverted"):
        assert norms(network) == []


def test_float32_logits_agree_to_rounding() -> None:
    network = trained(build(presets["resnet20"].architecture, classes=10, seed=0)).float()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        difference = (fold_batch_norm(network)(images) - expected).abs().max()
    assert difference <= 1e-5 * expected.abs().max()


def test_norms_of_concatenations_stay() -> None:
    network = fold_batch_norm(build(presets["small_dense"].architecture, classes=10))
    left = norms(network)
    assert left
    assert all(name.endswith((".norm1", ".norm")) for name in left)
    assert "stem.norm" not in left


def test_folding_twice_changes_nothing_more() -> None:
    network = fold_batch_norm(trained(build(presets["digits"].architecture, classes=10, channels=1, seed=0)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    after = fold_batch_norm(network).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_masked_weights_stay_masked() -> None:
    network = trained(build(presets["digits"].architecture, classes=10, channels=1, seed=0))
    for layer in weight_layers(network).values():
        prune.random_unstructured(layer, "weight", 0.5)
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
        fold_batch_norm(network)
        conv = network.get_submodule("stem.conv")
        assert not conv.weight[conv.weight_mask == 0].any()
        assert torch.allclose(network(images), expected)
    prune.remove(conv, "weight")
    assert torch.allclose(network(images), expected)


def test_plain_sequences_fold_with_the_bias_that_they_have() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))
    trained(network)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    expected = network(x)
    assert norms(fold_batch_norm(network)) == ["3"]  # the second one follows an activation
    assert torch.allclose(network(x), expected)


def test_a_weight_that_two_convolutions_share_is_scaled_for_neither() -> None:
    first, second = (nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2))
    second.weight = first.weight
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), first, nn.BatchNorm2d(3), second, nn.BatchNorm2d(3))
    trained(network)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    expected = network(x)
    assert norms(fold_batch_norm(network)) == ["3", "5"]
    assert torch.allclose(network(x), expected)


def test_a_norm_without_statistics_or_factors() -> None:
    kept = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False))
    assert norms(fold_batch_norm(kept)) == ["1"]
    folded = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False)).double().eval()
    folded[1].running_mean.fill_(0.5)
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    expected = folded(x)
    assert torch.allclose(fold_batch_norm(folded)(x), expected)


def test_a_layer_may_scale_its_filters_itself() -> None:
    class Own(nn.Conv2d):
        scaled: Tensor | None = None

        def scale_filters(self, scale: Tensor) -> None:
            self.scaled = scale

    network = nn.Sequential(Own(2, 3, 1), nn.BatchNorm2d(3)).eval()
    weight = network[0].weight.clone()
    fold_batch_norm(network)
    assert torch.allclose(network[0].scaled, torch.ones(3), atol=1e-4)
    assert torch.equal(network[0].weight, weight)


def test_parametrized_convolutions_are_refused_before_anything_changes() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)
    )
    with pytest.raises(FoldingError, match="2 is parametrized"):
        fold_batch_norm(network)
    assert norms(network) == ["1", "3"]
