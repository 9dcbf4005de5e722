"""What a sweep leaves: summary.json, points.csv, a table in Markdown, pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slimfront.evaluators import outputs
from slimfront.search.sweep.journal import Journal
from slimfront.search.sweep.methods import shown
from slimfront.search.sweep.plots import plot_scores, plot_sensitivity, plot_sweep
from slimfront.search.sweep.tasks import Row, Setting
from slimfront.spaces.candidate import UNCOMPRESSED
from slimfront.studies.environment import environment
from slimfront.studies.foreign.text import csv_cell
from slimfront.studies.report.numbers import percent_number

FILES = ("points.csv", "table.md", "summary.json", "sweep.png", "scores.png", "sensitivity.png")
COLUMNS = ("method", "ratio", "retrained", "accuracy", "weights", "stored_weights", "macs", "score", "strict_score")
MORE_COLUMNS = ("reached", "met", "nominal_formula", "epochs", "seconds")


def verdicts(points: Iterable[Row]) -> list[Row]:
    """Each method after retraining against the random method of its granularity, at every ratio that both have."""
    points = list(points)
    methods = shown(points)
    after = {(row["method"], row["ratio"]): row["accuracy"] for row in points if row["retrained"]}
    found = []
    for (chosen, ratio), reached in after.items():
        rival = methods[chosen].control
        if rival is not None and (rival, ratio) in after:
            by = reached - after[rival, ratio]
            found.append({"method": chosen, "ratio": ratio, "control": rival, "by": by, "beats": by > 0})
    return found


def summarise(
    setting: Setting, name: str | None, command: str, journal: Journal, failures: list[dict[str, str]]
) -> dict[str, Any]:
    """All that is finished, and what it was made with: the content of `summary.json`."""
    points: list[Row] = []
    layers: list[Row] = []
    dense: list[Row] = []
    for rows in journal.rows.values():
        for row in rows:
            (points if "method" in row else layers if "layer" in row else dense).append(row)
    order = list(shown(points))
    points.sort(key=lambda row: (order.index(row["method"]), row["ratio"], row["retrained"]))
    found = environment()
    return {
        "command": command,
        "commit": found["commit"],
        "machine": found["machine"],
        "versions": {key: value for key, value in found.items() if key not in ("commit", "machine")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "candidate": name or setting.candidate.digest,
        "candidate_json": setting.candidate.to_dict(),
        "dataset": setting.dataset,
        "split": "validation",
        "seeds": [setting.seed],
        "epochs": setting.epochs,
        "retrain_epochs": setting.retrain_epochs,
        UNCOMPRESSED: sorted(dense, key=lambda row: row["penalty"]),
        "points": points,
        "against_random": verdicts(points),
        "sensitivity": layers,
        "failures": failures,
    }


def write(summary: dict[str, Any], out: Path) -> None:
    """Write the files of a sweep into its folder."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *MORE_COLUMNS], extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in summary["points"])
    outputs.write(out / "points.csv", text.getvalue())
    outputs.write(out / "table.md", table(summary) + "\n")
    outputs.write(out / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    if summary["points"]:
        plot_sweep(summary, out / "sweep.png")
        plot_scores(summary, out / "scores.png")
    if summary["sensitivity"]:
        plot_sensitivity(summary, out / "sensitivity.png")


def table(summary: dict[str, Any]) -> str:
    """Accuracies as a Markdown table, a row for each method: before -> after retraining, in per cent."""
    points = summary["points"]
    ratios = sorted({row["ratio"] for row in points})
    cells = {(row["method"], row["ratio"], row["retrained"]): f"{percent_number(row['accuracy'])}%" for row in points}
    lost = {(row["method"], row["ratio"]) for row in summary["against_random"] if not row["beats"]}
    dense = "; ".join(
        f"{percent_number(row['accuracy'])}%" + (f" with penalty {row['penalty']:g}" if row["penalty"] else "")
        for row in summary[UNCOMPRESSED]
    )
    lines = [
        f"Accuracy of {summary['candidate']} on the {summary['split']} images of {summary['dataset']}, "
        f"before -> after {summary['retrain_epochs']} epochs of retraining; dense: {dense}.",
        "A star: not better than the random method of the same granularity after retraining.",
        "",
        "| method | " + " | ".join(f"{ratio:g}" for ratio in ratios) + " |",
        "|---" * (len(ratios) + 1) + "|",
    ]
    for chosen, method in shown(points).items():
        row = []
        for ratio in ratios:
            pair = [cells.get((chosen, ratio, retrained)) for retrained in (False, True)]
            star = " *" if (chosen, ratio) in lost else ""
            row.append(" -> ".join(cell for cell in pair if cell is not None) + star)
        lines.append(f"| {method.title} (`{chosen}`) | " + " | ".join(row) + " |")
    return "\n".join(lines)
