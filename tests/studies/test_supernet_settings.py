"""The table [supernet] of a study file: defaults from the space, what is refused, and what makes it another study."""

from __future__ import annotations

from typing import Any

import pytest
from slimfront.spaces import SpaceError
from slimfront.studies.settings import Settings, SettingsError
from slimfront.studies.settings.supernet import sharing_of

RESIDUAL = {"stem_width": [4, 8], "stages": 2, "width": {"low": 4, "high": 16, "step": 4}, "depth": [1, 2]}


def _settings(table: dict[str, Any] | None, **space: Any) -> Settings:
    written = {"architecture": {"residual": RESIDUAL}, **space}
    return Settings(name="s", dataset="digits", space=written, **({} if table is None else {"supernet": table}))


def test_an_empty_table_is_enough() -> None:
    """It trains as the space does, and a step sees as many images as one of an ordinary training."""
    settings = _settings({}, recipe={"muon": {"learning_rate": 0.03}, "optimizer": "muon", "batch_size": 64})
    assert settings.supernet is not None
    sharing = sharing_of(settings.make_space(), settings.supernet)
    assert len(sharing.shapes) == 2 * 4**2 * 2**2
    recipe = sharing.recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.epochs, recipe.batch_size) == ("muon", 0.03, 70, 16)
    assert (sharing.alone, sharing.drawn) == (7, 2)


def test_what_the_space_leaves_open_is_said_there() -> None:
    """An optimizer brings the learning rate that it has in the space, even one that the space does not choose."""
    table = {"epochs": 9, "alone": 2, "recipe": {"optimizer": "muon"}, "augmentation": {"crop": 1}}
    settings = _settings(table, recipe={"optimizer": ["sgd", "adamw"]}, augmentation={"crop": [0, 2]})
    assert settings.supernet is not None
    sharing = sharing_of(settings.make_space(), settings.supernet)
    assert (sharing.recipe.optimizer, sharing.recipe.learning_rate) == ("muon", 0.02)
    assert (sharing.alone, sharing.augmentation.crop) == (2, 1)


OPEN = {"recipe": {"optimizer": ["sgd", "muon"]}, "augmentation": {"crop": [0, 2]}}


@pytest.mark.parametrize(
    ("table", "space", "told"),
    [
        ({}, OPEN, "supernet: recipe.optimizer is missing: the space leaves a choice"),
        ({}, OPEN, "supernet: augmentation.crop is missing: the space leaves a choice"),
        ({"recipe": {"optimizer": "muo"}}, {}, "supernet: There is no optimizer 'muo': did you mean muon?"),
        ({"recipe": {"optimizer": ["sgd"]}}, {}, "supernet: recipe.optimizer must be one value"),
        ({"recipe": {"rate": 0.1}}, {}, "supernet: recipe.rate is unknown; known are optimizer, "),
        ({"recipe": {"learning_rate": -1.0}}, {}, "supernet: recipe.learning_rate must be in (0, 10], but got -1.0"),
        ({"recipe": {"epochs": 3}}, {}, "supernet: recipe.epochs must be left out, but got 3: see epochs."),
        ({"epochs": 5, "alone": 5}, {}, "supernet: alone must be below recipe.epochs, but got 5"),
        ({"epochs": 0}, {}, "supernet.epochs must be in 1..10000, but got 0."),
        ({"gain": 5}, {}, "supernet.gain must be"),
        ({"drawm": 1}, {}, "supernet.drawm is unknown: did you mean drawn?"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(table: dict[str, Any], space: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        _settings(table, **space)
    assert any(told in fault for fault in error.value.faults), error.value.faults


def test_a_space_that_cannot_share_is_no_fault_of_the_file() -> None:
    settings = _settings({}, architecture={"residual": {"stem_width": 8, "stages": 1, "width": 8, "depth": 1}})
    assert settings.supernet is not None
    with pytest.raises(SpaceError, match="nothing to share"):
        sharing_of(settings.make_space(), settings.supernet)


def test_the_table_is_part_of_what_a_study_is() -> None:
    """As far as its trials depend on it: how many cuts are measured is not."""
    without = _settings(None).identity()
    assert "supernet" not in without
    with_one = _settings({}).identity()
    assert with_one == {**without, "supernet": with_one["supernet"]}
    assert _settings({"screened": 20, "gain": 0.1}).identity() == with_one
    assert _settings({"epochs": 5}).identity() != with_one
