"""The family of pre-activation bottlenecks: its network counted by hand, and all that a network goes through."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from slimfront.evaluators.artifacts.artifact import ArtifactError, from_bytes, to_bytes
from slimfront.evaluators.artifacts.container import expand, seal, squeeze, unseal
from slimfront.evaluators.pruning.groups import find_groups, remove_channels
from slimfront.evaluators.pruning.structure import load_pruned
from slimfront.evaluators.scoring.counting import count_macs
from slimfront.evaluators.scoring.expected import expected_score
from slimfront.models import build, fold_batch_norm
from slimfront.models.network import weight_layers
from slimfront.spaces import Architecture, Bits, Candidate, CandidateError, Pruning, Space, SpaceError, sparsity
from slimfront.spaces.options import Options
from slimfront.studies.report.methods_used import shape, used
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.evaluators.finished_networks import SHAPE, finished, images

SMALL = Architecture(
    "bottleneck",
    stem_width=8,
    stem_stride=1,
    widths=(16, 32),
    depths=(2, 1),
    strides=(1, 2),
    options=Options({"reduction": (2, 4), "groups": (4, 2)}),
)


def test_weights_and_macs_by_hand() -> None:
    """8x8 images: 64 positions in the stem and in stage 0, 16 behind the 3x3 convolution of stage 1."""
    network = build(SMALL, 10, seed=0)
    by_hand = {
        "stem.conv": (3 * 8 * 9, 64),
        "stages.0.0.conv1": (8 * 8, 64),
        "stages.0.0.conv2": (8 * 8 // 4 * 9, 64),  # 16 / 2 channels in 4 groups
        "stages.0.0.conv3": (8 * 16, 64),
        "stages.0.1.conv1": (16 * 8, 64),
        "stages.0.1.conv2": (8 * 8 // 4 * 9, 64),
        "stages.0.1.conv3": (8 * 16, 64),
        "stages.1.0.conv1": (16 * 8, 64),
        "stages.1.0.conv2": (8 * 8 // 2 * 9, 16),  # 32 / 4 channels in 2 groups
        "stages.1.0.conv3": (8 * 32, 16),
        "classifier": (32 * 10, 1),
    }
    assert {name: layer.weight.numel() for name, layer in weight_layers(network).items()} == {
        name: weights for name, (weights, _) in by_hand.items()
    }
    assert count_macs(network, (3, 8, 8)) == {name: weights * places for name, (weights, places) in by_hand.items()}
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.zeros(1, 3, 8, 8))
    assert counter.get_total_flops() == 2 * sum(weights * places for weights, places in by_hand.values())


def test_a_network_begins_as_its_shortcuts_alone() -> None:
    network = build(SMALL, 10, seed=0)
    x = torch.randn(4, 8, 8, 8)
    for stage in network.stages:
        for block in stage[:-1] if isinstance(stage[-1], type(network.stages[-1][-1])) else stage:
            expected = block.shortcut(x.clone())
            x = block(x.clone())
            assert torch.equal(x, expected)
    network(torch.randn(4, 3, 8, 8)).sum().backward()
    gradients = [block.norm4.weight.grad for block in network.stages[0]]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients), "it would never begin"


def test_folding_changes_nothing() -> None:
    network = build(SMALL, 10, seed=0)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    x = torch.randn(8, 3, 8, 8)
    network(x)
    network.eval()
    with torch.no_grad():
        before = network(x)
        after = fold_batch_norm(network)(x)
    assert torch.allclose(before, after, atol=1e-4)
    left = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == ["stages.0.0.norm1", "stages.0.1.norm1", "stages.1.0.norm1", "stages.1.1.norm"]


def test_groups_go_as_a_whole() -> None:
    network = build(SMALL, 10, seed=0).eval()
    groups = {group.name: group for group in find_groups(network, (3, 8, 8))}
    inside = groups["stages.0.0.conv1"]
    assert (inside.channels, inside.size) == (4, 2)
    assert [member.name for member in inside.filters] == ["stages.0.0.conv1", "stages.0.0.conv2"]
    assert [member.name for member in inside.readers] == ["stages.0.0.conv3"]
    with torch.no_grad():
        conv1, conv2, conv3 = (network.get_submodule(f"stages.0.0.conv{i}") for i in (1, 2, 3))
        conv3.weight[:, 2:4] = 0  # type: ignore[index]
        network.get_submodule("stages.0.0.norm4").weight.fill_(1)  # type: ignore[operator, union-attr]
        x = torch.randn(2, 3, 8, 8)
        before = network(x)
        gone = {name: torch.tensor([1] if name == inside.name else [], dtype=torch.int64) for name in groups}
        remove_channels(network, groups.values(), gone)
        assert torch.allclose(network(x), before, atol=1e-5)
    assert (conv1.out_channels, conv2.in_channels, conv2.groups, conv3.in_channels) == (6, 6, 3, 6)
    again = build(SMALL, 10, seed=1)
    load_pruned(again, network.state_dict())
    assert torch.allclose(again.eval()(x), before, atol=1e-5)


@pytest.mark.parametrize("method", ["li_filters", "slimming", "taylor", "thinet", "random_filters"])
@pytest.mark.parametrize("ratio", [0.3, 0.97])
def test_every_method_removes_filters(method: str, ratio: float) -> None:
    candidate = Candidate(SMALL, pruning=Pruning(filters=sparsity(method, ratio)))
    whole = expected_score(Candidate(SMALL), (3, 8, 8), 10)
    pruned = expected_score(candidate, (3, 8, 8), 10)
    assert pruned.weights < whole.weights * (1 - ratio / 2)


@pytest.mark.parametrize("bits", [Bits(), Bits.uniform(4, 4, outer=8)], ids=["float", "W4A4"])
def test_artifact_and_onnx_hold_the_pruned_network(bits: Bits, tmp_path: Path) -> None:
    network = finished(SMALL, bits, filters=True, masked=0.3)
    assert {layer.groups for layer in weight_layers(network).values() if isinstance(layer, nn.Conv2d)} > {1}
    loaded = from_bytes(to_bytes(network, SHAPE)).network
    batch = images(8, seed=3)
    with torch.no_grad():
        assert torch.equal(loaded(batch), network(batch))
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from slimfront.evaluators.artifacts.onnx_export import agreement, export

    export(loaded, tmp_path / "n.onnx", SHAPE)
    assert agreement(tmp_path / "n.onnx", network, images(100, seed=4)) >= 0.98


def test_an_artifact_with_a_part_of_a_group_is_refused() -> None:
    arrays, facts = unseal(to_bytes(finished(SMALL, Bits()), SHAPE))
    rows = expand(facts["layers"])
    rows[2][0] = 5  # of the first 3x3 convolution's four groups of two channels
    facts = {key: value for key, value in facts.items() if key != "seal"} | {"layers": squeeze(rows)}
    with pytest.raises(ArtifactError, match="groups"):
        from_bytes(seal(arrays, facts))


def test_a_space_draws_it_and_knows_the_way_back() -> None:
    space = Space(
        {
            "architecture": {
                "family": ["bottleneck"],
                "bottleneck": {
                    "stem_width": [8, 16],
                    "stages": [1, 3],
                    "width": {"low": 8, "high": 128, "step": 8},
                    "depth": [1, 4],
                    "reduction": [1, 2, 4],
                    "groups": [1, 2, 4],
                },
            }
        }
    )
    seen = set()
    for seed in range(20):
        trial = _First(seed)
        candidate = space.sample(trial)  # type: ignore[arg-type]
        seen.add(len(candidate.architecture.widths))
        assert space.parameters(candidate) == trial.asked
        assert Candidate.from_json(candidate.to_json()) == candidate
        assert "bottleneck.groups.0" in trial.asked
    assert seen == {1, 3}
    with pytest.raises(SpaceError, match="groups"):
        Space({"architecture": {"family": "bottleneck", "bottleneck": _FIXED | {"groups": [1, 3]}}})


_FIXED = {"stem_width": 8, "stages": 1, "width": 8, "depth": 1}


class _First:
    """A trial that draws at random, and notes what."""

    def __init__(self, seed: int) -> None:
        self.asked: dict[str, Any] = {}
        self._chance = torch.Generator().manual_seed(seed)

    def _pick(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self._chance))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked[name] = choices[self._pick(len(choices))]
        return self.asked[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.asked[name] = low + step * self._pick((high - low) // step + 1)
        return int(self.asked[name])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reduction": [2, 4]}, "options.groups must be given"),
        ({"reduction": [2, 4], "groups": [4, 2], "speed": 1}, "options.speed is unknown"),
        ({"reduction": [2, 4], "groups": [4]}, "a list of 2"),
        ({"reduction": [2, 4], "groups": [4, 3]}, "one of 1, 2, 4"),
        ({"reduction": [2, 4], "groups": [4, 2.0]}, "one of 1, 2, 4"),
        ({"reduction": 2, "groups": [4, 2]}, "a list of 2"),
        ({"reduction": [2, 4], "groups": [4, None]}, "options.groups"),
        ([1, 2], "options must be"),
        (None, "options must be"),
    ],
)
def test_wrong_options_are_refused_by_name(options: Any, said: str) -> None:
    with pytest.raises(CandidateError, match=said):
        Architecture.from_dict(SMALL.to_dict() | {"options": options})


def test_other_families_have_no_options() -> None:
    other = replace(SMALL, family="dense", compression=0.5, options=Options())
    assert "options" not in json.loads(other.to_json())
    with pytest.raises(CandidateError, match=r"options\.groups is unknown in the family dense"):
        replace(other, options=Options({"groups": 1}))


def test_it_is_named_in_words() -> None:
    (network, *_) = used([Candidate(SMALL)])
    assert network.name == "Pre-activation bottlenecks"
    assert "arXiv:1603.05027" in network.source
    assert shape(Candidate(SMALL)) == "bottleneck 16-32 × 2-1, reduction 2-4, groups 4-2"


def test_forty_layers_can_be_built_and_pruned() -> None:
    architecture = Architecture(
        "bottleneck",
        stem_width=8,
        stem_stride=1,
        widths=(8, 32, 128),
        depths=(4, 4, 5),
        strides=(1, 2, 2),
        options=Options({"reduction": (1, 2, 4), "groups": (8, 4, 32)}),
    )
    network = build(architecture, 10, seed=0)
    assert len(weight_layers(network)) == 1 + 3 * 13 + 1
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    candidate = Candidate(architecture, pruning=Pruning(filters=sparsity("li_filters", 0.5)))
    assert expected_score(candidate, (3, 8, 8), 10).weights < 0.5 * sum(
        layer.weight.numel() for layer in weight_layers(network).values()
    )
