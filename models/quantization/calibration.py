"""Steps before training: what a layer's input looks like, and which step rounds given numbers with the least error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from slimfront.models.quantization.straight_through import bounds
from torch import Tensor, nn

SAMPLES = 4096  # numbers kept of one batch of a layer's inputs, besides the smallest and the largest
SMALLEST_STEP = 1e-6  # for numbers that are all zero, or nearly


@dataclass(frozen=True)
class Observation:
    """A sample of a layer's input.

    Attributes:
        values: (n,), with the extremes of all that was seen.
        signed: Whether anything was below zero.
    """

    values: Tensor
    signed: bool


@torch.no_grad()
def observe(network: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Tensor]) -> dict[str, Observation]:
    """Run `batches` (N, C, H, W) through `network` in evaluation mode and sample what reaches `layers`, by their names.

    What is seen is the input as it arrives, before a layer quantizes it. A layer that nothing reaches is absent.
    """
    seen: dict[str, list[Tensor]] = {}
    generator = torch.Generator().manual_seed(0)

    def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            flat = inputs[0].detach().float().flatten()
            chosen = torch.randint(len(flat), (SAMPLES,), generator=generator).to(flat.device)
            seen.setdefault(name, []).append(torch.cat((flat[chosen], torch.stack(flat.aminmax()))))

        return layer.register_forward_pre_hook(hook)

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        with _modes_kept(network):
            network.eval()
            for batch in batches:
                network(batch)
    finally:
        for handle in handles:
            handle.remove()
    joined = {name: torch.cat(parts) for name, parts in seen.items()}
    return {name: Observation(values, bool((values < 0).any())) for name, values in joined.items()}


def input_step(observation: Observation, bits: int, *, signed: bool) -> Tensor:
    """The step () that rounds a layer's input to `bits` with the least squared error."""
    values = observation.values if signed else observation.values.clamp(min=0)
    return best_steps(values.view(1, -1), *bounds(bits, signed=signed), zero=not (signed and bits == 1)).squeeze(0)


def weight_steps(weight: Tensor, bits: int, *, ternary: bool = False) -> Tensor:
    """The steps (outputs,) that round each filter of `weight` (outputs, ...) to `bits` with the least squared error.

    Pruned weights are given as exact zeros, which cost nothing on any grid; among signs, which have no zero, they are
    left out.
    """
    return best_steps(weight.detach().flatten(1), *bounds(bits, signed=True, ternary=ternary), zero=bits > 1)


def best_steps(rows: Tensor, low: int, high: int, *, zero: bool = True) -> Tensor:
    """For each row the step s with the least squared error of round(clamp(row / s, low, high)) * s.

    Args:
        rows: (R, n).
        low: Smallest integer.
        high: Largest integer.
        zero: False: there are only -1 and 1; the best step is the mean magnitude, in closed form.

    Returns:
        (R,), positive.
    """
    magnitude = rows.abs()
    if not zero:
        count = (rows != 0).sum(1).clamp(min=1)
        return (magnitude.sum(1) / count).clamp(min=SMALLEST_STEP)
    whole = magnitude.amax(1) / high  # nothing above is clipped
    # Few integers want to clip far more than many. Coarse first, then finer around the best.
    best = _search(rows, whole, [1.0, *_geometric(0.04 if high <= 15 else 0.25, 1.1, 40)], low, high)
    return _search(rows, best, [1.0, *_geometric(0.93, 1.07, 20)], low, high).clamp(min=SMALLEST_STEP)


@torch.no_grad()
def estimate_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure mean and variance of every batch norm anew, on `batches` (N, C, H, W), every batch weighing the same.

    Rounding shifts what reaches a norm; without training this is the cheapest cure.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    with _modes_kept(network):
        network.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
            norm.train()
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _geometric(first: float, last: float, count: int) -> list[float]:
    ratio = (last / first) ** (1 / (count - 1))
    return [first * ratio**index for index in range(count)]


def _search(rows: Tensor, around: Tensor, factors: list[float], low: int, high: int) -> Tensor:
    best = around.clamp(min=SMALLEST_STEP)
    least = torch.full_like(best, float("inf"))
    for factor in factors:
        step = (around * factor).clamp(min=SMALLEST_STEP)
        column = step.view(-1, 1)
        error = rows.div(column).clamp_(low, high).round_().mul_(column).sub_(rows).square_().sum(1)
        better = error < least
        best = torch.where(better, step, best)
        least = torch.where(better, error, least)
    return best


@contextmanager
def _modes_kept(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
