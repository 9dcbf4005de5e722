"""Finished trials for tests, without a search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import optuna
from slimfront.spaces import presets
from slimfront.studies.details import CurvePoint, Details
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.records import to_frozen

BAR = 0.9
CANDIDATE = presets["resnet20"]
CURVE = tuple(CurvePoint("dense", epoch, 3, 1.0 / epoch, 0.3 * epoch, 0.5) for epoch in (1, 2, 3))
LAYERS: tuple[dict[str, Any], ...] = (
    {"name": "stem.conv", "kind": "conv", "weights": 432, "macs": 442_368, "weight_bits": 8},
    {"name": "classifier", "kind": "linear", "weights": 640, "macs": 640, "weight_bits": 8},
)


def made_trial(
    number: int,
    accuracy: float | None,
    score: float,
    state: State = State.COMPLETE,
    *,
    foreign: bool = False,
    **other: Any,
) -> TrialRecord:
    """A trial as a search would leave it; one of another program has values only, and those where it is complete."""
    if foreign:
        known = state is State.COMPLETE
        return TrialRecord(number, state, accuracy=accuracy if known else None, score=score if known else None)
    totals = {
        "parameters": 269_722,
        "weights": 268_346,
        "macs": 40_551_040,
        "score": score,
        "score_params": 0.25 * score,
        "score_ops": 0.75 * score,
        "strict_score": 1.02 * score,
    }
    details = Details(
        curve=other.pop("curve", CURVE),
        layers=other.pop("layers", LAYERS),
        environment=other.pop("environment", {}),
    )
    fields: dict[str, Any] = {"state": state, "accuracy": accuracy, "score": score, "totals": totals}
    fields |= {"seed": 7, "dataset": "digits", "data_digest": "abc", "seconds": 1.5, "load": lambda: details}
    return TrialRecord.begin(number, CANDIDATE, **(fields | other))


def add_trials(study: optuna.Study, trials: Iterable[TrialRecord], bar: float = BAR) -> None:
    """Add them to a study, which numbers them anew."""
    study.add_trials([to_frozen(trial, bar) for trial in trials])


def made_study(trials: Iterable[TrialRecord], storage: Any = None, name: str = "made") -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name=name, directions=["maximize", "minimize"])
    add_trials(study, trials)
    return study
