"""Studies with thousands of finished trials, made in seconds: rows go straight into Optuna's tables.

Each trial has what a search leaves behind: parameters of the space, candidate, score table, learning curve, versions.
Candidates are drawn at random; their score tables are those of a few real networks, and their accuracies made up, so
that a study of this kind has the size and the shape of a real one, but not its meaning.
"""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.samplers import RandomSampler
from optuna.storages._rdb import models
from optuna.trial import Trial, TrialState
from slimfront.evaluators.scoring.expected import expected_score
from slimfront.spaces import Candidate
from slimfront.studies.details import CurvePoint, Details
from slimfront.studies.environment import environment
from slimfront.studies.record import TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store.constraint import system_attributes
from slimfront.studies.store.details import TABLE, split

TEMPLATES = 60  # networks whose score tables all trials share
BATCH = 500  # trials a transaction
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
SHARES = (0.55, 0.42, 0.03)  # of these states

Sampled = tuple[Candidate, Trial]


def fill(study: optuna.Study, settings: Settings, count: int, data_digest: str, seed: int = 0) -> None:
    """Add so many finished trials to a study on SQLite or PostgreSQL. Nobody else may write to it meanwhile."""
    drawn = random.Random(seed)
    sampled = sample(settings, TEMPLATES, seed)
    tables = [expected_score(candidate, (3, 32, 32), 10).to_dict() for candidate, _ in sampled]
    storage: Any = study._storage
    engine = getattr(storage, "_backend", storage).engine
    first = len(study.get_trials(deepcopy=False))
    numbers = range(first, first + count)
    with engine.begin() as connection:
        last_id = connection.execute(sqlalchemy.select(sqlalchemy.func.max(models.TrialModel.trial_id))).scalar() or 0
    for begin in range(0, count, BATCH):
        some = numbers[begin : begin + BATCH]
        fresh = sample(settings, len(some), seed + some[0] + 1)
        rows: dict[Any, list[dict[str, Any]]] = {}
        for number, (candidate, trial) in zip(some, fresh, strict=True):
            trial_id = last_id + number - first + 1
            table = drawn.choice(tables)
            for model, row in _rows(study._study_id, trial_id, number, candidate, trial, table, settings, data_digest):
                rows.setdefault(model, []).append(row)
        with engine.begin() as connection:
            for model, entries in rows.items():
                connection.execute(sqlalchemy.insert(model), entries)
    if engine.name == "postgresql":  # rows with an id of their own do not move the sequence
        with engine.begin() as connection:
            text = "SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), (SELECT max(trial_id) FROM trials))"
            connection.execute(sqlalchemy.text(text))


def sample(settings: Settings, count: int, seed: int) -> Sequence[Sampled]:
    """Random candidates of the settings' space, with the trials that chose them."""
    space = settings.make_space()
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=RandomSampler(seed))
    found = []
    for _ in range(count):
        trial = study.ask()
        found.append((space.sample(trial), trial))
    return found


def _rows(
    study_id: int,
    trial_id: int,
    number: int,
    candidate: Candidate,
    trial: Trial,
    table: dict[str, Any],
    settings: Settings,
    data_digest: str,
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The rows of one trial, with the table that each belongs to."""
    drawn = random.Random(number)
    (state,) = drawn.choices(STATES, SHARES)
    score = table["score"] * drawn.uniform(0.8, 1.25)
    accuracy = round(min(0.97, 0.93 + 0.02 * (score * 100) ** 0.3 - 0.06 * drawn.random()) - 0.02, 4)
    epochs = candidate.recipe.epochs if state == TrialState.COMPLETE else drawn.randint(1, candidate.recipe.epochs)
    begun = datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=number)
    details = Details(
        curve=tuple(_curve(accuracy, epochs, candidate.recipe.epochs, drawn)),
        layers=tuple(table["layers"]),
        environment=environment(),
    )
    record = TrialRecord.begin(
        number,
        candidate,
        seed=settings.seed,
        dataset=settings.dataset,
        data_digest=data_digest,
        accuracy=accuracy,
        score=score,
        totals={key: value for key, value in table.items() if key != "layers"} | {"score": score},
        phases=({"stage": "dense", "accuracy": accuracy},),
        seconds=60.0,
        device="cpu",
        threads=1,
        reason={TrialState.PRUNED: "dominated", TrialState.FAIL: "loss_not_finite"}.get(state),
        bound=accuracy if state == TrialState.PRUNED else None,
        owner="filled:1:0",
        starts=1,
        load=lambda: details,
    )
    yield (
        models.TrialModel,
        {
            "trial_id": trial_id,
            "number": number,
            "study_id": study_id,
            "state": state,
            "_datetime_start_utc": begun,
            "_datetime_complete_utc": begun + datetime.timedelta(minutes=1),
        },
    )
    distributions = trial._cached_frozen_trial.distributions  # Trial.distributions copies them all at every look
    for name, value in trial.params.items():
        distribution = distributions[name]
        yield (
            models.TrialParamModel,
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": distribution.to_internal_repr(value),
                "distribution_json": distribution_to_json(distribution),
            },
        )
    light, heavy = split(record.to_attributes())
    yield TABLE, {"study_id": study_id, "number": number, "json": json.dumps(heavy)}
    for model, attributes in (
        (models.TrialUserAttributeModel, light),
        (
            models.TrialSystemAttributeModel,
            {} if state == TrialState.FAIL else system_attributes(accuracy, settings.bar),
        ),
    ):
        for key, value in attributes.items():
            yield model, {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
    if state == TrialState.COMPLETE:
        for objective, value in enumerate((accuracy, score)):
            yield (
                models.TrialValueModel,
                {
                    "trial_id": trial_id,
                    "objective": objective,
                    "value": value,
                    "value_type": models.TrialValueModel.TrialValueType.FINITE,
                },
            )


def _curve(accuracy: float, epochs: int, planned: int, drawn: random.Random) -> Iterator[CurvePoint]:
    for epoch in range(1, epochs + 1):
        share = (epoch / epochs) ** 0.3
        value = accuracy if epoch == epochs else accuracy * share * drawn.uniform(0.97, 1.0)
        yield CurvePoint("dense", epoch, planned, round(2.3 * (1 - share) + 0.2, 5), round(value, 4), seconds=1.5)
