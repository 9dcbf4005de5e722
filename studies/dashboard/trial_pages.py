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
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from slimfront.spaces import Candidate
from slimfront.studies.dashboard import inner
from slimfront.studies.dashboard.files import ArtifactFiles, new_identifier
from slimfront.studies.foreign.templates import markdown_templates
from slimfront.studies.foreign.text import csv_cell, visible
from slimfront.studies.front import front
from slimfront.studies.pictures.plots import BLUE, GREY, GRID, INK, MUTED, ORANGE, percent
from slimfront.studies.record import State, TrialRecord, is_scored
from slimfront.studies.report import methods_used
from slimfront.studies.report.numbers import decimals, figures, number
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
        text = note(trial, trial.candidate, bar, store.name)
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


def note(trial: TrialRecord, candidate: Candidate, bar: float, study: str) -> str:
    """The summary of a trial with this candidate in Markdown; `study` is the name of its study."""
    parts = [trial.totals.get(key) for key in ("score", "score_params", "score_ops", "strict_score")]
    places = decimals(parts)
    return (
        _templates()
        .get_template("note.md")
        .render(
            trial=trial,
            study=Markup(shlex.quote(visible(study))),  # in a block of code, where Markdown means nothing
            outcome=_outcome(trial, bar),
            choices=methods_used.choices(candidate),
            digest=candidate.digest,
            scores=[number(part, places) for part in parts] if parts[0] is not None else None,
            pruned=_account(trial.account),
            layers=list(trial.layers)[:MOST_LAYERS],
        )
    )


@cache
def _templates() -> Environment:
    return markdown_templates("slimfront.studies.dashboard", {"figures": figures, "number": number})


def _account(account: Mapping[str, Any] | None) -> dict[str, str] | None:
    """What pruning was asked for and what it removed, measured and by the closed formula; None where not all is known.

    Keys are those of the account.
    """
    if account is None:
        return None
    try:
        shares = {key: f"{account[key]:.1%}" for key in ("nominal_p_s", "p_s", "nominal_p_u", "p_u")}
        return shares | {key: f"{account[key]:.4g}" for key in ("score", "nominal_formula")}
    except KeyError:
        return None


def _outcome(trial: TrialRecord, bar: float) -> str:
    if trial.state is State.COMPLETE and trial.accuracy is not None:
        place = "at or above" if trial.accuracy >= bar else "below"
        beyond = ", but above a bound of the study" if trial.over else ""
        return f"{percent(trial.accuracy)} on the validation images, {place} the bar of {percent(bar)}{beyond}"
    return f"{trial.state}: {trial.why}"


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
