from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from slimfront.models import build
from slimfront.models.kernels import library as kernels
from slimfront.models.kernels import norm_act
from slimfront.spaces import presets
from torch import Tensor, nn


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    if kernels.library() is None:
        pytest.skip("no C compiler here")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that went through the kernels."""
    shapes: list[tuple[int, ...]] = []
    fused = norm_act._fused
    monkeypatch.setattr(norm_act, "_fused", lambda x, *rest: (shapes.append(tuple(x.shape)), fused(x, *rest))[1])
    return shapes


def _norm(channels: int, relu: bool) -> tuple[nn.BatchNorm2d, nn.Module]:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, channels))
        norm.bias.copy_(torch.linspace(-0.5, 0.5, channels))
    return norm, nn.ReLU() if relu else nn.Identity()


def _tensors(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(shape, generator=generator).to(dtype, memory_format=torch.channels_last)


def _results(fused: bool, shape: tuple[int, ...], dtype: torch.dtype, relu: bool, with_shortcut: bool) -> list[Tensor]:
    """Output, gradients and running statistics; the torch operations in float32 throughout."""
    made = _tensors(shape, dtype, seed=0)
    x, shortcut, gradient = (next(made) for _ in range(3))
    x = x * 3 + 5
    if not fused:
        x, shortcut, gradient = x.float(), shortcut.float(), gradient.float()
    x.requires_grad_()
    shortcut.requires_grad_()
    norm, act = _norm(shape[1], relu)
    if fused:
        y = norm_act.norm_act(x, norm, act, shortcut if with_shortcut else None)
    else:
        y = act(norm(x) + shortcut if with_shortcut else norm(x))
    y.backward(gradient)
    found = [y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    if with_shortcut:
        found.append(shortcut.grad)
    assert norm.num_batches_tracked == 1
    return [tensor.detach() for tensor in found if tensor is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_shortcut", [True, False])
@pytest.mark.parametrize(("channels", "side"), [(1, 9), (3, 1), (5, 4), (16, 8), (17, 7), (33, 1), (600, 2)])
def test_it_equals_the_modules(
    dtype: torch.dtype, relu: bool, with_shortcut: bool, channels: int, side: int, called: list[tuple[int, ...]]
) -> None:
    shape = (9, channels, side, side)
    ours = _results(True, shape, dtype, relu, with_shortcut)
    theirs = _results(False, shape, dtype, relu, with_shortcut)
    assert called == [shape]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        # bfloat16 rounds an output by up to 2^-9 of itself; sums over the batch come near zero, so it is of the largest
        error = (one.float() - other).abs().max() / other.abs().max().clamp(min=0.1 * side)
        assert error < (2e-5 if dtype == torch.float32 else 2**-8)
    assert ours[0].dtype == ours[1].dtype == dtype
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in ours if tensor.dim() == 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_and_two_threads_give_the_same_bits(dtype: torch.dtype) -> None:
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(_results(True, (16, 20, 9, 9), dtype, relu=True, with_shortcut=True))
    torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_mean_far_from_zero_keeps_the_variance() -> None:
    x = (torch.randn(64, 4, 8, 8) + 3000).contiguous(memory_format=torch.channels_last).requires_grad_()
    norm, act = _norm(4, relu=False)
    norm_act.norm_act(x, norm, act)
    assert norm.running_var is not None
    torch.testing.assert_close(
        norm.running_var, 0.9 + 0.1 * x.detach().double().var((0, 2, 3)).float(), rtol=1e-5, atol=0
    )


def test_not_a_number_stays_one() -> None:
    x = torch.ones(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    x[0, 1] = float("nan")
    y = norm_act.norm_act(x.requires_grad_(), *_norm(3, relu=True))
    assert y.isnan().any((0, 2, 3)).tolist() == [False, True, False]


@pytest.mark.parametrize("why", ["evaluation", "no gradient", "hook", "another norm", "another activation", "layout"])
def test_the_modules_run_where_the_kernels_would_not_do(why: str, called: list[tuple[int, ...]]) -> None:
    x = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    norm, act = _norm(3, relu=True)
    if why == "evaluation":
        norm.eval()
    elif why == "hook":
        norm.register_forward_hook(lambda *_: None)
    elif why == "another norm":
        norm = nn.GroupNorm(1, 3)  # type: ignore[assignment]
    elif why == "another activation":
        act = nn.Hardswish()
    elif why == "layout":
        x = x.contiguous()
    with torch.set_grad_enabled(why != "no gradient"):
        y = norm_act.norm_act(x, norm, act)
    assert not called
    torch.testing.assert_close(y, act(norm(x)))


def test_one_value_a_channel_is_refused_as_ever() -> None:
    x = torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        norm_act.norm_act(x, *_norm(3, relu=True))


@pytest.mark.parametrize("name", ["small_residual", "small_inverted", "small_dense"])
def test_every_norm_of_a_network_takes_it_in_channels_last(name: str, called: list[tuple[int, ...]]) -> None:
    network = build(presets[name].architecture, 10, seed=0).to(memory_format=torch.channels_last).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
    assert len(called) == len(norms)
    called.clear()
    network.eval()(images)
    assert not called
