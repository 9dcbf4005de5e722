"""The shapes that a supernet holds: residual networks that differ in stem width, widths and depths alone.

A shape is an Architecture. Each is a part of the largest one: its first channels and its first blocks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from slimfront.spaces.candidate import Architecture
from slimfront.spaces.domain import Domain, SpaceError
from slimfront.spaces.part import Part, require
from slimfront.spaces.space import Space
from torch import Generator

_BASE = "architecture.residual."
_MOST_VALUES = 1000  # of one width or depth


@dataclass(frozen=True)
class Shapes(Part):
    """All combinations of these stem widths and, stage by stage, widths and depths; 3x3 kernels, padding shortcuts.

    >>> shapes = Shapes(stem_widths=(8,), widths=((8, 12), (16, 24)), depths=((1,), (1, 2)), strides=(1, 2))
    >>> len(shapes), shapes.largest.widths, shapes.smallest.depths
    (8, (12, 24), (1, 1))
    """

    stem_widths: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]  # one entry a stage: the choices, rising
    depths: tuple[tuple[int, ...], ...]
    strides: tuple[int, ...]
    stem_stride: int = 1

    def _validate(self) -> None:
        stages = len(self.strides)
        for name in ("widths", "depths"):
            require(len(getattr(self, name)) == stages, self._label(name), getattr(self, name), f"lists of {stages}")
        for name, choices in self._choices:
            whole = isinstance(choices, tuple) and all(type(choice) is int for choice in choices)
            rising = whole and all(a < b for a, b in itertools.pairwise(choices))
            require(rising and len(choices) > 0, self._label(name), choices, "rising whole numbers")
        for extreme in (self.smallest, self.largest):  # what the ends allow, all between allow
            require(extreme in self, self._label("widths"), self.widths, "those of residual networks")

    @classmethod
    def from_space(cls, space: Space) -> Self:
        """The shapes of a space's architectures.

        Raises:
            SpaceError: One training cannot serve them: the text says which key is in the way.
        """
        family, stages = (space.domain(key) for key in ("architecture.family", f"{_BASE}stages"))
        if family.choices != ("residual",):
            raise SpaceError('architecture.family must be "residual" alone for its shapes to share one training.')
        if not stages.fixed:
            raise SpaceError(f"{_BASE}stages must be one number for its shapes to share one training.")

        def fixed(key: str) -> int:
            values = _values(space.domain(_BASE + key), _BASE + key)
            if len(values) > 1:
                raise SpaceError(f"{_BASE}{key} must be one number for its shapes to share one training.")
            return values[0]

        if space.domain(f"{_BASE}shortcut").choices != ("padding",):
            raise SpaceError(f'{_BASE}shortcut must be "padding" for its shapes to share one training.')
        if fixed("head_width"):
            raise SpaceError(f"{_BASE}head_width must be 0 for its shapes to share one training.")
        numbers = range(int(stages.choices[0]))

        def of_stages(key: str) -> tuple[tuple[int, ...], ...]:
            return tuple(_values(space.domain(f"{_BASE}{key}.{stage}"), f"{_BASE}{key}") for stage in numbers)

        shapes = cls(
            stem_widths=_values(space.domain(f"{_BASE}stem_width"), f"{_BASE}stem_width"),
            widths=of_stages("width"),
            depths=of_stages("depth"),
            strides=(fixed("first_stride"), *(fixed(f"stride.{stage}") for stage in numbers[1:])),
            stem_stride=fixed("stem_stride"),
        )
        if len(shapes) == 1:
            raise SpaceError("The space has one shape only: there is nothing to share.")
        return shapes

    @property
    def _choices(self) -> list[tuple[str, tuple[int, ...]]]:
        """The name of the field that they stand in, and the choices of each number that is chosen."""
        stages = itertools.chain((("widths", item) for item in self.widths), (("depths", item) for item in self.depths))
        return [("stem_widths", self.stem_widths), *stages]

    def _shape(self, stem_width: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> Architecture:
        return Architecture("residual", stem_width, self.stem_stride, widths, depths, self.strides, shortcut="padding")

    @property
    def smallest(self) -> Architecture:
        """Of everything the least."""
        return self._shape(
            self.stem_widths[0], tuple(item[0] for item in self.widths), tuple(item[0] for item in self.depths)
        )

    @property
    def largest(self) -> Architecture:
        """Of everything the most: all other shapes are parts of it."""
        return self._shape(
            self.stem_widths[-1], tuple(item[-1] for item in self.widths), tuple(item[-1] for item in self.depths)
        )

    def __len__(self) -> int:
        return math.prod(len(choices) for _, choices in self._choices)

    def __iter__(self) -> Iterator[Architecture]:
        """All shapes, the smallest first, the largest last."""
        for stem_width, *rest in itertools.product(*(choices for _, choices in self._choices)):
            stages = len(self.widths)
            yield self._shape(stem_width, tuple(rest[:stages]), tuple(rest[stages:]))

    def __contains__(self, architecture: object) -> bool:
        if not isinstance(architecture, Architecture) or len(architecture.widths) != len(self.widths):
            return False
        chosen = (architecture.stem_width, *architecture.widths, *architecture.depths)
        inside = all(value in choices for value, (_, choices) in zip(chosen, self._choices, strict=True))
        return inside and architecture == self._shape(chosen[0], architecture.widths, architecture.depths)

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
