"""Channels in the order of their importance, so that a cut, which takes the first ones, takes those that matter most.

A channel's importance is the sum of the scales of the batch norms that it comes from (Liu et al. 2017,
arXiv:1708.06519) times the sum of the magnitudes of the weights that read it (as Cai et al. 2020, arXiv:1908.09791,
sort). Inside a block any order will do. What blocks add to each other runs through the whole network: channel c of a
stage goes on as channel c of the next, so these are put in order together, as far as all of them have them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from slimfront.evaluators.supernet.shapes import Shapes
from slimfront.models.network import Network
from torch import Tensor, nn

Moves = dict[str, list[tuple[int, Tensor]]]
"""Name of a tensor -> (dimension, its channels in their new order), of one dimension or two."""


@dataclass(frozen=True)
class _Stream:
    """Channels that a stem or a stage's blocks add up in.

    Attributes:
        least: Channels that every shape has.
        makers: Pairs of a convolution and a norm that write into them.
        readers: Layers that read them.
    """

    least: int
    makers: tuple[tuple[str, str], ...]
    readers: tuple[str, ...]


@torch.no_grad()
def channel_moves(network: Network, shapes: Shapes) -> Moves:
    """How the channels of the largest shape's `network` are put in order; it is not changed."""
    weights = dict(network.named_parameters())
    moves: Moves = defaultdict(list)

    def move(makers: tuple[tuple[str, str], ...], readers: tuple[str, ...], order: Tensor) -> None:
        for convolution, norm in makers:
            moves[f"{convolution}.weight"].append((0, order))
            for key in ("weight", "bias", "running_mean", "running_var"):
                moves[f"{norm}.{key}"].append((0, order))
        for reader in readers:
            moves[f"{reader}.weight"].append((1, order))

    streams = _streams(network, shapes)
    importances = [_importance(weights, stream.makers, stream.readers) for stream in streams]
    order = _common_order(streams, importances)
    for stream, importance in zip(streams, importances, strict=True):
        move(stream.makers, stream.readers, order[: len(importance)])
    for name in _blocks(network):
        makers, readers = ((f"{name}.conv1", f"{name}.norm1"),), (f"{name}.conv2",)
        move(makers, readers, _falling(_importance(weights, makers, readers)))
    return dict(moves)


@torch.no_grad()
def reorder(tensors: Mapping[str, Tensor], moves: Moves) -> None:
    """Move the channels of those `tensors` that `moves` names, in place."""
    for name, sides in moves.items():
        if name in tensors:
            for dim, order in sides:
                tensors[name].copy_(tensors[name].index_select(dim, order.to(tensors[name].device)))


def reorder_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module, moves: Moves) -> None:
    """Move what an optimizer keeps of every parameter along with it."""
    state = {name: optimizer.state.get(parameter, {}) for name, parameter in network.named_parameters()}
    for key in {key for values in state.values() for key in values}:
        kept = {name: values[key] for name, values in state.items() if isinstance(values.get(key), Tensor)}
        reorder({name: tensor for name, tensor in kept.items() if tensor.ndim > 0}, moves)


def _blocks(network: Network) -> Iterator[str]:
    for stage, depth in enumerate(network.architecture.depths):
        yield from (f"stages.{stage}.{block}" for block in range(depth))


def _streams(network: Network, shapes: Shapes) -> list[_Stream]:
    """Of the stem, then of every stage."""
    depths = network.architecture.depths
    found = [_Stream(shapes.stem_widths[0], (("stem.conv", "stem.norm"),), ("stages.0.0.conv1",))]
    for stage, depth in enumerate(depths):
        blocks = [f"stages.{stage}.{block}" for block in range(depth)]
        after = f"stages.{stage + 1}.0.conv1" if stage + 1 < len(depths) else "classifier"
        makers = tuple((f"{block}.conv2", f"{block}.norm2") for block in blocks)
        found.append(_Stream(shapes.widths[stage][0], makers, (*(f"{block}.conv1" for block in blocks[1:]), after)))
    return found


def _common_order(streams: list[_Stream], importances: list[Tensor]) -> Tensor:
    """One order for all streams: between two of their widths by what counts in those that may be cut there."""
    ends = sorted({len(importance) for importance in importances})
    order = torch.arange(ends[-1])
    for low, high in zip([0, *ends[:-1]], ends, strict=True):
        counting = [
            importance[low:high]
            for stream, importance in zip(streams, importances, strict=True)
            if len(importance) >= high and stream.least < high
        ]
        if counting:
            order[low:high] = low + _falling(torch.stack(counting).sum(0))
    return order


def _importance(weights: Mapping[str, Tensor], makers: tuple[tuple[str, str], ...], readers: tuple[str, ...]) -> Tensor:
    scales = torch.stack([weights[f"{norm}.weight"].abs() for _, norm in makers]).sum(0)
    read = torch.stack([weights[f"{reader}.weight"].abs().transpose(0, 1).flatten(1).sum(1) for reader in readers])
    return (scales * read.sum(0)).cpu()


def _falling(importance: Tensor) -> Tensor:
    return importance.argsort(descending=True, stable=True)
