from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from slimfront.models import build
from slimfront.models.kernels import convolution
from slimfront.models.kernels import library as kernels
from slimfront.models.kernels.convolution import Convolution
from slimfront.spaces import presets
from torch import Tensor, nn


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    if kernels.library() is None:
        pytest.skip("no C compiler here")


def _random(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(dtype, memory_format=torch.channels_last)


def _layer(channels: int, kernel: int, stride: int) -> Convolution:
    return Convolution(channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False)


def _is_ours(y: Tensor) -> bool:
    return "Depthwise" in str(y.grad_fn)


def _plain(layer: Convolution, x: Tensor) -> Tensor:
    """What torch makes of the same layer."""
    plain = nn.Conv2d(
        *(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding),  # type: ignore[arg-type]
        *(layer.dilation, layer.groups, layer.bias is not None, layer.padding_mode),
    )
    plain.load_state_dict(layer.state_dict())
    y: Tensor = plain(x)
    return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [2, 3, 5, 16, 17, 33])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 7)])
def test_gradients_equal_torch(
    dtype: torch.dtype, channels: int, kernel: int, stride: int, shape: tuple[int, int]
) -> None:
    layer = _layer(channels, kernel, stride)
    x = _random((19, channels, *shape), dtype, seed=0).requires_grad_()
    y = layer(x)
    assert _is_ours(y)
    gradient = _random(tuple(y.shape), dtype, seed=1)
    y.backward(gradient)
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert x.grad.is_contiguous(memory_format=torch.channels_last)
    exact, weight = x.detach().float().requires_grad_(), layer.weight.detach().clone().requires_grad_()
    theirs = F.conv2d(exact, weight, None, stride, kernel // 2, 1, channels)
    theirs.backward(gradient.float())
    for one, other in ((y, theirs), (x.grad, exact.grad), (layer.weight.grad, weight.grad)):
        assert other is not None
        error = (one.detach().float() - other).abs().max() / other.abs().max()
        assert error < (1e-5 if dtype == torch.float32 else 2**-7)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _watch_winograd(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What is added at every call of the kernel: whether it was turned."""
    if not kernels.has_winograd():
        pytest.skip("not timed on such a processor")
    calls: list[bool] = []
    ours = convolution._winograd

    def watched(*tensors: Tensor, turned: bool) -> None:
        calls.append(turned)
        ours(*tensors, turned=turned)

    monkeypatch.setattr(convolution, "_winograd", watched)
    return calls


@pytest.fixture
def winograd() -> None:
    if not kernels.has_winograd():
        pytest.skip("not timed on such a processor")


@pytest.fixture
def half_products() -> None:
    if not kernels.has_weight_gradient():
        pytest.skip("this processor does not multiply bfloat16")


@pytest.mark.usefixtures("half_products")
@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "stride", "shape"),
    [
        *((8, 1, 3, 1, (1, 1)), (20, 20, 3, 1, (7, 5)), (17, 33, 3, 2, (8, 9)), (16, 5, 5, 2, (9, 4))),
        *((24, 12, 3, 1, (6, 6)), (40, 80, 3, 2, (4, 4)), (9, 64, 5, 1, (3, 2))),
    ],
)
def test_gradients_of_whole_convolutions_equal_torch(
    channels: int, outputs: int, kernel: int, stride: int, shape: tuple[int, int]
) -> None:
    layer = Convolution(channels, outputs, kernel, stride, padding=kernel // 2, bias=False)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = _random((19, channels, *shape), torch.bfloat16, seed=0).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert "Whole" in str(y.grad_fn)
    gradient = _random(tuple(y.shape), torch.bfloat16, seed=1)
    y.backward(gradient)
    assert x.grad is not None
    assert layer.weight.grad is not None
    exact, weight = x.detach().float().requires_grad_(), layer.weight.detach().bfloat16().float().requires_grad_()
    theirs = F.conv2d(exact, weight, None, stride, kernel // 2)
    theirs.backward(gradient.float())
    assert weight.grad is not None
    assert exact.grad is not None
    for one, other, allowed in ((layer.weight.grad, weight.grad, 1e-5), (x.grad, exact.grad, 2**-7)):
        assert one.dtype == (torch.float32 if other is weight.grad else torch.bfloat16)
        assert (one.float() - other).abs().max() / other.abs().max() < allowed


@pytest.mark.usefixtures("winograd")
@pytest.mark.parametrize(
    ("channels", "outputs", "shape"),
    [
        (8, 8, (4, 4)),
        (9, 20, (7, 5)),
        (33, 17, (3, 6)),
        (16, 40, (32, 32)),
        (24, 64, (9, 13)),
        (48, 8, (6, 8)),
        (200, 300, (16, 16)),
    ],
)
def test_gradients_by_minimal_filtering_equal_torch(channels: int, outputs: int, shape: tuple[int, int]) -> None:
    layer = Convolution(channels, outputs, 3, padding=1, bias=False)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = _random((19, channels, *shape), torch.float32, seed=0).requires_grad_()
    y = layer(x)
    assert "Winograd" in str(y.grad_fn)
    gradient = _random(tuple(y.shape), torch.float32, seed=1)
    y.backward(gradient)
    exact, weight = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    theirs = F.conv2d(exact, weight, None, padding=1)
    theirs.backward(gradient.double())
    for one, other in ((y, theirs), (x.grad, exact.grad), (layer.weight.grad, weight.grad)):
        assert one is not None
        assert other is not None
        assert one.is_contiguous(memory_format=torch.channels_last)
        assert (one.double() - other).abs().max() / other.abs().max() < 3e-5


@pytest.mark.usefixtures("winograd")
def test_minimal_filtering_of_one_position_reaches_its_neighbours_only() -> None:
    layer = Convolution(8, 8, 3, padding=1, bias=False)
    x = torch.zeros(2, 8, 12, 12).to(memory_format=torch.channels_last)
    x[1, 3, 4, 7] = 1.0  # the corner of a tile
    y = layer(x.requires_grad_())
    assert "Winograd" in str(y.grad_fn)
    reached = y.detach().abs().amax(1) > 1e-6
    expected = torch.zeros(2, 12, 12, dtype=torch.bool)
    expected[1, 3:6, 6:9] = True
    assert torch.equal(reached, expected)
    torch.testing.assert_close(y[1, :, 3:6, 6:9].detach(), layer.weight.detach()[:, 3].flip(1, 2), atol=1e-6, rtol=0)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kind", ["depthwise", "bfloat16", "minimal filtering"])
def test_one_and_two_threads_give_the_same_bits(kind: str) -> None:
    half = kind == "bfloat16"
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        stride = 1 if kind == "minimal filtering" else 2
        whole = Convolution(20, 20, 3, stride, padding=1, bias=False)
        layer = _layer(20, 3, 2) if kind == "depthwise" else whole
        x = _random((37, 20, 9, 9), torch.bfloat16 if half else torch.float32, seed=0).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = layer(x)
            y.float().square().sum().backward()
        assert ("Winograd" in str(y.grad_fn)) == (kind == "minimal filtering" and kernels.has_winograd())
        assert x.grad is not None
        results.append((y, x.grad, layer.weight.grad))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize(
    "why", ["evaluation", "no gradient", "layout", "groups", "padding", "dilation", "mirrored", "7x7"]
)
def test_torch_runs_where_the_kernels_would_not_do(why: str) -> None:
    x, layer = _random((2, 4, 8, 8), torch.float32, seed=0), _layer(4, 3, 1)
    if why == "evaluation":
        layer.eval()
    elif why == "layout":
        x = x.contiguous()
    elif why == "groups":
        layer = Convolution(4, 4, 3, padding=1, groups=2, bias=False)
    elif why == "padding":
        layer = Convolution(4, 4, 3, groups=4, bias=False)
    elif why == "dilation":
        layer = Convolution(4, 4, 3, padding=1, dilation=2, groups=4, bias=False)
    elif why == "mirrored":
        layer = Convolution(4, 4, 3, padding=1, padding_mode="reflect", groups=4, bias=False)
    elif why == "7x7":
        layer = _layer(4, 7, 1)
    with torch.set_grad_enabled(why != "no gradient"):
        y = layer(x)
    assert not _is_ours(y)
    torch.testing.assert_close(y, _plain(layer, x))


@pytest.mark.parametrize(
    "why",
    [
        *("evaluation", "no gradient", "layout", "stride", "groups", "5x5", "small", "thin", "bias"),
        *("dilation", "unpadded", "mirrored"),
    ],
)
def test_torch_runs_where_minimal_filtering_would_not_do(why: str) -> None:
    side = 2 if why == "small" else 8
    x = _random((2, 6 if why == "thin" else 8, side, side), torch.float32, seed=0)
    kernel, groups, stride = 5 if why == "5x5" else 3, 2 if why == "groups" else 1, 2 if why == "stride" else 1
    layer = Convolution(
        *(x.shape[1], 8, kernel, stride),
        padding=0 if why == "unpadded" else kernel // 2,
        dilation=2 if why == "dilation" else 1,
        groups=groups,
        bias=why == "bias",
        padding_mode="reflect" if why == "mirrored" else "zeros",
    )
    if why == "evaluation":
        layer.eval()
    elif why == "layout":
        x = x.contiguous()
    with torch.set_grad_enabled(why != "no gradient"):
        y = layer(x)
    assert "Winograd" not in str(y.grad_fn)
    assert torch.equal(y, _plain(layer, x))


def test_a_network_that_is_only_asked_may_be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _watch_winograd(monkeypatch)
    network = build(presets["resnet8"].architecture, 10, seed=0).to(memory_format=torch.channels_last).eval()
    images = _random((4, 3, 32, 32), torch.float32, seed=0)
    with torch.no_grad():
        exact = network(images)
        assert not calls
        with convolution.quick_answers(network):
            quick = network(images)
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
        whole = [layer for layer in layers if layer.stride == (1, 1) and layer.in_channels > 3]
        assert len(calls) == len(whole) > 0
        torch.testing.assert_close(quick, exact, rtol=1e-4, atol=1e-4)
        assert torch.equal(network(images), exact)  # it is over with the block
        assert len(calls) == len(whole)


@pytest.mark.parametrize("shape", [(2, 16, 8, 8), (2, 64, 8, 8), (2, 32, 0, 8), (2, 32, 8), (0, 32, 8, 8)])
def test_what_is_wrong_with_an_input_torch_says(shape: tuple[int, ...]) -> None:
    layer, x = Convolution(32, 32, 3, padding=1, bias=False), torch.zeros(shape)
    x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    said = []
    for forward in (layer, lambda x: F.conv2d(x, layer.weight, None, padding=1)):
        try:
            said.append(str(forward(x).shape))
        except RuntimeError as error:
            said.append(str(error))
    assert said[0] == said[1]


@pytest.mark.parametrize("frozen", ["input", "weight"])
def test_a_gradient_that_nobody_needs_is_not_computed(frozen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _watch_winograd(monkeypatch)
    layer, x = Convolution(8, 8, 3, padding=1, bias=False), _random((2, 8, 8, 8), torch.float32, seed=0)
    (layer.weight if frozen == "weight" else x).requires_grad_(False)
    (x if frozen == "weight" else layer.weight).requires_grad_(True)
    layer(x).sum().backward()
    assert (x.grad is None) == (frozen == "input")
    assert (layer.weight.grad is None) == (frozen == "weight")
    assert calls == [False] + [True] * (frozen == "weight")


@pytest.mark.usefixtures("winograd")
@pytest.mark.parametrize("how", ["rows first", "expanded", "strided"])
def test_gradients_may_lie_in_memory_as_they_like(how: str) -> None:
    layer, x = Convolution(8, 16, 3, padding=1, bias=False), _random((3, 8, 8, 8), torch.float32, seed=0)
    assert not layer.weight.is_contiguous(memory_format=torch.channels_last)  # nor does the weight
    y = layer(x.requires_grad_())
    assert "Winograd" in str(y.grad_fn)
    gradient = torch.randn(3, 16, 8, 16, generator=torch.Generator().manual_seed(1))
    gradient = {
        "rows first": gradient[..., :8].contiguous(),
        "expanded": gradient[:, :, :1, :1].expand(3, 16, 8, 8),
        "strided": gradient[..., ::2],
    }[how]
    found = torch.autograd.grad(y, [x, layer.weight], gradient)
    expected = torch.autograd.grad(F.conv2d(x, layer.weight, None, padding=1), [x, layer.weight], gradient)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_first_layer_needs_no_gradient_of_its_input() -> None:
    layer, x = _layer(3, 3, 1), _random((2, 3, 5, 5), torch.float32, seed=0)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert x.grad is None


def test_networks_take_it_under_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    function = convolution._function

    def watched(layer: nn.Conv2d, x: Tensor, dtype: torch.dtype) -> object:
        chosen = function(layer, x, dtype)
        kinds.extend([dtype] if chosen is convolution._Depthwise else [])
        return chosen

    monkeypatch.setattr(convolution, "_function", watched)
    network = build(presets["small_inverted"].architecture, 10, seed=0).to(memory_format=torch.channels_last).train()
    images = _random((2, 3, 32, 32), torch.float32, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        network(images).sum().backward()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert len(layers) == 9
    assert kinds == [torch.bfloat16] * len(layers)
