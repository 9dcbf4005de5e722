"""The grid of the replay benchmark: a small space on a part of CIFAR-10, every candidate of which is in the table.

Training images: the first 4,000 of a search's 45,000; validation images: the first 2,000 of its 5,000. Small networks,
20 epochs of dense training, up to 8 of compression: enough for the order of things (wide above narrow, many bits above
few, dips and recoveries), not for accuracies that anyone would want. 16 dense networks with 12 compressions each.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
import tomllib
from collections.abc import Iterator
from typing import Any

import torch
from slimfront.evaluators.data.splits import SearchData, search_data
from slimfront.spaces import Candidate, Space

TRAINING, VALIDATION = 4_000, 2_000
SEED = 0

WRITTEN: dict[str, Any] = tomllib.loads("""
[architecture]
family = "residual"
[architecture.residual]
stem_width = 16
stem_stride = 4
stages = 2
width.0 = [16, 32]
width.1 = [32, 64]
depth.0 = [1, 2]
depth.1 = 1
shortcut = "padding"
[augmentation]
policy = ["none", "cutout"]
cutout.strength = 0.3
[pruning.filters]
method = ["none", "li_filters"]
ratio = [0.25, 0.5]
epochs = 2
[pruning.weights]
method = ["none", "global_l1"]
ratio = 0.5
epochs = 2
[bits]
weights = [2, 4]
activations = 4
edges = 8
epochs = 4
[recipe]
optimizer = "sgd"
sgd.learning_rate = 0.1
weight_decay = 5e-4
epochs = 20
batch_size = 125
decay = "linear"
""")


def space() -> Space:
    """The space that strategies search in the replay."""
    return Space(WRITTEN)


def part_of_cifar10() -> SearchData:
    """What the table is recorded on."""
    whole = search_data("cifar10")
    return dataclasses.replace(
        whole,
        train=whole.train.subset(torch.arange(TRAINING)),
        validation=whole.validation.subset(torch.arange(VALIDATION)),
    )


class _Enumerating:
    """A trial that answers from a list and notes how many choices each question had."""

    def __init__(self, answers: list[int]) -> None:
        self.answers, self.asked = answers, list[int]()

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        index = self.answers[len(self.asked)] if len(self.asked) < len(self.answers) else 0
        self.asked.append(len(choices))
        return choices[index]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        raise NotImplementedError("the grid has choices only")

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        raise NotImplementedError("the grid has choices only")


def candidates() -> Iterator[Candidate]:
    """Every candidate of the space, once, those of one dense network together."""
    grid = space()
    answers: list[int] = []
    while True:
        trial = _Enumerating(answers)
        yield grid.sample(trial)
        # The next answers: count up at the last question that has a choice left.
        answers += [0] * (len(trial.asked) - len(answers))
        answers = answers[: len(trial.asked)]
        while answers and answers[-1] + 1 == trial.asked[len(answers) - 1]:
            answers.pop()
        if not answers:
            return
        answers[-1] += 1


def dense_networks() -> list[list[Candidate]]:
    """The candidates by dense network."""
    network = operator.attrgetter("uncompressed_digest")
    return [list(group) for _, group in itertools.groupby(sorted(candidates(), key=network), key=network)]
