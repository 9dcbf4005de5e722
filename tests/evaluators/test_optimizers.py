from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slimfront.evaluators.training.learning_rate import learning_rate_factor
from slimfront.evaluators.training.muon import orthogonalise
from slimfront.spaces import Recipe
from slimfront.spaces.optimizers import OPTIMIZERS
from torch import nn


@given(progress=st.floats(0, 1), warmup=st.floats(0, 0.9), decay=st.sampled_from(["cosine", "linear"]))
def test_learning_rate_stays_between_zero_and_the_peak(progress: float, warmup: float, decay: str) -> None:
    assert 0 <= learning_rate_factor(progress, warmup, decay) <= 1 + 1e-9


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_learning_rate_rises_and_falls(decay: str) -> None:
    factors = [learning_rate_factor(step / 100, 0.1, decay) for step in range(101)]
    assert factors[0] == 0
    assert factors[10] == pytest.approx(1)
    assert factors[100] == pytest.approx(0)
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 40), (1, 40, 6)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adamw", 0.01), ("muon", 0.02)])
def test_every_optimizer_learns(optimizer: str, rate: float) -> None:
    network = _network()
    recipe = Recipe(optimizer=optimizer, learning_rate=rate)
    made = OPTIMIZERS[recipe.optimizer].make(network, recipe)
    torch.manual_seed(1)
    inputs, labels = torch.randn(64, 2, 4, 4), torch.randint(0, 3, (64,))
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(inputs), labels)
        made.zero_grad()
        loss.backward()
        made.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_weight_decay_leaves_norms_and_biases_alone(optimizer: str) -> None:
    network = _network()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    made = OPTIMIZERS[optimizer].make(
        network, Recipe(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5, momentum=0)
    )
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for name, parameter in network.named_parameters():
        if parameter.ndim < 2:
            assert torch.equal(parameter, before[name])
        else:
            assert torch.allclose(parameter, before[name] * (1 - 0.1 * 0.5), atol=1e-6)
