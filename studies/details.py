"""The heavy part of a trial's record: learning curve, layer table, environment; loaded only where somebody looks at it.

A table is kept by column, {"epoch": [1, 2], "loss": [2.3, 1.9]}, which takes a third of the room of a list of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
Columns = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One epoch of a learning curve.

    Attributes:
        phase: Of the pipeline that it belongs to: "dense" (before any compression), "filters", "weights", "bits".
        epoch: From 1 on in each phase; 0 is what pruning or rounding left, before any fine-tuning.
        epochs: Length of the phase; None where it was not noted.
        loss: Mean training loss; None before training, and where it was not finite.
        accuracy: Share of the validation images; None where it was not measured.
        seconds: Of training and evaluation; None where they were not noted.
    """

    phase: str
    epoch: int
    epochs: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Details:
    """What a list of trials need not load.

    Attributes:
        curve: An entry an epoch, over all phases.
        layers: The score table, a row a layer, as `evaluators.scoring.score.Score.to_dict` gives them.
        environment: Versions, machine and commit, from `studies.environment.environment`.
    """

    curve: tuple[CurvePoint, ...] = ()
    layers: tuple[Row, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Details:
        """From a trial's attributes; what is absent there, or cannot be read, is empty here."""
        run = mapping(attributes.get("run"))
        return cls(
            curve=tuple(_point(place, row) for place, row in enumerate(to_rows(attributes.get("curve")), start=1)),
            layers=to_rows(attributes.get("layers")),
            environment={key: str(value) for key, value in run.items() if key not in ("device", "threads")},
        )

    def to_attributes(self) -> dict[str, Any]:
        """The inverse of `of`."""
        curve = to_columns(
            {"stage": p.phase, "epoch": p.epoch, "epochs": p.epochs}
            | {"loss": p.loss, "accuracy": p.accuracy, "seconds": p.seconds}
            for p in self.curve
        )
        known = {name: values for name, values in curve.items() if any(value is not None for value in values)}
        return {"curve": known, "layers": to_columns(self.layers), "run": dict(self.environment)}


def _point(place: int, row: Row) -> CurvePoint:
    epoch = row.get("epoch")
    return CurvePoint(
        phase=str(row.get("stage") or ""),
        epoch=epoch if isinstance(epoch, int) else place,
        epochs=row.get("epochs"),
        loss=row.get("loss"),
        accuracy=row.get("accuracy"),
        seconds=row.get("seconds"),
    )


def number(value: Any) -> float | None:
    """A finite number; None for everything else, NaN and infinities among it, which JSON does not know."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping; an empty one for everything else."""
    return value if isinstance(value, Mapping) else {}


def to_columns(rows: Iterable[Row]) -> Columns:
    """[{"a": 1, "b": 2}, {"a": 3}] becomes {"a": [1, 3], "b": [2, None]}; numbers that JSON does not know become None.

    >>> to_columns([{"a": 1, "b": 2}, {"a": 3}])
    {'a': [1, 3], 'b': [2, None]}
    """
    table = list(rows)
    names = list(dict.fromkeys(name for row in table for name in row))
    return {name: [finite(row.get(name)) for row in table] for name in names}


def to_rows(columns: Any) -> tuple[Row, ...]:
    """The inverse of `to_columns`; nothing where these are no columns of one length."""
    table = mapping(columns)
    lists: list[Sequence[Any]] = [values for values in table.values() if isinstance(values, list)]
    if len(lists) != len(table) or len({len(values) for values in lists}) > 1:
        return ()
    return tuple(dict(zip(table, row, strict=True)) for row in zip(*lists, strict=True))


def finite(value: Any) -> Any:
    """None for NaN and infinities; what is not a float as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
