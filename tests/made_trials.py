"""Finished trials for tests, without a search."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from slimfront.spaces import presets
from slimfront.studies.record import Record
from slimfront.studies.store import constraint

BAR = 0.9
CANDIDATE = presets["resnet20"]


def made_record(accuracy: float | None = 0.91, score: float = 0.05, **other: Any) -> Record:
    table = {
        "parameters": 269_722,
        "weights": 268_346,
        "macs": 40_551_040,
        "score": score,
        "score_params": 0.25 * score,
        "score_ops": 0.75 * score,
        "strict_score": 1.02 * score,
        "layers": [
            {"name": "stem.conv", "kind": "conv", "weights": 432, "macs": 442_368, "weight_bits": 8},
            {"name": "classifier", "kind": "linear", "weights": 640, "macs": 640, "weight_bits": 8},
        ],
    }
    curve = tuple(
        {"stage": "dense", "epoch": epoch, "epochs": 3, "loss": 1.0 / epoch, "accuracy": 0.3 * epoch, "seconds": 0.5}
        for epoch in (1, 2, 3)
    )
    fields: dict[str, Any] = {"seed": 7, "dataset": "digits", "data_digest": "abc", "curve": curve, "seconds": 1.5}
    return Record(CANDIDATE, accuracy=accuracy, score=table, **(fields | other))


def made_trial(
    number: int,
    accuracy: float,
    score: float,
    state: TrialState = TrialState.COMPLETE,
    *,
    bar: float = BAR,
    foreign: bool = False,
    **other: Any,
) -> FrozenTrial:
    """A trial as a search would leave it; a foreign one has values only. A stopped one's accuracy is its bound, too."""
    attributes = {} if foreign else made_record(accuracy, score, **other).to_attributes()
    limits = {} if foreign or state == TrialState.FAIL else constraint.system_attributes(accuracy, bar)
    trial = optuna.trial.create_trial(
        state=state,
        values=[accuracy, score] if state == TrialState.COMPLETE else None,
        user_attrs=attributes,
        system_attrs=limits,
    )
    trial.number = number
    return trial


def made_study(trials: list[FrozenTrial], storage: Any = None, name: str = "made") -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name=name, directions=["maximize", "minimize"])
    study.add_trials(trials)
    return study
