"""What a supernet's training is asked for: which shapes share it, and how it is done."""

from __future__ import annotations

from dataclasses import dataclass, field

from slimfront.evaluators.supernet.shapes import Shapes
from slimfront.spaces.candidate import UNCOMPRESSED_TEACHER, Augmentation, Candidate, Recipe
from slimfront.spaces.part import Part, require


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
        if self.recipe.distillation > 0:  # a teacher is asked once, in advance
            policy = self.augmentation.policy
            require(policy == "none", "augmentation.policy", policy, "none where a teacher teaches a supernet")

    @property
    def shapes_a_step(self) -> int:
        """How many shapes a step trains."""
        return self.drawn + 2

    @property
    def candidate(self) -> Candidate:
        """The largest shape as a candidate, trained as the supernet is: what says which teacher it has."""
        return Candidate(self.shapes.largest, augmentation=self.augmentation, recipe=self.recipe)
