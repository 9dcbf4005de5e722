"""Settings as pydantic checks them: types and ranges here, single values in `checks`.

Checks that need two keys stand with the later one; pydantic hands them the earlier ones as far as these are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator
from slimfront.evaluators.scoring.cost import COSTS, LARGEST, CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.spaces import Space, SpaceError, presets
from slimfront.studies.foreign.values import LARGEST_SEED
from slimfront.studies.samplers.tpe import TPE
from slimfront.studies.sampling import SAMPLERS
from slimfront.studies.settings.checks import (
    CostName,
    CostNames,
    DataSetName,
    Line,
    Names,
    SamplerName,
    SpaceTable,
    check_costs,
)
from slimfront.studies.settings.faults import SettingsError, nearest, refused
from slimfront.studies.settings.reading import read, shipped
from slimfront.studies.settings.starting import taken_in
from slimfront.studies.settings.supernet import SupernetTable, checked
from slimfront.studies.settings.types import Count, Positive, Share, Table

Bound = Annotated[float, Field(gt=0, le=LARGEST)]


class EarlyStopping(Table):
    """How bold the early stops are."""

    quantile: Share = 0.95
    """Of the gains of finished trials; higher is more careful."""
    least_finished: Count = 8
    """Finished curves that compare, of different networks, before any trial is stopped on a bound."""
    least_share: Share = 0.2
    """Share of the uncompressed training's epochs before which nothing is stopped on a bound."""
    recovery: Share = 0.5
    """Share of any later phase's epochs that it is given to recover from its dip."""
    spared: Share = 0.05
    """Share of the would-be-stopped that run to the end, so that false stops can be counted."""


class Settings(Table):
    """Everything that a study is started with."""

    name: Line
    """Of the study in its storage; default: the file's name."""
    dataset: DataSetName
    """Name of the data set: digits, cifar10, cifar100, fashion-mnist or folder:PATH."""
    space: SpaceTable
    """What may be chosen: bounds and choices for every part of a candidate."""
    bar: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Accuracy that the front demands, a share in (0, 1]."""
    trials: Count | None = None
    """How many trials the study has in all; absent: no limit."""
    hours: Positive | None = None
    """How long it works in all, across restarts; absent: no limit."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    """Of sampling and of every training."""
    sampler: SamplerName = TPE.name
    """What proposes candidates: a sampler's name, or a user's own."""
    startup_trials: Annotated[Count, Field(validate_default=True)] = 10
    """Random trials before the sampler begins to learn."""
    presets: Names = ()
    """Candidates that are tried first, by name."""
    max_score: Positive | None = None
    """Candidates above this score are not trained; absent: no limit."""
    cost: CostName = SCORE.name
    """What the front keeps low, beside a high accuracy: a cost's name, or a user's own."""
    max: dict[str, Bound] = Field(default={})
    """Bounds by the costs' names: a trial above one is not feasible."""
    measure: CostNames = ()
    """Costs that are recorded besides."""
    image_size: int | None = None
    """Side in pixels that an image folder's pictures are resized to."""
    early_stopping: EarlyStopping = EarlyStopping()
    """Rules of early stopping; what is absent has its default."""
    supernet: SupernetTable | None = None
    """One training for all shapes of the space, which trials start from; absent: each has a training of its own."""
    _weights: Mapping[str, Path] = PrivateAttr({})

    def __init__(self, /, **values: Any) -> None:
        """From values as TOML gives them. Raises SettingsError with all that is wrong, a line a fault."""
        with refused(type(self)):
            super().__init__(**values)

    @field_validator("startup_trials")
    @classmethod
    def _are_enough(cls, value: int, info: ValidationInfo) -> int:
        sampler = info.data.get("sampler")
        least = 1 if sampler is None else SAMPLERS[sampler].least_startup
        if value < least:
            raise ValueError(f"must be at least {least} for the sampler {sampler}, but got {value}.")
        return value

    @field_validator("presets")
    @classmethod
    def _lie_in_the_space(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        space = Space(info.data["space"]) if "space" in info.data else None
        faults = []
        for name in value:
            if name not in presets:
                known = ", ".join(presets)
                faults.append(f"must be names of presets, but got {name!r}: {nearest(name, presets)}known are {known}.")
            elif space is not None:
                try:
                    space.parameters(presets[name])
                except SpaceError as error:
                    faults.append(f"{name} does not lie in the space: {error}")
        if faults:
            raise SettingsError(*faults)
        return value

    @field_validator("max")
    @classmethod
    def _are_bounds(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        check_costs(value)
        if SCORE.name in value and info.data.get("max_score") is not None:
            raise SettingsError(f"max_score and max.{SCORE.name} are the same bound: give one of them.")
        return value

    @field_validator("image_size")
    @classmethod
    def _is_of_a_folder(cls, value: int | None, info: ValidationInfo) -> int | None:
        from slimfront.evaluators.data.splits import check_image_size

        if value is not None:
            check_image_size(info.data.get("dataset", "folder:"), value)
        return value

    @field_validator("supernet")
    @classmethod
    def _fits_the_space(cls, value: SupernetTable | None, info: ValidationInfo) -> SupernetTable | None:
        return checked(value, Space(info.data["space"]) if "space" in info.data else None)

    @property
    def axis(self) -> CostAxis:
        """What the front keeps low, in words."""
        return COSTS[self.cost].axis(self.cost)

    @property
    def asked(self) -> tuple[str, ...]:
        """The costs that are measured on every finished network, besides the score."""
        return tuple(name for name in dict.fromkeys((self.cost, *self.max, *self.measure)) if name != SCORE.name)

    @property
    def refused_above(self) -> Mapping[str, float]:
        """Bounds by the costs' names, `max_score` among them: a candidate that is known to lie above is not trained."""
        return {**self.max, **({} if self.max_score is None else {SCORE.name: self.max_score})}

    def make_space(self) -> Space:
        """The space."""
        return Space(self.space)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a study file, or slimfront's own of that name; the user's own code that it names is imported.

        Raises SettingsError with all that is wrong, in every line the file and the key.
        """
        path = shipped(path)
        written, code = read(path)
        try:
            made = cls.from_dict(written, path.stem, path.parent)
        except SettingsError as error:
            # What could not be imported is not known, either: that is said once, by who tried.
            others = (fault for fault in error.faults if not any(reference in fault for reference in code))
            raise SettingsError(*code.values(), *others).of(path) from None
        if code:
            raise SettingsError(*code.values()).of(path)
        return made

    @classmethod
    def from_dict(cls, written: Mapping[str, Any], default_name: str, folder: Path = Path()) -> Self:
        """From tables as TOML gives them; the name may be left out. Raises SettingsError.

        Files of starting weights are looked for from `folder` on.
        """
        tables, files = taken_in(written, folder)
        made = cls(**{"name": default_name, **tables})
        made._weights = files
        return made

    @property
    def weights(self) -> Mapping[str, Path]:
        """Files of starting weights, by what recipes call them."""
        return self._weights

    def changed(self, **changes: Any) -> Self:
        """A copy with those changes that are not None. Raises SettingsError."""
        kept = {name: getattr(self, name) for name in type(self).model_fields}
        made = type(self)(**{**kept, **{key: value for key, value in changes.items() if value is not None}})
        made._weights = self._weights
        return made

    def identity(self) -> dict[str, Any]:
        """What must not change within a study, as plain JSON values: otherwise its trials do not compare.

        Cost and bounds are left out where they are what they were before there was a choice.
        """
        return {
            **({} if self.cost == SCORE.name else {"cost": self.cost}),
            **({"max": dict(self.max)} if self.max else {}),
            **({} if self.supernet is None else {"supernet": self.supernet.identity()}),
            "dataset": self.dataset,
            "image_size": self.image_size,
            "bar": self.bar,
            "seed": self.seed,
            "space": self.space,
        }
