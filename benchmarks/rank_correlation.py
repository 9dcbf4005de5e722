"""Whether a search of few epochs orders networks as longer training does: retrains networks from a published table.

    python -m benchmarks.rank_correlation results/cifar10_hour --epochs 6

Takes from STUDY/trials.csv the most accurate completed trial of each dense network, retrains it on all training images
with one seed, and reads the test images once for each. Dense networks of which every trial was stopped are left out: so
nothing is said about whether it was right to stop them. The seed is the search's own (0), so the networks start from
the weights that they started from there, and some of their luck is the same. Writes STUDY/final_accuracy.json, .csv and
.png. Goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from slimfront.search.launch import Options
from slimfront.search.retrain.plan import Choice, Plan
from slimfront.search.retrain.run import retrain
from slimfront.spaces import Architecture, Augmentation, Bits, Candidate, Pruning, Recipe
from slimfront.spaces.candidate import Sparsity
from slimfront.studies.pictures.labels import MARK, Labels
from slimfront.studies.pictures.plots import BLUE, DARK, GRID, INK, MUTED, percent
from slimfront.studies.requirements import copy_requirements

PARTS = {"architecture": Architecture, "augmentation": Augmentation, "bits": Bits, "recipe": Recipe}
COLUMNS = ("trial", "digest", "family", "macs", "score", "search_accuracy", "final_accuracy", "search_epochs", "epochs")


def candidate(row: Mapping[str, str]) -> Candidate:
    """The candidate that a row of a study's table describes; its digest tells whether that is the one."""
    pruning = {name: _part(Sparsity, row, f"pruning.{name}.") for name in ("filters", "weights")}
    parts = {name: kind(**_part(kind, row, f"{name}.")) for name, kind in PARTS.items()}
    steps = {name: Sparsity(**values) if values else None for name, values in pruning.items()}
    found = Candidate(pruning=Pruning(**steps), **parts)
    if found.digest != row["digest"]:
        raise SystemExit(f"Trial {row['trial']} was {row['digest']}, but its row reads as {found.digest}.")
    return found


def _part(kind: type, row: Mapping[str, str], prefix: str) -> dict[str, Any]:
    cells = {field.name: (str(field.type), row.get(prefix + field.name) or "") for field in fields(kind)}
    return {name: _value(declared, text) for name, (declared, text) in cells.items() if text}


def _value(declared: str, text: str) -> Any:
    if declared.startswith("tuple"):
        number = float if "float" in declared else int
        return tuple(number(entry) for entry in text.split("-"))
    if declared == "bool":
        return text == "True"
    return {"int": int, "float": float}.get(declared, str)(text)


def chosen_of(rows: Sequence[dict[str, str]]) -> list[tuple[dict[str, str], Candidate]]:
    """The most accurate completed trial of each dense network, by ascending accuracy.

    Compressions of one dense network share its luck: counted one by one they would look like more evidence.
    """
    best: dict[str, tuple[dict[str, str], Candidate]] = {}
    for row in sorted((row for row in rows if row["state"] == "complete"), key=lambda row: float(row["accuracy"])):
        found = candidate(row)
        best.pop(found.uncompressed_digest, None)
        best[found.uncompressed_digest] = row, found
    if len(best) < 3:
        raise SystemExit("A rank correlation needs three dense networks or more.")
    return list(best.values())


def lines(chosen: Sequence[dict[str, str]], summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line for each network, in the order of the search's accuracy."""
    final = {network["digest"]: network for network in summary["networks"]}
    return [
        {
            "trial": int(row["trial"]),
            "digest": row["digest"],
            "family": row["architecture.family"],
            "macs": int(row["macs"]),
            "score": float(row["score"]),
            "search_accuracy": float(row["accuracy"]),
            "final_accuracy": final[row["digest"]]["mean"],
            "search_epochs": int(row["epochs"]),
            "epochs": final[row["digest"]]["epochs"],
        }
        for row in chosen
    ]


def interval(correlation: float, count: int) -> tuple[float, float]:
    """Of 95 %, by Fisher's transform with the variance of Bonett and Wright 2000 (doi:10.1007/BF02294183).

    Roughly, for so few networks; a correlation of 1 has none.
    """
    middle = math.atanh(min(abs(correlation), 1 - 1e-12)) * (1 if correlation >= 0 else -1)
    half = 1.96 * math.sqrt((1 + correlation**2 / 2) / (count - 3)) if count > 3 else math.inf
    return math.tanh(middle - half), math.tanh(middle + half)


def draw(found: Sequence[Mapping[str, Any]], correlation: float, epochs: tuple[int, int], path: Path) -> None:
    """Final accuracy against the search's, the trials named, and where both would be the same."""
    figure = Figure(figsize=(7.2, 4.6), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = [(100 * line["search_accuracy"], 100 * line["final_accuracy"]) for line in found]
    across, up = zip(*points, strict=True)
    axes.set(xlim=(min(across) - 1.5, max(across) + 2.5), ylim=(min(*up, *across) - 1, max(up) + 1.5))
    axes.axline((70, 70), slope=1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(across, up, "o", color=BLUE, markersize=6, zorder=3)
    axes.set_xlabel(f"validation accuracy in the search, {epochs[0]} dense epochs, %", color=INK)
    axes.set_ylabel(f"test accuracy, {epochs[1]} dense epochs, one seed, %", color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    title = f"The search's order of {len(found)} networks holds to {correlation:.2f} (Spearman)"
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold")
    figure.canvas.draw()  # the layout is final from here on, as names need it
    labels = Labels(axes)
    labels.avoid(points, MARK, radius=4)
    right = axes.get_xlim()[1]
    labels.fixed("as in the search", (right, right), (-6, -46), color=MUTED, fontsize=8, ha="right")
    for line, point in zip(found, points, strict=True):
        labels.add(f"trial {line['trial']}", point, color=DARK, fontsize=8)
    labels.place()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, metavar="STUDY", help="folder with trials.csv")
    parser.add_argument("--epochs", type=int, help="of dense training; default: three times the search's")
    parser.add_argument("--workers", type=int, default=0, help="trainings side by side; 0: one for each core")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--work", type=Path, help="folder of checkpoints; default: runs/rank_correlation/NAME")
    options = parser.parse_args()
    with (options.study / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen, candidates = zip(*chosen_of(rows), strict=True)
    choices = tuple(
        Choice(found, int(row["trial"]), float(row["accuracy"])) for row, found in zip(chosen, candidates, strict=True)
    )
    name = options.study.resolve().name
    work = options.work or Path("runs") / "rank_correlation" / name
    plan = Plan(choices, dataset=chosen[0]["data"], seeds=1, epochs=options.epochs, study=name)
    how, summary = retrain(plan, Options("", workers=options.workers, data_dir=options.data_dir, out=work))
    failed = [f"{network['digest']}: {one['text']}" for network in summary["networks"] for one in network["failed"]]
    if how != "done":
        raise SystemExit("; ".join(failed) or f"{how}: the same command goes on.")
    correlation = summary["rank_correlation"]
    if correlation is None:
        raise SystemExit("All networks came to the same accuracy: there is no order to compare.")
    found = lines(chosen, summary)
    dense = {candidate(row).uncompressed_digest for row in rows if row["state"] in ("complete", "pruned")}
    epochs = choices[0].candidate.recipe.epochs, plan.trained(choices[0]).recipe.epochs
    kept = {key: summary[key] for key in ("commit", "machine", "date", "study", "rank_correlation", "data")}
    gains = [100 * (line["final_accuracy"] - line["search_accuracy"]) for line in found]
    facts = {
        "command": shlex.join(["python", "-m", "benchmarks.rank_correlation", *sys.argv[1:]]),
        **kept,
        "interval": [round(end, 3) for end in interval(correlation, len(found))],
        "seeds": [0],
        "search_seed": int(chosen[0]["seed"]),
        "search_dense_epochs": epochs[0],
        "dense_epochs": epochs[1],
        "dense_networks": len(dense),
        "left_out_as_stopped": len(dense) - len(found),
        "test_evaluations": summary["test_evaluations"],
        "test_minus_search_points": [round(min(gains), 2), round(max(gains), 2)],
        "networks": found,
    }
    (options.study / "final_accuracy.json").write_text(json.dumps(facts, indent=1) + "\n")
    copy_requirements(work, options.study / "final_accuracy.requirements.txt")
    with (options.study / "final_accuracy.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    draw(found, correlation, epochs, options.study / "final_accuracy.png")
    for line in found:
        print(f"trial {line['trial']:3} {percent(line['search_accuracy'])} -> {percent(line['final_accuracy'])}")
    print(f"Spearman {correlation:.3f}, 95 % interval {facts['interval']}")


if __name__ == "__main__":
    main()
