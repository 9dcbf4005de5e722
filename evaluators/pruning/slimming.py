"""Network slimming: L1 on batch-norm scales during the uncompressed training (Liu et al. 2017, arXiv:1708.06519)."""

from __future__ import annotations

import torch
from slimfront.evaluators.training.context import Hook
from torch import Tensor, nn


class SlimmingPenalty(Hook):
    """Adds `strength` times the sum of |scale| over all batch norms to the loss, which drives useless channels to zero.

    Args:
        strength: `Sparsity.penalty`; the paper uses 1e-5 to 1e-4.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength

    def penalty(self, network: nn.Module) -> Tensor | None:
        """A scalar; None where the network has no batch norm."""
        scales = [
            layer.weight.abs().sum()
            for layer in network.modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine
        ]
        return self._strength * torch.stack(scales).sum() if scales else None
