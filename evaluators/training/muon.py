"""Muon: momentum whose update of a weight matrix is orthogonalised (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Newton-Schulz coefficients of Jordan et al. 2024 (Muon): steep at zero, so that five steps are enough.
_QUINTIC = (3.4445, -4.7750, 2.0315)
# Parameters that Muon does not take (vectors, depthwise kernels, the classifier) follow Adam at this share of its rate.
_ADAM_SHARE = 0.15


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearest (semi-)orthogonal matrices, roughly: all singular values of the result lie near 1.

    Args:
        matrices: (B, rows, columns), float.
        steps: Newton-Schulz iterations.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    # Every iteration multiplies x by a polynomial p of its Gram matrix g, and g by p twice. All of them commute, so the
    # large matrix is needed twice only: for the first g, and at the end.
    gram = x @ x.mT
    product = None
    for _ in range(steps):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        gram = polynomial @ gram @ polynomial
    x = x if product is None else product @ x
    result: Tensor = x.mT if tall else x
    return result


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a convolution is orthogonalised; everything else follows Adam.

    torch's own Muon takes matrices only; a convolution is one once its input channels and taps are flattened.
    Groups carry `orthogonal`. The update is scaled by sqrt(max(1, rows / columns)) so that its size does not depend
    on the shape.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float = 0.9) -> None:
        groups = [group for group in params if group["params"]]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update. `closure` is not supported."""
        for group in self.param_groups:
            with_gradient = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not with_gradient:
                continue
            if group["weight_decay"]:
                torch._foreach_mul_(with_gradient, 1.0 - group["lr"] * group["weight_decay"])
            if group["orthogonal"]:
                self._orthogonal_step(with_gradient, group)
            else:
                self._adam_step(with_gradient, group)

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum, gradient = state["momentum"], _gradient(parameter)
            momentum.lerp_(gradient, 1.0 - group["momentum"])
            update = gradient.lerp(momentum, group["momentum"])  # Nesterov
            by_shape[tuple(parameter.shape)].append((parameter, update.reshape(len(update), -1)))
        for shape, pairs in by_shape.items():
            updates = orthogonalise(torch.stack([update for _, update in pairs]))
            rows, columns = updates.shape[-2:]
            step = -group["lr"] * math.sqrt(max(1.0, rows / columns))
            for (parameter, _), update in zip(pairs, updates, strict=True):
                parameter.add_(update.reshape(shape), alpha=step)

    def _adam_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["mean"] = torch.zeros_like(parameter)
                state["square"] = torch.zeros_like(parameter)
                state["step"] = 0
        means = [self.state[parameter]["mean"] for parameter in parameters]
        squares = [self.state[parameter]["square"] for parameter in parameters]
        for parameter in parameters:
            self.state[parameter]["step"] += 1
        count = self.state[parameters[0]]["step"]
        torch._foreach_lerp_(means, gradients, 0.1)
        torch._foreach_mul_(squares, 0.99)
        torch._foreach_addcmul_(squares, gradients, gradients, 0.01)
        scale = math.sqrt(1.0 - 0.99**count)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, scale)
        torch._foreach_add_(denominators, 1e-8)
        step = -group["lr"] * _ADAM_SHARE / (1.0 - 0.9**count)
        torch._foreach_addcdiv_(parameters, means, denominators, step)
