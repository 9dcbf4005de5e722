"""What slimfront uses of optuna-dashboard's inside: all of it, each for want of a public way.

optuna-dashboard's public functions write notes and files to trials that run; ours have ended.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna_dashboard import _app
from optuna_dashboard._note import note_ver_key, save_note_with_version
from optuna_dashboard.artifact._backend import _dashboard_artifact_prefix

FrontOf = Callable[..., list[FrozenTrial]]


def has_note(attributes: dict[str, Any], trial_id: int) -> bool:
    """Whether a trial has a note already; `attributes` are the study's system attributes."""
    return note_ver_key(trial_id) in attributes  # `get_note` needs a running trial, and reads the study for each


def write_note(storage: BaseStorage, study_id: int, trial_id: int, text: str) -> None:
    """Give a trial its first note."""
    save_note_with_version(storage, study_id, trial_id, 1, text)  # `save_note` needs a running trial


def list_file(storage: BaseStorage, study_id: int, trial_id: int, name: str, identifier: str) -> None:
    """Show a file of the artifact store beside a trial."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    meta = {"artifact_id": identifier, "filename": name, "mimetype": kind, "encoding": None}
    key = _dashboard_artifact_prefix(trial_id) + identifier  # `optuna.artifacts.upload_artifact` needs a running trial
    storage.set_study_system_attr(study_id, key, json.dumps(meta))


def order_panels(first: Sequence[str]) -> None:
    """Let the dashboard show these panels first, in this order: its own order is another one at every start."""
    original: Callable[..., dict[str, str]] | None = getattr(_app, "get_plotly_graph_objects", None)  # as below
    if original is None or getattr(original, "is_ordered", False):
        return

    def ordered(system_attrs: dict[str, Any]) -> dict[str, str]:
        found = original(system_attrs)
        names = [*(name for name in first if name in found), *sorted(set(found).difference(first))]
        return {name: found[name] for name in names}

    ordered.is_ordered = True  # type: ignore[attr-defined]
    _app.get_plotly_graph_objects = ordered


def repair_best_trials() -> None:
    """Let the dashboard's "Best Trials" see constraints; where a later version has no such function, do nothing."""
    original: FrontOf | None = getattr(_app, "get_pareto_front_trials", None)  # there is no option for it
    if original is None or getattr(original, "sees_constraints", False):
        return

    def feasible_front(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
        feasible = [trial for trial in trials if all(value <= 0 for value in trial.constraints.values())]
        return original(trials=feasible, directions=directions)

    feasible_front.sees_constraints = True  # type: ignore[attr-defined]
    _app.get_pareto_front_trials = feasible_front
