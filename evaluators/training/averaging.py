"""Exponential moving average of a network's weights and batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def _averaged_tensors(network: nn.Module) -> dict[str, Tensor]:
    # Masks and other buffers are facts, not weights: an average of two masks is no mask.
    tensors: dict[str, Tensor] = dict(network.named_parameters())
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            tensors[name] = buffer
    return tensors


class Averaging:
    """Keeps the average beside the network, and exchanges the two on demand.

    Early on the decay is smaller, (1 + t) / (10 + t), so that the start is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._decay = decay
        self._steps = 0
        with torch.no_grad():
            self.average = {name: tensor.detach().clone() for name, tensor in _averaged_tensors(network).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights as they are after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        current = [tensor.detach() for tensor in _averaged_tensors(self._network).values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1.0 - decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap the network's weights with the average; doing it twice changes nothing."""
        for name, tensor in _averaged_tensors(self._network).items():
            kept = tensor.detach().clone()
            tensor.detach().copy_(self.average[name])
            self.average[name].copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with averaged weights inside the `with` block."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {**self.average, "steps": torch.tensor(self._steps)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._steps = int(state["steps"])
        for name, tensor in self.average.items():
            tensor.copy_(state[name])
