"""The shapes that a supernet holds: networks of basic blocks that differ in stem width, widths and depths alone.

A shape is an Architecture. Each is a part of the largest one: its first channels and its first blocks.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from slimfront.evaluators.supernet.cutting import can_be_cut
from slimfront.spaces.candidate import Architecture
from slimfront.spaces.domain import Domain, SpaceError
from slimfront.spaces.part import CandidateError, Part, require
from slimfront.spaces.space import Space
from torch import Generator

_MOST_VALUES = 1000  # of one width or depth
_SHARED = ("stem_width", "width", "depth")


@dataclass(frozen=True)
class Shapes(Part):
    """The largest shape, and all combinations of these stem widths and, stage by stage, widths and depths.

    >>> largest = Architecture("residual", 8, 1, (12, 24), (1, 2), (1, 2), shortcut="padding")
    >>> shapes = Shapes(largest, stem_widths=(8,), widths=((8, 12), (16, 24)), depths=((1,), (1, 2)))
    >>> len(shapes), shapes.smallest.widths, shapes.smallest.depths
    (8, (8, 16), (1, 1))
    """

    largest: Architecture
    stem_widths: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]  # one entry a stage: the choices, rising
    depths: tuple[tuple[int, ...], ...]

    def _validate(self) -> None:
        require(isinstance(self.largest, Architecture), self._label("largest"), self.largest, "an architecture")
        stages = len(self.largest.widths)
        for name in ("widths", "depths"):
            require(len(getattr(self, name)) == stages, self._label(name), getattr(self, name), f"lists of {stages}")
        for name, choices in self._choices:
            whole = isinstance(choices, tuple) and all(type(choice) is int for choice in choices)
            rising = whole and all(a < b for a, b in itertools.pairwise(choices))
            require(rising and len(choices) > 0, self._label(name), choices, "rising whole numbers")
        most = tuple(choices[-1] for _, choices in self._choices)
        found = numbers_of(self.largest)
        require(found == most, self._label("largest"), found, f"the most of all, {most}")
        text = "of basic blocks with padding shortcuts, without a head, for its shapes to share one training"
        for extreme in (self.smallest, self.largest):
            require(can_be_cut(extreme), self._label("largest"), extreme.to_json(), text)

    @classmethod
    def from_space(cls, space: Space) -> Self:
        """The shapes of a space's architectures.

        Raises:
            SpaceError: One training cannot serve them: the text says what is in the way.
        """
        family = space.domain("architecture.family")
        if not family.fixed:
            raise SpaceError("architecture.family must be one family for its shapes to share one training.")
        base = f"architecture.{family.choices[0]}."
        for key in space.open_keys:
            if key.startswith(base) and key.removeprefix(base).partition(".")[0] not in _SHARED:
                raise SpaceError(f"{key} must be one value for the shapes to share one training.")
        any_one = Architecture.from_dict(space.draw(_First())["architecture"])
        stages = range(len(any_one.widths))

        def values(key: str) -> tuple[int, ...]:
            return _values(space.domain(base + key), base + key)

        stem_widths = values("stem_width")
        widths, depths = (tuple(values(f"{key}.{stage}") for stage in stages) for key in ("width", "depth"))
        try:
            largest = _replaced(any_one, stem_widths[-1], tuple(w[-1] for w in widths), tuple(d[-1] for d in depths))
            shapes = cls(largest, stem_widths, widths, depths)
        except CandidateError as error:
            raise SpaceError(str(error)) from None
        if len(shapes) == 1:
            raise SpaceError("The space has one shape only: there is nothing to share.")
        return shapes

    @property
    def _choices(self) -> list[tuple[str, tuple[int, ...]]]:
        """The name of the field that they stand in, and the choices of each number that is chosen."""
        stages = itertools.chain((("widths", item) for item in self.widths), (("depths", item) for item in self.depths))
        return [("stem_widths", self.stem_widths), *stages]

    def _shape(self, stem_width: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> Architecture:
        return _replaced(self.largest, stem_width, widths, depths)

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Of each number that shapes differ in (see `numbers_of`) its values, rising."""
        return tuple(choices for _, choices in self._choices)

    def of_numbers(self, numbers: tuple[int, ...]) -> Architecture:
        """The shape with these numbers, the inverse of `numbers_of`."""
        stages = len(self.widths)
        return self._shape(numbers[0], tuple(numbers[1 : stages + 1]), tuple(numbers[stages + 1 :]))

    @property
    def smallest(self) -> Architecture:
        """Of everything the least."""
        return self._shape(
            self.stem_widths[0], tuple(item[0] for item in self.widths), tuple(item[0] for item in self.depths)
        )

    def __len__(self) -> int:
        return math.prod(len(choices) for _, choices in self._choices)

    def __iter__(self) -> Iterator[Architecture]:
        """All shapes, the smallest first and the largest last."""
        for numbers in itertools.product(*self.choices):
            yield self.of_numbers(numbers)

    def __contains__(self, architecture: object) -> bool:
        if not isinstance(architecture, Architecture) or len(architecture.widths) != len(self.widths):
            return False
        pairs = zip(numbers_of(architecture), self._choices, strict=True)
        inside = all(value in choices for value, (_, choices) in pairs)
        rest = self._shape(architecture.stem_width, architecture.widths, architecture.depths)
        return inside and architecture == rest

    def draw(self, count: int, generator: Generator) -> list[Architecture]:
        """Random shapes: every combination of depths equally often (or once more than another), widths at random.

        A depth that is drawn seldom is trained badly, and its shapes are then judged worse than they are.
        """
        deep = list(itertools.product(*self.depths))
        rounds = [torch.randperm(len(deep), generator=generator) for _ in range(-(-count // len(deep)))]
        order = torch.cat(rounds)[:count].tolist() if count else []

        def any_of(choices: tuple[int, ...]) -> int:
            return choices[int(torch.randint(len(choices), (), generator=generator))]

        return [
            self._shape(any_of(self.stem_widths), tuple(any_of(item) for item in self.widths), deep[index])
            for index in order
        ]


class _First:
    """As an Optuna trial: of every domain the first value."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """See Trial."""
        return choices[0]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """See Trial."""
        return low

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """See Trial."""
        return low


def numbers_of(architecture: Architecture) -> tuple[int, ...]:
    """The numbers that shapes differ in: stem width, then the stages' widths, then their depths."""
    return (architecture.stem_width, *architecture.widths, *architecture.depths)


def _replaced(
    architecture: Architecture, stem_width: int, widths: tuple[int, ...], depths: tuple[int, ...]
) -> Architecture:
    return dataclasses.replace(architecture, stem_width=stem_width, widths=widths, depths=depths)


def _values(domain: Domain, key: str) -> tuple[int, ...]:
    """All numbers of a domain, rising."""
    if domain.choices:
        values = {int(choice) for choice in domain.choices}
    elif domain.whole and not domain.log:
        values = set(range(int(domain.low), int(domain.high) + 1, int(domain.step or 1)))
    else:
        raise SpaceError(f"{key} must be a list, or a range without log, for its shapes to share one training.")
    if len(values) > _MOST_VALUES:
        raise SpaceError(f"{key} has {len(values)} values; at most {_MOST_VALUES} can share one training.")
    return tuple(sorted(values))
