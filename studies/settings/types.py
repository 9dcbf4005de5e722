"""What the tables of a study file are made of: their common rules, and the types of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from slimfront.studies.foreign.values import LARGEST_COUNT, LARGEST_NUMBER

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]


class Table(BaseModel):
    """What the tables of a study file have in common: no other keys, and no value of another type than is written."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
