"""The front: which trials are on it, how much it is worth, and its summary. Pure functions.

A trial is on the front if it is complete, its accuracy is at or above the bar, and no other such trial is at least as
accurate and at least as cheap. Low-fidelity results (stopped trials) never stand on it, nor do numbers that are not
finite.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from studies.constraint import is_feasible
from studies.errors import StudyError
from studies.record import accuracy_and_score
from studies.storage import study_url

REFERENCE_SCORE = 1.99  # ResNet-18 in half precision
NEAREST = 3  # trials that are shown where nothing clears the bar

Point = tuple[float, float]  # (accuracy, score)

# First columns of a table of trials; the candidate's fields follow.
COLUMNS = (
    *("trial", "state", "front", "feasible", "accuracy", "score", "score_params", "score_ops", "strict_score"),
    *("parameters", "weights", "macs", "epochs", "seconds", "reason", "bound", "copied_from", "seed", "data", "digest"),
)


def non_dominated(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one beats, by ascending score; of equal points the first.

    Args:
        points: (accuracy, score) each: more accuracy is better, less score is better. Not NaN.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0], i))
    kept: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][0] > best:
            best = points[index][0]
            kept.append(index)
    return kept


def front(trials: Iterable[FrozenTrial], bar: float) -> list[FrozenTrial]:
    """The feasible, complete, non-dominated trials by ascending score, which is also ascending accuracy.

    Args:
        trials: Trials whose values are (accuracy, score); in any order and any state.
        bar: Least accuracy, a share in [0, 1]; exactly the bar counts.
    """
    eligible = sorted((t for t in trials if is_feasible(t, bar) and _has_score(t)), key=lambda t: t.number)
    points = [(trial.values[0], trial.values[1]) for trial in eligible]
    return [eligible[index] for index in non_dominated(points)]


def _has_score(trial: FrozenTrial) -> bool:
    return len(trial.values) == 2 and math.isfinite(trial.values[1]) and trial.values[1] > 0


def area(points: Iterable[Point], bar: float, reference: float = REFERENCE_SCORE) -> float:
    """Hypervolume of points: accuracy in percentage points above `bar` times decades of score below `reference`.

    A front of one network at 91 % with a hundredth of the reference's score is worth 1 * 2 = 2. Points below the bar
    or beyond the reference add nothing, dominated points neither.

    Args:
        points: (accuracy, score) each, score positive.
        bar: Least accuracy, a share in [0, 1].
        reference: The score at which an area ends.
    """
    inside = [point for point in points if point[0] >= bar and 0 < point[1] < reference]
    kept = [inside[index] for index in non_dominated(inside)]
    ends = [*(score for _, score in kept[1:]), reference][: len(kept)]  # no end without a network
    strips = (
        100 * (accuracy - bar) * (math.log10(end) - math.log10(score))
        for (accuracy, score), end in zip(kept, ends, strict=True)
    )
    return math.fsum(strips)


def hypervolume(trials: Iterable[FrozenTrial], bar: float, reference: float = REFERENCE_SCORE) -> float:
    """Hypervolume of the trials' front: `area` of its points. 0 for an empty one."""
    return area([(trial.values[0], trial.values[1]) for trial in front(trials, bar)], bar, reference)


def nearest(trials: Iterable[FrozenTrial], count: int = NEAREST) -> list[FrozenTrial]:
    """The most accurate complete trials, feasible or not; of equally accurate ones the cheapest first."""
    usable = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and _has_score(trial) and math.isfinite(trial.values[0])
    ]
    return sorted(usable, key=lambda t: (-t.values[0], t.values[1], t.number))[:count]


def row(trial: FrozenTrial) -> dict[str, Any]:
    """One network in a summary: where it stands, what its score is made of, and how to find it again."""
    accuracy, score = accuracy_and_score(trial)
    stored = trial.user_attrs.get("score")
    table: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    return {
        "trial": trial.number,
        "digest": trial.user_attrs.get("digest"),
        "accuracy": accuracy,
        "score": score,
        "score_params": table.get("score_params"),
        "score_ops": table.get("score_ops"),
        "strict_score": table.get("strict_score"),
    }


def counts(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """Trials by state, under the names of the command line."""
    names = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
    }
    found = dict.fromkeys(names.values(), 0)
    for trial in trials:
        found[names[trial.state]] += 1
    return found


def summary(study: Study, bar: float) -> dict[str, Any]:
    """What `search` and `front` print as JSON: the front, its hypervolume, and the trials by state.

    Where the front is empty, `nearest` holds the most accurate complete trials, in the same form. `early_stopping`
    says how many trials were stopped and how many stops were false, `edges` where the front lies on the space's bounds.
    """
    from studies.edges import edges
    from studies.false_stops import false_stops

    trials = study.get_trials(deepcopy=False)
    found = front(trials, bar)
    return {
        "study": study.study_name,
        "storage": study_url(study),
        "bar": bar,
        "trials": counts(trials),
        "hypervolume": hypervolume(found, bar),
        "front": [row(trial) for trial in found],
        "nearest": [] if found else [row(trial) for trial in nearest(trials)],
        "early_stopping": false_stops(trials, bar).to_dict(),
        "edges": [edge.to_dict() for edge in edges(found)],
    }


def table(trials: Sequence[FrozenTrial], bar: float) -> list[dict[str, Any]]:
    """One flat row a trial: state, feasibility, place on the front, measurements, and every field of the candidate."""
    on_front = {trial.number for trial in front(trials, bar)}
    rows = []
    for trial in sorted(trials, key=lambda t: t.number):
        attributes = trial.user_attrs
        measured = row(trial)
        stored = attributes.get("score")
        totals = stored if isinstance(stored, Mapping) else {}
        data = attributes.get("data")
        curve = attributes.get("curve")
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "front": trial.number in on_front,
                "feasible": is_feasible(trial, bar),
                **{key: value for key, value in measured.items() if key not in ("trial", "digest")},
                **{name: totals.get(name) for name in ("parameters", "weights", "macs")},
                "epochs": sum(bool(epoch) for epoch in curve.get("epoch", ())) if isinstance(curve, Mapping) else None,
                "seconds": attributes.get("seconds"),
                "reason": attributes.get("reason"),
                "bound": attributes.get("bound"),
                "copied_from": attributes.get("copied_from"),
                "seed": attributes.get("seed"),
                "data": data.get("name") if isinstance(data, Mapping) else None,
                "digest": measured["digest"],
                **_flat(attributes.get("candidate")),
            }
        )
    return rows


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": [1, 2]}} becomes {"a.b": "1-2"}: a cell each, lists of a few numbers readable."""
    if not isinstance(value, Mapping):
        return {}
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


def to_csv(trials: Sequence[FrozenTrial], path: str | Path, bar: float) -> Path:
    """Write `table` as CSV; folders that are missing are made. What a trial does not know is an empty cell.

    Raises:
        StudyError: The file cannot be written.
    """
    target = Path(path)
    rows = table(trials, bar)
    columns = list(dict.fromkeys([*COLUMNS, *(name for entry in rows for name in entry)]))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise StudyError(f"The table cannot be written to {target}: {error.strerror or error}.") from None
    return target
