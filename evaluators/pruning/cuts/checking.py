"""Cuts of any network, compared with silence.

A filter may go where the network without it computes what the whole one does with that filter silent. Which channels
follow from which is found by tracing, and a trace does not see everything: a split at a fixed place, a shuffle of
channels, a buffer as long as a layer is wide. So every cut is tried on a copy, in float64 where the network runs in
it, and where the two differ, or the smaller one does not run, that cut is not made and its layer is named.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from slimfront.models.blocks import PaddingShortcut
from torch import Tensor, nn

if TYPE_CHECKING:
    from slimfront.evaluators.pruning.groups import Group, Member

IMAGES = 2
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest number that the silent network gives


@dataclass(frozen=True, eq=False)
class _Copy:
    """A copy of a network to try cuts on, and images for it."""

    network: nn.Module
    images: Tensor

    @torch.no_grad()
    def outputs(self) -> Tensor:
        # Seeded: what draws random numbers in evaluation draws the same ones.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            found = self.network(self.images)
        if not isinstance(found, Tensor):
            raise TypeError(f"it gives a {type(found).__name__}")
        return found


def agreeing(
    network: nn.Module, groups: Sequence[Group], input_shape: tuple[int, int, int], left: dict[str, str]
) -> tuple[Group, ...]:
    """The groups that can be cut, each tried by every second of its channels, with random weights.

    Weights as they are may hide a fault: a batch norm that begins as zero, say. Why one cannot is noted in `left`, by
    the name of its first layer.
    """
    tried = _copied(network, input_shape, random=True)
    read = []
    for group in groups:
        if group.readers:
            read.append(group)
        else:
            left[group.name] = "nothing reads its filters: they are the network's outputs"
    gone = {group.name: torch.arange(0, group.channels - 1, 2) for group in read}
    return tuple(_agreeing(tried, read, gone, left))


def _agreeing(tried: _Copy, groups: Sequence[Group], gone: Mapping[str, Tensor], left: dict[str, str]) -> list[Group]:
    """Those that can go: all at once where that agrees, else each half for itself."""
    reason = _difference(tried, groups, gone) if groups else None
    if reason is None:
        return list(groups)
    if len(groups) == 1:
        left[groups[0].name] = reason
        return []
    middle = len(groups) // 2
    halves = [*_agreeing(tried, groups[:middle], gone, left), *_agreeing(tried, groups[middle:], gone, left)]
    if _difference(tried, halves, gone) is None:
        return halves
    # Each alone agrees and together they do not: one after the other, then, as far as that goes.
    together: list[Group] = []
    for group in halves:
        reason = _difference(tried, [*together, group], gone)
        if reason is None:
            together.append(group)
        else:
            left[group.name] = reason
    return together


def confirmed(
    network: nn.Module,
    groups: Sequence[Group],
    gone: Mapping[str, Tensor],
    input_shape: tuple[int, int, int],
    left: dict[str, str],
) -> dict[str, Tensor]:
    """What of `gone` can go at once from the network as it is; the rest is noted in `left` and stays."""
    asked = [group for group in groups if len(gone[group.name])]
    agreed = {group.name for group in _agreeing(_copied(network, input_shape, random=False), asked, gone, left)}
    return {name: channels if name in agreed else channels[:0] for name, channels in gone.items()}


def _copied(network: nn.Module, input_shape: tuple[int, int, int], *, random: bool) -> _Copy:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, *input_shape, generator=generator, dtype=torch.float64)
    tried = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    if random:
        _randomise(tried, generator)
    double = _Copy(tried.double(), images)
    with contextlib.suppress(Exception):  # whatever a network of a user's own raises that makes float32 numbers
        double.outputs()
        return double
    return _Copy(tried.float(), images.float())


def _randomise(network: nn.Module, generator: torch.Generator) -> None:
    """Weights that hide nothing, in place."""
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            for name in ("weight", "running_var"):
                if getattr(layer, name, None) is not None:
                    getattr(layer, name).uniform_(0.5, 1.5, generator=generator)
            for name in ("bias", "running_mean"):
                if getattr(layer, name, None) is not None:
                    getattr(layer, name).normal_(0, 0.5, generator=generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(layer._parameters.get("weight"), Tensor):
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0, (2 / max(1, fan_in)) ** 0.5, generator=generator)


def _difference(tried: _Copy, groups: Sequence[Group], gone: Mapping[str, Tensor]) -> str | None:
    """How the cut network differs from the silent one; None: it does not. The copy stays as it is."""
    from slimfront.evaluators.pruning.groups import remove_channels

    try:
        with _restored(tried.network, groups):
            silence(tried.network, groups, gone)
            silent = tried.outputs()
    except Exception as error:  # whatever a network of a user's own raises
        return f"it does not run: {_line(error)}"
    try:
        with _restored(tried.network, groups):
            remove_channels(tried.network, groups, gone)
            cut = tried.outputs()
    except Exception as error:
        return f"cut, it does not run: {_line(error)}"
    if cut.shape != silent.shape:
        return f"its filters are the network's outputs: {tuple(silent.shape)[1:]} would become {tuple(cut.shape)[1:]}"
    scale, off = float(silent.abs().max()), float((cut - silent).abs().max())
    if not off <= _TOLERANCE[silent.dtype] * max(scale, 1e-12):  # NaN is not
        share = f"{off / scale:.0%}" if 0 < scale < float("inf") else "all"
        return f"cut, it computes something else than with the filters silent: outputs are off by {share}"
    return None


@torch.no_grad()
def silence(network: nn.Module, groups: Sequence[Group], gone: Mapping[str, Tensor]) -> None:
    """Let channels say nothing, and nobody listen to them, in new tensors; no shape changes."""
    for group in groups:
        goes = torch.zeros(group.channels, dtype=torch.bool)
        goes[gone[group.name]] = True
        for member in (*group.filters, *group.norms):
            for name in ("weight", "bias"):
                _zero(network, member, goes, name, 0)
        for member in group.norms:
            if getattr(network.get_submodule(member.name), "weight", None) is None:
                _zero(network, member, goes, "running_mean", 0)
        for member in group.readers:
            _zero(network, member, goes, "weight", 1)
        for member in group.leaving:
            shortcut = network.get_submodule(member.name)
            assert isinstance(shortcut, PaddingShortcut)
            source = shortcut.source.clone()
            source[member.channels[goes[member.roots]]] = -1
            shortcut.source = source
            shortcut._recognise()


def _zero(network: nn.Module, member: Member, goes: Tensor, name: str, dim: int) -> None:
    layer = network.get_submodule(member.name)
    tensor = getattr(layer, name, None)
    if tensor is None:
        return
    new = tensor.detach().clone().index_fill_(dim, member.channels[goes[member.roots]], 0)
    setattr(layer, name, nn.Parameter(new, requires_grad=False) if isinstance(tensor, nn.Parameter) else new)


@contextlib.contextmanager
def _restored(network: nn.Module, groups: Sequence[Group]) -> Iterator[None]:
    """What is cut inside is whole again afterwards: cuts make new tensors, and the old ones are put back."""
    members = {
        member.name
        for group in groups
        for part in (group.filters, group.norms, group.readers, group.entering, group.leaving)
        for member in part
    }
    layers = [network.get_submodule(name) for name in members]
    kept = [(layer, dict(layer.__dict__), dict(layer._parameters), dict(layer._buffers)) for layer in layers]
    try:
        yield
    finally:
        for layer, attributes, parameters, buffers in kept:
            layer.__dict__.clear()
            layer.__dict__.update(attributes)
            layer._parameters.clear()
            layer._parameters.update(parameters)
            layer._buffers.clear()
            layer._buffers.update(buffers)


def _line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return " ".join(text.splitlines()[0].split())[:120]
