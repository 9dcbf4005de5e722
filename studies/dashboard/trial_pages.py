"""What the dashboard shows for a single trial: a readable note, the learning curve, the score table, its files.

Notes and artifacts of the dashboard lie in the study, not in the trial, so finished trials can have them. They are
written once: whoever edits a note keeps the edit. They are not written for every trial, because each of them makes the
study's own attributes longer, which every reader of the study pays for.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import mimetypes
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.artifacts import FileSystemArtifactStore
from optuna.study import Study
from optuna_dashboard._note import note_ver_key, save_note_with_version
from optuna_dashboard.artifact._backend import _dashboard_artifact_prefix
from slimfront.spaces import Candidate
from slimfront.studies.front import front
from slimfront.studies.pictures.plots import BLUE, GREY, GRID, INK, MUTED, ORANGE, percent
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.report import methods_used
from slimfront.studies.report.page import decimals, number
from slimfront.studies.report.worked import terms
from slimfront.studies.store.urls import storage_files

MOST_AT_ONCE = 30  # trials a call, so that a search never waits long
LARGEST_FILE = 64 * 2**20  # bytes of a file that is copied into the store


def update_pages(study: Study, trials: Sequence[TrialRecord], bar: float, folder: Path, *, latest: int = 0) -> int:
    """Write the pages of the front's trials, and of the `latest` finished ones, that have none yet.

    Args:
        study: That the pages are written to.
        trials: All of its trials.
        bar: Its bar.
        folder: Of the artifacts; made where it is missing. The dashboard must be given the same one.
        latest: How many of the latest finished trials get a page, besides the front.

    Returns:
        How many pages were written.
    """
    finished = [trial for trial in trials if trial.state.is_over]
    wanted = {trial.number: trial for trial in [*front(trials, bar), *(finished[-latest:] if latest else ())]}
    stored = study._storage.get_study_system_attrs(study._study_id)
    written = 0
    for trial in wanted.values():
        trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, trial.number)
        if note_ver_key(trial_id) in stored or trial.candidate is None or written >= MOST_AT_ONCE:
            continue
        for name, content in files_of(trial, bar):
            attach(study, trial_id, folder, name, content)
        save_note_with_version(study._storage, study._study_id, trial_id, 1, note(trial, trial.candidate, bar))
        written += 1
    return written


def artifacts_folder(url: str) -> Path:
    """Where the files of a storage's trials lie: beside an SQLite file (`a.db`: `a.artifacts`), else runs/artifacts."""
    path = next(iter(storage_files(url).values()), None)
    if path is None:
        return Path("runs") / "artifacts"
    return (path.resolve() if path.is_symlink() else path).with_suffix(".artifacts")


def attach(study: Study, trial_id: int, folder: Path, name: str, content: bytes) -> None:
    """Put a file beside a trial, finished or not, where the dashboard offers it for download."""
    folder.mkdir(parents=True, exist_ok=True)
    identifier = str(uuid.uuid4())
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    meta = {"artifact_id": identifier, "filename": name, "mimetype": kind, "encoding": None}
    FileSystemArtifactStore(folder).write(identifier, io.BytesIO(content))  # first: what is listed can be had
    key = _dashboard_artifact_prefix(trial_id) + identifier
    study._storage.set_study_system_attr(study._study_id, key, json.dumps(meta))


def files_of(trial: TrialRecord, bar: float) -> Iterable[tuple[str, bytes]]:
    """Name and content of each file of a trial: curve, score table, candidate, and what its job left."""
    picture = curve_picture(trial, bar)
    if picture is not None:
        yield "learning-curve.png", picture
    if trial.layers:
        yield "score.csv", score_csv(trial.layers)
    yield "candidate.json", (json.dumps(trial.candidate_dict, indent=2) + "\n").encode()
    for name in trial.artifacts:
        path = Path(name)
        if path.is_file() and path.stat().st_size <= LARGEST_FILE:
            yield path.name, path.read_bytes()


def note(trial: TrialRecord, candidate: Candidate, bar: float) -> str:
    """The summary of a trial with this candidate in Markdown."""
    lines = [f"### Trial {trial.number}: {_outcome(trial, bar)}", ""]
    rows = [
        ("network", methods_used.shape(candidate)),
        ("training", methods_used.training(candidate)),
        ("augmentation", methods_used.augmentation(candidate)),
        ("pruning", methods_used.pruning(candidate)),
        ("bits", methods_used.bits(candidate)),
        ("time", f"{trial.seconds or 0:,.0f} s on {trial.device or 'an unknown device'}"),
        ("candidate", f"`{trial.digest}`"),
    ]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    totals = trial.totals
    if totals.get("score") is not None:
        parts = [totals.get(key) for key in ("score", "score_params", "score_ops", "strict_score")]
        places = decimals(parts)
        shown = [number(part, places) for part in parts]
        lines += [f"**Score {shown[0]}** = params term {shown[1]} + ops term {shown[2]}; strict score {shown[3]}.", ""]
        lines += _account(trial.account)
        lines += _layer_table(trial.layers)
    lines += [
        "",
        "Below: the learning curve, the score layer by layer and the candidate, for download. To retrain it:",
        "",
    ]
    lines += [f"    python run_search.py retrain --trial {trial.number}", ""]
    return "\n".join(lines)


def _account(account: Mapping[str, Any] | None) -> list[str]:
    """What pruning was asked for and what it removed, measured and by the closed formula."""
    if account is None:
        return []
    try:
        asked, gone = account["nominal_p_s"], account["p_s"]
        asked_weights, gone_weights = account["nominal_p_u"], account["p_u"]
        measured, nominal = account["score"], account["nominal_formula"]
    except KeyError:
        return []
    return [
        f"Pruned, before its bits were lowered: filters {asked:.1%} asked, {gone:.1%} of all weights gone with them; "
        f"single weights {asked_weights:.1%} asked, {gone_weights:.1%} masked. Measured score {measured:.4g}; "
        f"the closed formula with the ratios that were asked for says {nominal:.4g}.",
        "",
    ]


def _outcome(trial: TrialRecord, bar: float) -> str:
    if trial.state is State.COMPLETE and trial.accuracy is not None:
        place = "at or above" if trial.accuracy >= bar else "below"
        return f"{percent(trial.accuracy)} on the validation images, {place} the bar of {percent(bar)}"
    return f"{trial.state}: {trial.why}"


def _layer_table(layers: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = ["| layer | weights | multiply-adds | bits w, a |", "|---|--:|--:|--:|"]
    for layer in layers:
        bits = f"{layer.get('weight_bits', '')}, {layer.get('activation_bits', '')}"
        rows.append(f"| {layer['name']} | {layer['weights']:,} | {layer['macs']:,} | {bits} |")
    return rows


def score_csv(layers: Iterable[Mapping[str, Any]]) -> bytes:
    """The score layer by layer, with both terms."""
    table = list(layers)
    columns = list(dict.fromkeys(name for layer in table for name in layer))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*columns, "params_term", "ops_term"])
    for layer in table:
        known = layer.get("weight_bits") is not None and layer.get("activation_bits") is not None
        writer.writerow([*(layer.get(name) for name in columns), *(terms(layer) if known else ("", ""))])
    return buffer.getvalue().encode()


def curve_picture(trial: TrialRecord, bar: float) -> bytes | None:
    """The learning curve as PNG, some ten kilobytes; None without one."""
    points = [(epoch, 100 * accuracy) for epoch, accuracy in trial.measured]
    if not points:
        return None
    figure = Figure(figsize=(6, 3.4), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.115, 0.16, 0.86, 0.72))
    axes.plot(*zip(*points, strict=True), color=BLUE, linewidth=1.8, marker="o" if len(points) < 3 else "")
    axes.axhline(100 * bar, color=ORANGE, linewidth=1.1)
    axes.annotate(f"bar: {percent(bar)}", (1, 100 * bar), (2, 3), textcoords="offset points", color=ORANGE, fontsize=8)
    for index, (before, after) in enumerate(itertools.pairwise(trial.curve), start=1):
        if before.phase != after.phase:
            axes.axvline(index + 0.5, color=GREY, linewidth=0.8, linestyle=":")
            place = (index + 0.5, axes.get_ylim()[0])
            axes.annotate(after.phase, place, (3, 3), textcoords="offset points", color=MUTED, fontsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    axes.set_xlabel("epochs, over all phases (number)", fontsize=9, color=INK)
    axes.set_ylabel("accuracy on validation images (%)", fontsize=9, color=INK)
    axes.set_title(f"Trial {trial.number}", loc="left", fontsize=11, fontweight="bold", color=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
