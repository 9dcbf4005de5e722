"""What the dashboard shows for a single trial: a readable note, the learning curve, the score table, its files.

Notes and artifacts of the dashboard lie in the study, not in the trial, so finished trials can have them. They are
written once: whoever edits a note keeps the edit. They are not written for every trial, because each of them makes the
study's own attributes longer, which every reader of the study pays for.
"""

from __future__ import annotations

import csv
import io
import json
import mimetypes
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.artifacts import FileSystemArtifactStore
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._note import note_ver_key, save_note_with_version
from optuna_dashboard.artifact._backend import _dashboard_artifact_prefix

from studies import methods_used
from studies.front import front
from studies.page import decimals, number
from studies.plots import BLUE, GREY, GRID, INK, MUTED, ORANGE, percent
from studies.record import REASONS, Record, accuracy_and_score, read
from studies.spending import curve_of
from studies.urls import storage_files
from studies.worked import terms

MOST_AT_ONCE = 30  # trials a call, so that a search never waits long
LARGEST_FILE = 64 * 2**20  # bytes of a file that is copied into the store


def update_pages(study: Study, bar: float, folder: Path, *, latest: int = 0) -> int:
    """Write the pages of the front's trials, and of the `latest` finished ones, that have none yet.

    Args:
        study: The study.
        bar: Its bar.
        folder: Of the artifacts; made where it is missing. The dashboard must be given the same one.
        latest: How many of the latest finished trials get a page, besides the front.

    Returns:
        How many pages were written.
    """
    trials = study.get_trials(deepcopy=False)
    finished = [t for t in trials if t.state.is_finished()]
    wanted = {trial.number: trial for trial in [*front(trials, bar), *(finished[-latest:] if latest else ())]}
    stored = study._storage.get_study_system_attrs(study._study_id)
    written = 0
    for trial in wanted.values():
        record = read(trial)
        if note_ver_key(trial._trial_id) in stored or record is None or written >= MOST_AT_ONCE:
            continue
        for name, content in files_of(trial, record, bar):
            attach(study, trial, folder, name, content)
        save_note_with_version(study._storage, study._study_id, trial._trial_id, 1, note(trial, record, bar))
        written += 1
    return written


def artifacts_folder(url: str) -> Path:
    """Where the files of a storage's trials lie: beside an SQLite file (`a.db`: `a.artifacts`), else runs/artifacts."""
    path = next(iter(storage_files(url).values()), None)
    if path is None:
        return Path("runs") / "artifacts"
    return (path.resolve() if path.is_symlink() else path).with_suffix(".artifacts")


def attach(study: Study, trial: FrozenTrial, folder: Path, name: str, content: bytes) -> None:
    """Put a file beside a trial, finished or not, where the dashboard offers it for download."""
    folder.mkdir(parents=True, exist_ok=True)
    identifier = str(uuid.uuid4())
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    meta = {"artifact_id": identifier, "filename": name, "mimetype": kind, "encoding": None}
    FileSystemArtifactStore(folder).write(identifier, io.BytesIO(content))  # first: what is listed can be had
    key = _dashboard_artifact_prefix(trial._trial_id) + identifier
    study._storage.set_study_system_attr(study._study_id, key, json.dumps(meta))


def files_of(trial: FrozenTrial, record: Record, bar: float) -> Iterable[tuple[str, bytes]]:
    """Name and content of each file of a trial: curve, score table, candidate, and what its job left."""
    picture = curve_picture(trial, bar)
    if picture is not None:
        yield "learning-curve.png", picture
    layers = record.score.get("layers")
    if layers:
        yield "score.csv", score_csv(layers)
    yield "candidate.json", (json.dumps(record.candidate.to_dict(), indent=2) + "\n").encode()
    for name in record.artifacts:
        path = Path(name)
        if path.is_file() and path.stat().st_size <= LARGEST_FILE:
            yield path.name, path.read_bytes()


def note(trial: FrozenTrial, record: Record, bar: float) -> str:
    """The summary in Markdown."""
    candidate = record.candidate
    lines = [f"### Trial {trial.number}: {_outcome(trial, record, bar)}", ""]
    rows = [
        ("network", methods_used.shape(candidate)),
        ("training", methods_used.training(candidate)),
        ("augmentation", methods_used.augmentation(candidate)),
        ("pruning", methods_used.pruning(candidate)),
        ("bits", methods_used.bits(candidate)),
        ("time", f"{record.seconds:,.0f} s on {record.device or 'an unknown device'}"),
        ("candidate", f"`{record.digest}`"),
    ]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    totals = record.score
    if totals.get("score") is not None:
        parts = [totals.get(key) for key in ("score", "score_params", "score_ops", "strict_score")]
        places = decimals(parts)
        shown = [number(part, places) for part in parts]
        lines += [f"**Score {shown[0]}** = params term {shown[1]} + ops term {shown[2]}; strict score {shown[3]}.", ""]
        lines += _account(trial.user_attrs.get("account"))
        lines += _layer_table(totals.get("layers") or ())
    lines += [
        "",
        "Below: the learning curve, the score layer by layer and the candidate, for download. To retrain it:",
        "",
    ]
    lines += [f"    python run_search.py retrain --trial {trial.number}", ""]
    return "\n".join(lines)


def _account(account: Any) -> list[str]:
    """The books of pruning: what was asked for and what is gone, measured and by the closed formula."""
    if not isinstance(account, Mapping):
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


def _outcome(trial: FrozenTrial, record: Record, bar: float) -> str:
    accuracy, _ = accuracy_and_score(trial)
    if trial.state == TrialState.COMPLETE and accuracy is not None:
        place = "at or above" if accuracy >= bar else "below"
        return f"{percent(accuracy)} on the validation images, {place} the bar of {percent(bar)}"
    why = REASONS.get(record.reason or "", record.reason or "no reason noted")
    return f"{'stopped' if trial.state == TrialState.PRUNED else 'failed'}: {why}"


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


def curve_picture(trial: FrozenTrial, bar: float) -> bytes | None:
    """The learning curve as PNG, some ten kilobytes; None without one."""
    points = [(index, 100 * value) for index, value in enumerate(curve_of(trial), start=1) if value is not None]
    if not points:
        return None
    figure = Figure(figsize=(6, 3.4), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.115, 0.16, 0.86, 0.72))
    axes.plot(*zip(*points, strict=True), color=BLUE, linewidth=1.8, marker="o" if len(points) < 3 else "")
    axes.axhline(100 * bar, color=ORANGE, linewidth=1.1)
    axes.annotate(f"bar: {percent(bar)}", (1, 100 * bar), (2, 3), textcoords="offset points", color=ORANGE, fontsize=8)
    stages = trial.user_attrs.get("curve", {}).get("stage") or []
    for index in range(1, len(stages)):
        if stages[index] != stages[index - 1]:
            axes.axvline(index + 0.5, color=GREY, linewidth=0.8, linestyle=":")
            place = (index + 0.5, axes.get_ylim()[0])
            axes.annotate(stages[index], place, (3, 3), textcoords="offset points", color=MUTED, fontsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    axes.set_xlabel("epochs, over all stages (number)", fontsize=9, color=INK)
    axes.set_ylabel("accuracy on validation images (%)", fontsize=9, color=INK)
    axes.set_title(f"Trial {trial.number}", loc="left", fontsize=11, fontweight="bold", color=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
