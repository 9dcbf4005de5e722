"""The one question whether the kernels serve."""

from __future__ import annotations

import pytest
import torch
from slimfront.models.kernels import guard
from slimfront.models.kernels.convolution import Convolution, quick_answers
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has compiled the kernels."""
    monkeypatch.setattr(guard, "library", object)


def _images() -> Tensor:
    return torch.zeros(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)


class _Special(Tensor):
    """Somebody else's tensor, which may do anything with an operation."""


@pytest.mark.parametrize("x", [_images(), _images().bfloat16(), _images().contiguous(), nn.Parameter(torch.ones(3, 4))])
def test_kernels_serve_plain_numbers_in_memory(x: Tensor) -> None:
    assert guard.kernels_serve(x, torch.ones(3), replaced=(nn.ReLU(),))


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(2, 3, dtype=torch.float16),
        torch.zeros(2, 3, device="meta"),
        torch.zeros(2, 6)[:, ::2],
        torch.zeros(2, 3).as_subclass(_Special),
    ],
    ids=["double", "half", "device", "gaps", "subclass"],
)
def test_torch_computes_what_the_kernels_do_not_know(x: Tensor) -> None:
    assert not guard.kernels_serve(x)


@pytest.mark.parametrize("parameter", [torch.ones(3).bfloat16(), torch.ones(3, device="meta")])
def test_parameters_have_to_lie_where_the_kernels_read_them(parameter: Tensor) -> None:
    assert not guard.kernels_serve(_images(), parameter)


@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_module_that_is_watched_runs(hook: str) -> None:
    watched = nn.ReLU()
    getattr(watched, hook)(lambda *_: None)
    assert not guard.kernels_serve(_images(), replaced=(nn.ReLU(), watched))


@pytest.mark.filterwarnings("ignore:.*jit.trace.*:FutureWarning")
def test_nothing_is_traced_through_a_kernel() -> None:
    asked: list[bool] = []

    def traced(x: Tensor) -> Tensor:
        asked.append(guard.kernels_serve(x))
        return x + 1

    torch.jit.trace(traced, torch.zeros(2, 3), check_trace=False)  # type: ignore[no-untyped-call]
    assert asked == [False]


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "library", lambda: None)
    assert not guard.kernels_serve(_images())


def test_exactness_is_a_setting_of_a_layer_and_nothing_else_changes_it() -> None:
    """Another network that runs inside the block, a teacher's student say, stays exact."""
    asked, other = (nn.Sequential(Convolution(8, 8, 3), nn.ReLU(), Convolution(8, 8, 3)) for _ in range(2))
    asked[2].exact = False
    with quick_answers(asked):
        assert [layer.exact for layer in (asked[0], asked[2], other[0], other[2])] == [False, False, True, True]
    assert [layer.exact for layer in (asked[0], asked[2], other[0], other[2])] == [True, False, True, True]
