"""Turns what the quantization benchmarks left in DIR into the published summary, table and plot.

    python benchmarks/quantization_report.py --table DIR --out results/quantization

Reads DIR/summary.json (`quantization_table.py`), DIR/brevitas-*.json (`brevitas_w4a4.py`) and DIR/files.json
(`quantized_files.py`); the last two may be absent. Writes summary.json, table.md and accuracy.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from slimfront.studies.requirements import copy_requirements

AWARE, ROUNDING, INK, MUTED, GRID, GREEN = "#0072B2", "#D55E00", "#222222", "#6b6f76", "#e7e8ea", "#009E73"
NAMES = {"float": "float", "aware": "quantization-aware training", "rounding": "rounding after training"}
VALIDATION_IMAGES = 5_000

Row = dict[str, Any]


class ReportError(SystemExit):
    """Results that do not belong together."""


def read_yardsticks(folder: Path, summary: Row) -> list[Row]:
    """Brevitas's results, the best first. Raises ReportError where one was trained otherwise than the table."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("brevitas-*.json"))]
    for one in found:
        for key, wanted in (("epochs", summary["aware_epochs"]), ("seed", summary["seed"]), ("images", 45_000)):
            if one[key] != wanted:
                raise ReportError(f"brevitas-{one['style']}.json has {key} {one[key]}, but the table has {wanted}.")
        reference = accuracy_of(summary["rows"], 32, "float")
        if abs(one["dense_accuracy"] - reference) > 1e-9:
            raise ReportError(
                f"brevitas-{one['style']}.json began at {one['dense_accuracy']}, the table at {reference}."
            )
    return sorted(found, key=lambda one: -float(one["accuracy"]))


def accuracy_of(rows: list[Row], bits: int, method: str) -> float:
    """Accuracy of one row."""
    return next(float(row["accuracy"]) for row in rows if row["weight_bits"] == bits and row["method"] == method)


def compare(rows: list[Row], yardsticks: list[Row]) -> Row:
    """What was asked for, in points; positive is better for the quantized network."""
    ours = accuracy_of(rows, 4, "aware")
    found = {
        "w4a4_minus_float": round(100 * (ours - accuracy_of(rows, 32, "float")), 2),
        "w4a4_minus_half_precision_trained_on": round(100 * (ours - accuracy_of(rows, 16, "aware")), 2),
    }
    if yardsticks:
        found["w4a4_minus_brevitas"] = round(100 * (ours - float(yardsticks[0]["accuracy"])), 2)
    error = 100 * (ours * (1 - ours) / VALIDATION_IMAGES) ** 0.5
    return found | {"standard_error_of_an_accuracy": round(error, 2)}


def label(row: Row) -> str:
    """A row's first column."""
    if row["method"] == "float":
        return "float32, where all begin"
    if row["weight_bits"] == 16:
        return "float16, trained on as long"
    return f"W{row['weight_bits']}A{row['activation_bits']}"


def table(summary: Row, yardsticks: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| network | rounding after training | quantization-aware training | score | strict score |",
        "|---|---|---|---|---|",
    ]
    rows = summary["rows"]
    widths = list(dict.fromkeys(row["weight_bits"] for row in rows))
    for width in widths:
        own = {row["method"]: row for row in rows if row["weight_bits"] == width}
        any_row = next(iter(own.values()))
        if "float" in own:
            cells = [f"{own['float']['accuracy']:.2%}", ""]
        else:
            cells = [f"{own[method]['accuracy']:.2%}" if method in own else "" for method in ("rounding", "aware")]
        lines.append(
            f"| {label(any_row)} | {cells[0]} | {cells[1]} | {any_row['score']:.4f} | {any_row['strict_score']:.4f} |"
        )
    for one in yardsticks:
        lines.append(f"| brevitas {one['brevitas']}, W4A4, {one['style']} | | {one['accuracy']:.2%} | | |")
    return "\n".join(lines).replace("%", " %") + "\n"


def plot(summary: Row, yardsticks: list[Row], path: Path) -> None:
    """Accuracy against bits, one line a method."""
    figure = Figure(figsize=(8.4, 5.0), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = summary["rows"]
    widths = sorted({row["weight_bits"] for row in rows if row["weight_bits"] <= 8})
    place = {width: number for number, width in enumerate(widths)}
    for method, colour in (("aware", AWARE), ("rounding", ROUNDING)):
        own = sorted((row["weight_bits"], row["accuracy"]) for row in rows if row["method"] == method)
        own = [(width, accuracy) for width, accuracy in own if width in place]
        axes.plot([place[w] for w, _ in own], [a for _, a in own], "o-", color=colour, lw=2, label=NAMES[method])
        for width, accuracy in own:
            axes.annotate(
                f"{100 * accuracy:.1f}",
                (place[width], accuracy),
                xytext=(0, -15 if method == "rounding" else 12),
                textcoords="offset points",
                ha="center",
                color=colour,
                fontsize=9,
            )
    for bits, method, style, text in (
        (32, "float", "-", "float32, where all begin"),
        (16, "aware", "--", "float16, trained on as long"),
    ):
        value = accuracy_of(rows, bits, method)
        axes.axhline(value, color=MUTED, lw=1.2, ls=style, label=f"{text}: {100 * value:.1f}", zorder=1)
    if yardsticks:
        best = yardsticks[0]
        axes.plot(place[4], best["accuracy"], "D", color=GREEN, ms=8, mfc="none", mew=2, zorder=4,
                  label=f"brevitas {best['brevitas']} at W4A4: {100 * best['accuracy']:.1f}")  # fmt: skip
    axes.margins(y=0.09)
    axes.set_xticks(list(place.values()), [f"W{width}A{width}" for width in place])
    axes.set_xlabel("bits of weights and activations (stem and classifier 8)", color=INK)
    axes.set_ylabel("accuracy on the 5,000 validation images", color=INK)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.grid(color=GRID, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    macs = rows[0]["macs"] / 1e6
    axes.set_title(
        f"{summary['network']} on CIFAR-10 ({macs:.1f} M multiply-adds): {summary['epochs']} epochs in float, then "
        f"{summary['aware_epochs']}",
        loc="left", fontsize=10.5, color=INK,
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(path, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    summary = json.loads((arguments.table / "summary.json").read_text())
    yardsticks = read_yardsticks(arguments.table, summary)
    files = arguments.table / "files.json"
    settings = f"--candidate {summary['network']} --epochs {summary['epochs']} --aware-epochs {summary['aware_epochs']}"
    # Where the work was done is of no interest; how is.
    summary["command"] = f"python benchmarks/quantization_table.py {settings} --out DIR"
    summary["report"] = "python benchmarks/quantization_report.py --table DIR --out results/quantization"
    for row in summary["rows"]:
        del row["seconds"]  # of a run that was taken up again: not a time that anybody could compare
    summary["brevitas_w4a4"] = yardsticks[0]["accuracy"] if yardsticks else None
    summary["brevitas"] = [{key: value for key, value in one.items() if key != "curve"} for one in yardsticks]
    summary["comparison"] = compare(summary["rows"], yardsticks)
    summary["files"] = json.loads(files.read_text()) if files.exists() else None
    arguments.out.mkdir(parents=True, exist_ok=True)
    copy_requirements(arguments.table, arguments.out / "requirements.txt")
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (arguments.out / "table.md").write_text(table(summary, yardsticks))
    plot(summary, yardsticks, arguments.out / "accuracy.png")
    print(table(summary, yardsticks))
    print(json.dumps(summary["comparison"]))


if __name__ == "__main__":
    main()
