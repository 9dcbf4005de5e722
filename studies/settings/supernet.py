"""The table [supernet] of a study file: one training for all shapes of the space, before the first trial."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from slimfront.spaces import CandidateError, Space, SpaceError
from slimfront.spaces.domain import shown
from slimfront.studies.foreign.values import LARGEST_COUNT
from slimfront.studies.settings.faults import SettingsError
from slimfront.studies.settings.types import Share, Table

if TYPE_CHECKING:
    from slimfront.evaluators.supernet.sharing import Sharing

LEAST_ALONE = 10  # epochs of which one is the largest shape's alone, where the table does not say how many are


class SupernetTable(Table):
    """How the shapes of a space share one training, and what their cuts are used for."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 70
    """Of the shared training; in one epoch every image is looked at by one of the shapes."""
    alone: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """How many epochs the largest shape trains alone first; default: a tenth of all."""
    drawn: Annotated[int, Field(ge=1, le=16)] = 2
    """Random shapes a step, beside the largest and the smallest."""
    screened: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 500
    """How many cuts are measured before the first trial, or all where there are fewer; 0: none."""
    gain: Share = 0.05
    """What training may add to a cut's accuracy: shapes that stay below the bar even so are not proposed."""
    recipe: dict[str, Any] = Field(default={})
    """How the supernet is trained, as far as the space leaves a choice, or where it is to differ."""
    augmentation: dict[str, Any] = Field(default={})
    """The same of its augmentation."""

    def identity(self) -> dict[str, Any]:
        """What the weights depend on that trials start from, as plain JSON values."""
        return {name: getattr(self, name) for name in ("epochs", "alone", "drawn", "recipe", "augmentation")}


def sharing_of(space: Space, table: SupernetTable) -> Sharing:
    """The training that is asked for.

    Raises:
        SpaceError: The shapes of the space cannot share one; the one line says why.
        SettingsError: They can, but how it is done is not settled, or cannot be.
    """
    from slimfront.evaluators.supernet.sharing import Sharing, UndecidedError

    if "epochs" in table.recipe:
        raise SettingsError(f"recipe.epochs must be left out, but got {shown(table.recipe['epochs'])}: see epochs.")
    alone = table.epochs // LEAST_ALONE if table.alone is None else table.alone
    recipe = {**table.recipe, "epochs": table.epochs}
    try:
        return Sharing.from_space(space, recipe=recipe, augmentation=table.augmentation, alone=alone, drawn=table.drawn)
    except UndecidedError as error:
        raise SettingsError(
            *(f"{key} is missing: the space leaves a choice, and one training has one." for key in error.keys)
        ) from None
    except CandidateError as error:
        raise SettingsError(str(error).removeprefix("sharing.")) from None


def checked(table: SupernetTable | None, space: Space | None) -> SupernetTable | None:
    """The table, if it fits the space. Raises SettingsError; a space that cannot share is left to the search."""
    if table is not None and space is not None:
        with contextlib.suppress(SpaceError):
            sharing_of(space, table)
    return table
