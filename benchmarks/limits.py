"""How fast this machine could multiply at best: a large matrix product, and a network's convolutions one by one."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from slimfront.models.network import Network, weight_layers
from torch import Tensor, nn

SIZE = 1024  # of the matrix product


def best_rate(work: Callable[[], object], operations: float, rounds: int = 8) -> float:
    """Operations a second in the fastest of `rounds` runs, after one that warms up."""
    work()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return operations / best


def matrix_product(dtype: torch.dtype) -> float:
    """FLOP/s of a product of two square matrices."""
    a, b = torch.randn(SIZE, SIZE).to(dtype), torch.randn(SIZE, SIZE).to(dtype)
    return best_rate(lambda: a @ b, 2 * SIZE**3)


def convolutions(network: Network, images: Tensor, dtype: torch.dtype) -> dict[str, float]:
    """FLOP/s of every convolution of the network, forward and both gradients, alone; repeated shapes once."""
    shapes: dict[tuple[object, ...], tuple[str, nn.Conv2d, Tensor]] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, nn.Conv2d)
            x = inputs[0].detach().to(dtype)
            shapes.setdefault((tuple(x.shape), tuple(layer.weight.shape), layer.stride), (name, layer, x))

        return hook

    handles = [
        layer.register_forward_pre_hook(note(name))
        for name, layer in weight_layers(network).items()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return {name: _convolution(layer, x) for name, layer, x in shapes.values()}


def _convolution(layer: nn.Conv2d, x: Tensor) -> float:
    weight = layer.weight.detach().to(x.dtype).contiguous(memory_format=torch.channels_last)
    rest = (layer.stride, layer.padding, layer.dilation)
    gradient = torch.conv2d(x, weight, None, *rest, layer.groups)

    def work() -> None:
        torch.conv2d(x, weight, None, *rest, layer.groups)
        torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *rest, False, [0, 0], layer.groups, [True, True, False]
        )

    return best_rate(work, 6 * gradient.numel() * weight[0].numel(), rounds=4)
