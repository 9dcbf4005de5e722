"""What a supernet's training is asked for: which shapes share it, and how it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from slimfront.evaluators.supernet.shapes import Shapes
from slimfront.spaces.candidate import UNCOMPRESSED_TEACHER, Augmentation, Candidate, Recipe
from slimfront.spaces.domain import Value
from slimfront.spaces.part import CandidateError, Part, require
from slimfront.spaces.space import Space
from slimfront.spaces.walk import walk


class UndecidedError(CandidateError):
    """A training whose space leaves choices that nobody has made.

    Attributes:
        keys: "recipe.learning_rate" and the like.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        super().__init__(f"Several values are possible for {', '.join(keys)}.")
        self.keys = keys


@dataclass(frozen=True)
class Sharing(Part):
    """One training that many shapes share.

    In each step the largest shape, `drawn` random ones and the smallest are trained, each on `recipe.batch_size` images
    of its own, and their gradients are summed (the sandwich rule of Yu and Huang 2019, arXiv:1903.05134). An epoch is
    one look at every image, by one of the shapes. In the first `alone` epochs the largest takes all their places; then
    its channels are sorted by importance, so that what is cut off first is what counts least.
    """

    shapes: Shapes
    recipe: Recipe = field(default_factory=Recipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    alone: int = 0
    drawn: int = 2

    def _validate(self) -> None:
        require(0 <= self.alone < self.recipe.epochs, self._label("alone"), self.alone, "below recipe.epochs")
        require(1 <= self.drawn <= 16, self._label("drawn"), self.drawn, "in 1..16")
        own = self.recipe.teacher == UNCOMPRESSED_TEACHER
        require(not own, "recipe.teacher", self.recipe.teacher, "a preset for a supernet")
        given = self.recipe.starting_weights
        require(not given, "recipe.starting_weights", given, "absent for a supernet")
        if self.recipe.distillation > 0:  # a teacher is asked once, in advance
            policy = self.augmentation.policy
            require(policy == "none", "augmentation.policy", policy, "none where a teacher teaches a supernet")

    @classmethod
    def from_space(
        cls,
        space: Space,
        *,
        recipe: Mapping[str, Any],
        augmentation: Mapping[str, Any],
        alone: int = 0,
        drawn: int = 2,
    ) -> Self:
        """The training of a space's shapes, as the space trains its networks.

        A step sees as many images as one of an ordinary training does, in all, unless `recipe` has a batch size.

        Args:
            space: What may be chosen.
            recipe: Fields of the recipe that are other ones, or that the space leaves open.
            augmentation: The same of the augmentation.
            alone: See Sharing.
            drawn: See Sharing.

        Raises:
            SpaceError: The shapes cannot share one training.
            UndecidedError: The space leaves a choice of which nothing is said.
            CandidateError: There is no such training.
        """
        shapes = Shapes.from_space(space)
        given = {"recipe": recipe, "augmentation": augmentation}
        undecided = []

        def choose(key: str, name: str) -> Value:
            domain, place = space.domain(key), _part_and_field(name)
            if place is not None:
                part, field = place
                value: Value | None = given[part].get(field)
                if value is not None:
                    require(isinstance(value, bool | int | float | str), f"{part}.{field}", value, "one value")
                    return value
                if not domain.fixed:
                    undecided.append(f"{part}.{field}")
            return domain.extremes[0]

        try:
            written = walk(choose)
        except ValueError as error:  # a member that is unknown, or has nothing in this space
            raise CandidateError(str(error)) from None
        if undecided:
            raise UndecidedError(tuple(undecided))
        own = Recipe.from_dict(written["recipe"]).uncompressed.to_dict()
        step = {"batch_size": max(2, own["batch_size"] // (drawn + 2))}
        moved = {**written["augmentation"], **augmentation}
        return cls(shapes, Recipe.from_dict({**own, **step, **recipe}), Augmentation.from_dict(moved), alone, drawn)

    @property
    def shapes_a_step(self) -> int:
        """How many shapes a step trains."""
        return self.drawn + 2

    @property
    def candidate(self) -> Candidate:
        """The largest shape as a candidate, trained as the supernet is: what says which teacher it has."""
        return Candidate(self.shapes.largest, augmentation=self.augmentation, recipe=self.recipe)


def _part_and_field(name: str) -> tuple[str, str] | None:
    """The part of a candidate that a parameter belongs to, and its field there; None: neither recipe nor augmentation.

    >>> _part_and_field("sgd.learning_rate"), _part_and_field("augmentation.crop"), _part_and_field("bits.epochs")
    (('recipe', 'learning_rate'), ('augmentation', 'crop'), None)
    """
    table, _, key = name.rpartition(".")
    if table == "augmentation" or key == "strength":
        return "augmentation", key
    if key == "learning_rate" or (not table and key in Recipe.__dataclass_fields__):
        return "recipe", key
    return None
