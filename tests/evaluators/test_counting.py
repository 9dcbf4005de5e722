"""Networks of all kinds, counted by hand and by torch's FlopCounterMode; what no rule counts is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops
from slimfront.evaluators.scoring.expected import expected_score
from slimfront.evaluators.scoring.score import Score, ScoreError, score
from slimfront.models import build
from slimfront.spaces import Candidate, references
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode


def _flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds by torch's own counter."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


class Run(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor], **tensors: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)
        self.names = tuple(tensors)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *(getattr(self, name) for name in self.names))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())
        return self.out(mixed.transpose(1, 2).reshape(n, tokens, width))


class VisionTransformer(nn.Module):
    """Patches of 4x4, a class token, positions, one block of width 8 with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 17, 8))
        self.norm1, self.attention = nn.LayerNorm(8), Attention(8, 2)
        self.norm2, self.inside = nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.positions
        x = x + self.attention(self.norm1(x))
        x = x + self.inside(self.norm2(x))
        return self.head(x[:, 0])


def test_a_vision_transformer() -> None:
    result = score(VisionTransformer(), (3, 16, 16))
    tokens, attention = 17, 17 * 17 * 8 * 2  # query by key, then by value, for both heads together
    linear = {"attention.qkv": 8 * 24, "attention.out": 64, "inside.0": 128, "inside.2": 128}
    by_hand = {"patches": 16 * 384, **{name: tokens * weights for name, weights in linear.items()}, "head": 80}
    assert {row.name: row.macs for row in result.layers} == {**by_hand, "attention": attention}
    assert result.weights == 384 + sum(linear.values()) + 80
    # Positions, token and norms multiply nothing: they are stored, and that is all.
    biases = 8 + 24 + 8 + 16 + 8 + 10
    assert result.strict_bits == 32 * (result.weights + biases + 17 * 8 + 8 + 2 * 16)
    assert result.parameters == result.weights + biases + 17 * 8 + 8 + 2 * 16
    # torch's counter knows attention on a GPU only.
    assert _flops(VisionTransformer(), (3, 16, 16)) in (result.macs, result.macs - attention)


def _checked(network: nn.Module, shape: tuple[int, ...], macs: int, weights: int) -> Score:
    result = score(network, shape)
    assert (result.macs, result.weights) == (macs, weights)
    assert _flops(network, shape) == macs
    return result


def test_a_convnext_block() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(6, 6, 7, padding=3, groups=6)
            self.norm, self.expand, self.reduce = nn.LayerNorm(6), nn.Linear(6, 24), nn.Linear(24, 6)
            self.scale = nn.Parameter(torch.full((6,), 1e-6))

        def forward(self, x: Tensor) -> Tensor:
            inside = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            inside = self.scale * self.reduce(F.gelu(self.expand(inside)))
            return x + inside.permute(0, 3, 1, 2)

    weights = 6 * 49 + 6 * 24 + 24 * 6
    result = _checked(Block(), (6, 8, 8), 64 * weights, weights)
    assert result.strict_bits == 32 * (weights + 6 + 24 + 6 + 12 + 6)


def test_a_network_of_prelus_and_group_norms() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.PReLU(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4))
    result = _checked(network, (3, 8, 8), 36 * 108, 108)
    assert result.strict_bits == 32 * (108 + 4 + 8)


def test_a_u_net_with_transposed_convolutions() -> None:
    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 2, 2)
            self.out = nn.Conv2d(7, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.cat((x, self.up(self.down(x))), 1))

    # A transposed convolution puts every input into kernel x kernel places of every output channel.
    macs = 16 * 216 + 16 * 8 * 4 * 4 + 64 * 14
    result = _checked(UNet(), (3, 8, 8), macs, 216 + 128 + 14)
    assert {row.name: row.kind for row in result.layers} == {"down": "conv", "out": "conv", "up": "product"}


def test_an_audio_network_in_one_dimension() -> None:
    network = nn.Sequential(
        nn.Conv1d(1, 8, 9, 4, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    _checked(network, (1, 64), 16 * 72 + 40, 72 + 40)


@pytest.mark.parametrize("module", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_classifier(module: Any) -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = module(5, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.cell(x)[0][:, -1])

    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[module]
    weights = gates * 8 * (5 + 8)
    result = score(Classifier(), (7, 5))
    assert {row.name: (row.weights, row.macs) for row in result.layers} == {
        "out": (24, 24),
        "cell": (weights, 7 * weights),
    }
    with torch.backends.mkldnn.flags(enabled=False):  # torch's counter does not know the fused layer
        assert _flops(Classifier(), (7, 5)) == result.macs
    assert result.strict_bits == 32 * (weights + 24 + 3 + 2 * gates * 8)


def test_a_whole_transformer_layer() -> None:
    """Its fast path is one operation; it is counted step by step."""
    result = score(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8))
    assert result.weights == 3 * 64 + 64 + 2 * 128
    assert result.macs == 5 * result.weights + 5 * 5 * 8 * 2


W = torch.ones(12, 6)


@pytest.mark.parametrize(
    ("function", "tensors", "macs", "weights"),
    [
        (lambda x, w: x.flatten(1) @ w, {"w": W}, 72, 72),
        (lambda x, w: x.flatten(1) @ w, {"w": nn.Parameter(W)}, 72, 72),
        (lambda x, w: x.flatten() @ w, {"w": W}, 72, 72),
        (lambda x, w: w.mv(x.flatten()), {"w": W.T.contiguous()}, 72, 72),
        (lambda x, w, b: torch.addmv(b, w, x.flatten()), {"w": W.T.contiguous(), "b": torch.ones(6)}, 72, 72),
        (lambda x, w: x.flatten().dot(w), {"w": W[:, 0].clone()}, 12, 12),
        (lambda x, w: torch.addbmm(w[:3, :5], x, w[None, :4, :5]), {"w": W}, 60, 72),
        (lambda x, w: F.bilinear(x.flatten(1), x.flatten(1), w), {"w": torch.ones(5, 12, 12)}, 720, 720),
        (lambda x, w: torch.cdist(x.flatten(1), w), {"w": W.T.contiguous()}, 72, 72),
        (lambda x, w: torch.sparse.mm(w.to_sparse(), x.flatten(1).T), {"w": W.T.contiguous()}, 72, 72),
        (lambda x, w: torch.einsum("nd,do->no", x.flatten(1), w), {"w": W}, 72, 72),
        (lambda x, w: F.linear(x.flatten(1), (w * 2).T.round()), {"w": W}, 72, 72),
        (lambda x, w: F.conv2d(x[:, None], w[:2, None, :3, None]), {"w": W}, 24, 72),
        (lambda x, w: torch.mm(x.flatten(1), w, out=torch.empty(1, 6)), {"w": W}, 72, 72),
        (lambda x, w: torch.mv(w, x.flatten(), out=torch.empty(6)), {"w": W.T.contiguous()}, 72, 72),
    ],
    ids=[
        *("buffer", "parameter", "vector", "mv", "addmv", "dot", "addbmm"),
        *("bilinear", "cdist", "sparse", "einsum", "computed", "slice", "mm into", "mv into"),
    ],
)
def test_products_in_a_forward_pass(function: Any, tensors: dict[str, Tensor], macs: int, weights: int) -> None:
    (row,) = score(Run(function, **tensors), (3, 4)).layers
    assert row.kind == "product"
    assert row.macs == macs
    assert row.weights == weights


def test_attention_on_a_whole_map_is_not_free() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1), Run(lambda x: F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3)))
    assert score(network, (8, 32, 32)).macs == 1024 * 64 + 16_777_216


class TestRefused:
    """Named, in one line."""

    def _refused(self, network: nn.Module, shape: Any = (3, 8, 8)) -> str:
        with pytest.raises(ScoreError) as error:
            score(network, shape)
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_an_operation_that_no_rule_counts(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 3, 1), Run(lambda x: torch.fft.rfft(x).real))
        assert "1 (Run) runs aten::_fft_r2c, of which it is not known" in self._refused(network)

    def test_a_deformable_convolution_that_borrows_a_weight(self) -> None:
        class Deformable(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.offset, self.conv = nn.Conv2d(3, 18, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

            def forward(self, x: Tensor) -> Tensor:
                return torchvision.ops.deform_conv2d(x, self.offset(x), self.conv.weight, padding=1)

        assert "the network itself (Deformable) runs torchvision::deform_conv2d" in self._refused(Deformable())

    def test_a_network_with_packed_weights(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
        quantized = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, torch.qint8)
        assert "runs quantized::linear_dynamic" in self._refused(quantized)

    @pytest.mark.parametrize("network", [nn.Identity(), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))])
    def test_a_network_without_a_layer(self, network: nn.Module) -> None:
        assert "no layer with weights" in self._refused(network)

    def test_a_lazy_module_that_has_not_run(self) -> None:
        network = nn.Sequential(nn.LazyConv2d(4, 3))
        assert "0 (LazyConv2d) has never run" in self._refused(network)
        network(torch.zeros(1, 3, 8, 8))
        assert score(network, (3, 8, 8)).macs == 36 * 108

    @pytest.mark.parametrize(
        "error", [AssertionError("no"), KeyError("no"), AttributeError("no"), ZeroDivisionError("no"), OSError("no")]
    )
    def test_an_error_of_the_networks_own(self, error: Exception) -> None:
        def fail(x: Tensor) -> Tensor:
            raise error

        said = self._refused(nn.Sequential(nn.Conv2d(3, 3, 1), Run(fail)))
        assert said.startswith("the network cannot take an image of shape (3, 8, 8): ")
        assert type(error).__name__ in said

    def test_an_attribute_that_the_counter_needs(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 3, 1))
        network[0].total_ops = 3
        assert "0 (Conv2d) has an attribute total_ops" in self._refused(network)
        assert network[0].total_ops == 3


def test_a_layer_without_outputs_counts_nothing() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 0))
    assert score(network, (2, 2, 2)).macs == 0


def test_tied_weights_are_stored_once() -> None:
    a, b = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)
    b.weight = a.weight
    result = score(nn.Sequential(a, b), (8, 4, 4))
    assert (result.weights, result.parameters, result.macs) == (576, 576, 2 * 16 * 576)
    assert [row.weights for row in result.layers] == [576, 0]
    assert result.strict_bits == 32 * 576
    embedding = nn.Embedding(6, 4)
    tied = nn.Linear(4, 6, bias=False)
    tied.weight = embedding.weight
    network = nn.Sequential(Run(lambda x: x), tied)
    network[0].embedding = embedding
    assert score(network, (4,)).strict_bits == 32 * 24


def test_a_layer_under_two_parents_counts_at_every_use() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    network = nn.Sequential(nn.Sequential(conv, nn.ReLU()), nn.Sequential(conv, nn.Tanh()))
    result = score(network, (3, 4, 4))
    assert (result.weights, result.macs) == (81, 2 * 16 * 81)


def test_a_buffer_that_is_called_like_a_mask_prunes_nothing() -> None:
    class Causal(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(8, 8, 3, padding=1)
            self.register_buffer("weight_mask", torch.tril(torch.ones(3, 3)))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight * self.weight_mask, self.bias, padding=1)

    assert score(nn.Sequential(Causal()), (8, 4, 4)).stored_weights == 576
    pruned = prune.l1_unstructured(nn.Conv2d(8, 8, 3), "weight", 0.5)
    assert score(nn.Sequential(pruned), (8, 4, 4)).stored_weights == 288


def test_observers_of_a_prepared_network_see_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    network.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    prepared = torch.ao.quantization.prepare(network)
    before = {name: tensor.clone() for name, tensor in prepared.state_dict().items()}
    score(prepared, (3, 8, 8))
    after = prepared.state_dict()
    assert list(after) == list(before)
    for name, tensor in before.items():
        assert after[name].shape == tensor.shape
        assert torch.equal(after[name].nan_to_num(1e9), tensor.nan_to_num(1e9)), name
    assert math.isfinite(score(prepared, (3, 8, 8)).score)


def test_a_head_that_never_runs_is_stored_and_does_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    network[0].auxiliary = nn.Linear(4, 10)
    result = score(network, (3, 8, 8))
    assert [(row.weights, row.macs) for row in result.layers] == [(108, 36 * 108), (40, 0)]


FAMILY = """
from slimfront.spaces.family import Family


def build(architecture):
    import torch.nn.functional as F
    from slimfront.models.blocks import ConvNorm
    from torch import nn

    class Attention(nn.Module):
        def forward(self, x):
            tokens = x.flatten(2).mT
            return F.scaled_dot_product_attention(tokens, tokens, tokens).mT.reshape(x.shape)

    return [[ConvNorm(architecture.stem_width, 8, 3, stride={stride}), Attention()]], 8


NET = Family(name="net", build=build, title="Net", words="a convolution, and attention", staged=False)
"""


def test_before_training_a_users_own_family_costs_what_it_costs_after_it(tmp_path: Path) -> None:
    """Its products, too; and its blocks as they stand now, whatever the same name has meant before."""
    architecture = {"family": "net.py:NET", "stem_width": 4, "stem_stride": 1, "head_width": 0}
    architecture |= {"widths": [], "depths": [], "strides": []}
    found = []
    for stride in (1, 2):
        (tmp_path / "net.py").write_text(FAMILY.format(stride=stride))
        with references.only_here():
            references.give("net.py:NET", tmp_path)
            candidate = Candidate.from_dict({"architecture": architecture})
            network = build(candidate.architecture, 10, channels=1, seed=0)
            found.append(expected_score(candidate, (1, 8, 8), 10).macs)
            assert found[-1] == score(network, (1, 8, 8)).macs
    tokens = (64, 16)  # each by every other one: query by key, then by value, of 8 channels
    assert found == [64 * 36 + n * (4 * 9 * 8) + n * n * 8 * 2 + 80 for n in tokens]
