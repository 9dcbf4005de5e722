"""A study in numbers: the summary that `search` and `front` print as JSON, and a table of all trials."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimfront.evaluators import outputs
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.analysis.bounds import edges
from slimfront.studies.analysis.false_stops import false_stops
from slimfront.studies.analysis.spending import epochs_of
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign.text import csv_cell
from slimfront.studies.front import counts, front, hypervolume, nearest, row
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.report.methods_used import describe
from slimfront.studies.store.constraint import is_feasible
from slimfront.studies.store.records import StudyRecord

_STATES = {State.STOPPED: "pruned", State.FAILED: "fail"}  # in the table, whose words have to stay
# First columns of a table of trials; the candidate's fields follow.
COLUMNS = (
    *("trial", "state", "front", "feasible", "accuracy", "score", "score_params", "score_ops", "strict_score"),
    *("parameters", "weights", "macs", "epochs", "seconds", "reason", "bound", "copied_from", "seed", "data", "digest"),
)


def summary(study: StudyRecord, bar: float) -> dict[str, Any]:
    """What `search` and `front` print as JSON: the front, its hypervolume, and the trials by state.

    `objective` has the words of the cost where the study keeps another one than the score low. Where the front is
    empty, `nearest` holds the most accurate complete trials, in the same form. `early_stopping` says how many trials
    were stopped and how many stops were false, `edges` where the front lies on the space's bounds.
    """
    trials, corner = study.trials, study.cost.corner
    found = front(trials, bar)
    return {
        "study": study.name,
        "storage": study.storage,
        "bar": bar,
        **({} if study.cost == SCORE_AXIS else {"objective": dataclasses.asdict(study.cost)}),
        "trials": counts(trials),
        "hypervolume": hypervolume(found, bar, corner),
        "front": [_network(trial) for trial in found],
        "nearest": [] if found else [_network(trial) for trial in nearest(trials)],
        "early_stopping": false_stops(trials, bar, corner).to_dict(),
        "edges": [edge.to_dict() for edge in edges(found)],
    }


def _network(trial: TrialRecord) -> dict[str, Any]:
    """A network that is chosen from: also in words, and all that was decided about it."""
    words = None if trial.candidate is None else describe(trial.candidate)
    return {**row(trial), "network": words, "candidate": None if trial.candidate is None else trial.candidate.to_dict()}


def table(trials: Sequence[TrialRecord], bar: float) -> list[dict[str, Any]]:
    """One flat row a trial: state, feasibility, place on the front, measurements, and every field of the candidate."""
    on_front = {trial.number for trial in front(trials, bar)}
    rows = []
    for trial in sorted(trials, key=lambda t: t.number):
        measured = row(trial)
        rows.append(
            {
                "trial": trial.number,
                "state": _STATES.get(trial.state, trial.state.value),
                "front": trial.number in on_front,
                "feasible": is_feasible(trial, bar),
                **_flat({key: value for key, value in measured.items() if key not in ("trial", "digest")}),
                **{name: trial.totals.get(name) for name in ("parameters", "weights", "macs")},
                "epochs": epochs_of(trial) if trial.curve else None,
                "seconds": trial.seconds,
                "reason": trial.reason,
                "bound": trial.bound,
                "copied_from": trial.copied_from,
                "seed": trial.seed,
                "data": trial.dataset or None,
                "digest": measured["digest"],
                **_flat({} if trial.candidate is None else trial.candidate.to_dict()),
            }
        )
    return rows


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": [1, 2]}} becomes {"a.b": "1-2"}: a cell each, lists of a few numbers readable."""
    cells: dict[str, Any] = {}
    for key, entry in value.items():
        name = f"{prefix}{key}"
        if isinstance(entry, Mapping):
            cells |= _flat(entry, f"{name}.")
        elif isinstance(entry, list):
            cells[name] = "-".join(":".join(map(str, e)) if isinstance(e, list) else str(e) for e in entry)
        else:
            cells[name] = entry
    return cells


def to_csv(trials: Sequence[TrialRecord], path: str | Path, bar: float) -> Path:
    """Write `table` as CSV; folders that are missing are made. What a trial does not know is an empty cell.

    Raises:
        StudyError: The file cannot be written.
    """
    target = Path(path)
    rows = table(trials, bar)
    columns = list(dict.fromkeys([*COLUMNS, *(name for entry in rows for name in entry)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in entry.items()} for entry in rows)
    try:
        outputs.write(target, text.getvalue())
    except OSError as error:
        raise StudyError(f"The table cannot be written to {target}: {error.strerror or error}.") from None
    return target
