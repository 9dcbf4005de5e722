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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from slimfront.evaluators.scoring.cost import in_figures
from slimfront.spaces import Candidate
from slimfront.studies.dashboard import inner
from slimfront.studies.dashboard.files import ArtifactFiles, new_identifier
from slimfront.studies.foreign.text import csv_cell, markdown
from slimfront.studies.front import front
from slimfront.studies.pictures.plots import BLUE, GREY, GRID, INK, MUTED, ORANGE, percent
from slimfront.studies.record import REASONS, State, TrialRecord, is_scored
from slimfront.studies.report import methods_used
from slimfront.studies.report.page import decimals, number
from slimfront.studies.report.worked import terms
from slimfront.studies.store.study import StudyStore

MOST_AT_ONCE = 30  # trials a call, so that a search never waits long
MOST_LAYERS = 1000  # in a note; all of them stand in the table beside it


def update_pages(store: StudyStore, bar: float, folder: Path, *, latest: int = 0) -> int:
    """Write the pages of the front's trials, and of the `latest` finished ones, that have none yet.

    Args:
        store: Of the study, as it was read last.
        bar: Its bar.
        folder: Of the artifacts; made where it is missing. The dashboard must be given the same one.
        latest: How many of the latest finished trials get a page, besides the front.

    Returns:
        How many pages were written.
    """
    finished = [trial for trial in store.trials if trial.state.is_over]
    wanted = {trial.number: trial for trial in [*front(store.trials, bar), *(finished[-latest:] if latest else ())]}
    stored = store.retries(store.storage.get_study_system_attrs, store.study_id)
    written = 0
    for trial in wanted.values():
        trial_id = store.trial_id(trial.number)
        if inner.has_note(stored, trial_id) or trial.candidate is None or written >= MOST_AT_ONCE:
            continue
        for name, content in files_of(trial, trial.candidate, bar):
            attach(store, trial_id, folder, name, content)
        text = note(trial, trial.candidate, bar)
        store.retries(inner.write_note, store.storage, store.study_id, trial_id, text)
        written += 1
    return written


def attach(store: StudyStore, trial_id: int, folder: Path, name: str, content: bytes) -> None:
    """Put a file beside a trial, finished or not, where the dashboard offers it for download."""
    identifier = new_identifier()
    ArtifactFiles(folder).write(identifier, io.BytesIO(content))  # first: what is listed can be had
    store.retries(inner.list_file, store.storage, store.study_id, trial_id, name, identifier)


def files_of(trial: TrialRecord, candidate: Candidate, bar: float) -> Iterable[tuple[str, bytes]]:
    """Name and content of each file of a trial, all made from its record: curve, score table and candidate."""
    picture = curve_picture(trial, bar)
    if picture is not None:
        yield "learning-curve.png", picture
    if trial.layers:
        yield "score.csv", score_csv(trial.layers)
    yield "candidate.json", (json.dumps(candidate.to_dict(), indent=2) + "\n").encode()


def note(trial: TrialRecord, candidate: Candidate, bar: float) -> str:
    """The summary of a trial with this candidate in Markdown."""
    lines = [f"### Trial {trial.number}: {_outcome(trial, bar)}", ""]
    rows = [
        ("network", methods_used.shape(candidate)),
        ("training", methods_used.training(candidate)),
        ("augmentation", methods_used.augmentation(candidate)),
        ("pruning", methods_used.pruning(candidate)),
        ("bits", methods_used.bits(candidate)),
        ("time", f"{trial.seconds or 0:,.0f} s on {markdown(trial.device or 'an unknown device')}"),
        ("candidate", f"`{candidate.digest}`"),
    ]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    totals = trial.totals
    if totals.get("score") is not None:
        parts = [totals.get(key) for key in ("score", "score_params", "score_ops", "strict_score")]
        places = decimals(parts)
        shown = [number(part, places) for part in parts]
        lines += [f"**Score {shown[0]}** = params term {shown[1]} + ops term {shown[2]}; strict score {shown[3]}.", ""]
        lines += _costs(trial)
        lines += _account(trial.account)
        lines += _layer_table(trial.layers)
    lines += [
        "",
        "Below: the learning curve, the score layer by layer and the candidate, for download. To retrain it:",
        "",
    ]
    lines += [f"    python run_search.py retrain --trial {trial.number}", ""]
    return "\n".join(lines)


def _costs(trial: TrialRecord) -> list[str]:
    """What else it costs, with the bounds that it breaks; nothing where that is not known."""
    told = [
        f"{markdown(name)} {in_figures(value)}"
        + (f", above its bound of {in_figures(trial.over[name])}" if name in trial.over else "")
        for name, value in trial.costs.items()
    ]
    return [f"Costs: {'; '.join(told)}.", ""] if told else []


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
        beyond = ", but above a bound of the study" if trial.over else ""
        return f"{percent(trial.accuracy)} on the validation images, {place} the bar of {percent(bar)}{beyond}"
    return f"{trial.state}: {trial.why if trial.reason in REASONS else markdown(trial.why)}"


def _layer_table(layers: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = ["| layer | weights | multiply-adds | bits w, a |", "|---|--:|--:|--:|"]
    for layer in list(layers)[:MOST_LAYERS]:
        weights, macs = (_counted(layer.get(key)) for key in ("weights", "macs"))
        bits = ", ".join(str(layer.get(key) or "") for key in ("weight_bits", "activation_bits"))
        rows.append(f"| {markdown(layer.get('name') or '')} | {weights} | {macs} | {bits} |")
    return rows


def _counted(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def score_csv(layers: Iterable[Mapping[str, Any]]) -> bytes:
    """The score layer by layer, with both terms."""
    table = list(layers)
    columns = list(dict.fromkeys(name for layer in table for name in layer))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*map(csv_cell, columns), "params_term", "ops_term"])
    for layer in table:
        known = is_scored(layer)
        writer.writerow([*(csv_cell(layer.get(name)) for name in columns), *(terms(layer) if known else ("", ""))])
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
            name = after.phase  # which may hold $, and that would begin a formula
            axes.annotate(name, place, (3, 3), textcoords="offset points", color=MUTED, fontsize=8, parse_math=False)
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
