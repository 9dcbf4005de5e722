"""The heavy part of a trial's record: learning curve, layer table, environment; loaded only where somebody looks at it.

A table is kept by column, {"epoch": [1, 2], "loss": [2.3, 1.9]}, which takes a third of the room of a list of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slimfront.studies.foreign import values
from slimfront.studies.foreign.values import Row


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
        curve = values.table(attributes.get("curve"), _CURVE)
        run = values.labels(attributes.get("run"))
        return cls(
            curve=tuple(_point(place, row) for place, row in enumerate(curve, start=1)),
            layers=values.table(attributes.get("layers"), _LAYERS),
            environment={key: str(value) for key, value in run.items() if key not in ("device", "threads")},
        )

    def to_attributes(self) -> dict[str, Any]:
        """The inverse of `of`."""
        curve = values.to_columns(
            {"stage": p.phase, "epoch": p.epoch, "epochs": p.epochs}
            | {"loss": p.loss, "accuracy": p.accuracy, "seconds": p.seconds}
            for p in self.curve
        )
        known = {name: column for name, column in curve.items() if any(value is not None for value in column)}
        return {"curve": known, "layers": values.to_columns(self.layers), "run": dict(self.environment)}


def _point(place: int, row: Row) -> CurvePoint:
    epoch = row.get("epoch")
    return CurvePoint(
        phase=row.get("stage") or "",
        epoch=place if epoch is None else epoch,
        epochs=row.get("epochs"),
        loss=row.get("loss"),
        accuracy=row.get("accuracy"),
        seconds=row.get("seconds"),
    )


_CURVE: Mapping[str, values.Reader] = {
    "stage": values.text,
    "epoch": values.whole,
    "epochs": values.whole,
    "loss": values.number,
    "accuracy": values.share,
    "seconds": values.amount,
}
_LAYERS: Mapping[str, values.Reader] = {
    **dict.fromkeys(("name", "kind"), values.text),
    **dict.fromkeys(("weights", "macs", "stored_weights", "strict_bits"), values.whole),
    **dict.fromkeys(("weight_bits", "activation_bits"), values.bits),
}
"""By column of a table, how its cells are read; other columns hold labels."""
