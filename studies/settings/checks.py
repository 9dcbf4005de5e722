"""Checks of single values of a study file, and the types of values that pass them; checks of two are the model's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from slimfront.evaluators.scoring.cost import COSTS
from slimfront.spaces import CandidateError, Space
from slimfront.studies.sampling import SAMPLERS
from slimfront.studies.settings.faults import SettingsError

CLASSES, CHANNELS = 10, 3  # that a space's largest network is counted with, before the data are there


def check_costs(names: Iterable[str]) -> None:
    """Raise SettingsError with a line for each cost that is not known."""
    faults = []
    for name in names:
        try:
            COSTS[name]
        except ValueError as error:  # there is no such cost, or it is a user's own that was not given
            faults.append(str(error))
    if faults:
        raise SettingsError(*faults)


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be a text of one line, without control characters.")
    return value


def _a_data_set(value: str) -> str:
    from slimfront.evaluators.data.splits import check_name

    check_name(value)
    return value


def _a_sampler(value: str) -> str:
    SAMPLERS[value]  # raises for an unknown name
    return value


def _a_cost(value: str) -> str:
    COSTS[value]  # raises for an unknown name
    return value


def _costs(value: tuple[str, ...]) -> tuple[str, ...]:
    check_costs(value)
    return value


def _a_space(value: dict[str, Any]) -> dict[str, Any]:
    """Its networks, too, have to fit into memory."""
    from slimfront.models.network import LARGEST_NETWORK, count_weights

    faults = []
    for family, architecture in Space(value).largest().items():
        try:
            weights = count_weights(architecture, CLASSES, CHANNELS)
        except CandidateError:
            continue  # a family of the user's own that cannot have the most of everything
        if weights > LARGEST_NETWORK:
            faults.append(
                f"architecture.{family}: its largest network has {weights:,} weights; {LARGEST_NETWORK:,} are allowed: "
                "lower its widths, depths or stages."
            )
    if faults:
        raise SettingsError(*faults)
    return value


Text = Annotated[str, Field(min_length=1, max_length=200)]
Line = Annotated[Text, AfterValidator(_one_line)]
DataSetName = Annotated[Line, AfterValidator(_a_data_set)]
SamplerName = Annotated[Text, AfterValidator(_a_sampler)]
CostName = Annotated[Text, AfterValidator(_a_cost)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
CostNames = Annotated[Names, AfterValidator(_costs)]
SpaceTable = Annotated[dict[str, Any], AfterValidator(_a_space)]
