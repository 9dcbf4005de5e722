"""Types of values in a study file, with their ranges and what else they must be."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field
from slimfront.evaluators.scoring.cost import COSTS, LARGEST
from slimfront.studies.foreign.values import LARGEST_COUNT, LARGEST_NUMBER
from slimfront.studies.sampling import SAMPLERS
from slimfront.studies.settings.faults import SettingsError

Names = TypeVar("Names", bound=Collection[str])

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


def _is_printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be a text of one line, without control characters.")
    return value


def _is_data_set(value: str) -> str:
    from slimfront.evaluators.data.splits import check_name

    check_name(value)
    return value


def _is_sampler(value: str) -> str:
    SAMPLERS[value]  # raises for an unknown name
    return value


def are_costs(names: Names) -> Names:
    """Raise SettingsError for each name that no cost has, and for a user's own that was not given."""
    faults = []
    for name in names:
        try:
            COSTS[name]
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError(*faults)
    return names


def _is_cost(name: str) -> str:
    are_costs((name,))
    return name


CostName = Annotated[Text, AfterValidator(_is_cost)]
Bound = Annotated[float, Field(gt=0, le=LARGEST)]
Name = Annotated[Text, AfterValidator(_is_printable)]
DataSetName = Annotated[Text, AfterValidator(_is_printable), AfterValidator(_is_data_set)]
SamplerName = Annotated[Text, AfterValidator(_is_sampler)]
