"""Publishes retrained networks: their artifacts verified once more, a table, the front, curves and a plot.

    python -m benchmarks.record RETRAINED [RETRAINED ...] --out results/record

RETRAINED is a folder that `run_search.py retrain` wrote; networks with a failed or open seed are refused. Every
artifact is copied and verified from its file alone, by the command that users have. Networks that were published there
before stay, their artifacts verified again. Writes summary.json, table.md, front.csv, front.png, and for every network
a folder with candidate.json, its artifacts, curves.csv, curves.png and the versions that trained it, requirements.txt.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from slimfront.search.retrain.numbers import rank_correlation, summarise
from slimfront.studies.analysis.ladder import rungs
from slimfront.studies.environment import commit, environment, machine
from slimfront.studies.pictures.labels import MARK, Labels
from slimfront.studies.pictures.plots import BLUE, DARK, GREY, GRID, INK, MUTED, ORANGE, nice_ticks, percent
from slimfront.studies.requirements import copy_requirements

ROOT = Path(__file__).resolve().parents[1]
STAGES = {"dense": ("float", BLUE), "filters": ("filters pruned", "#CC79A7"), "weights": ("weights pruned", "#009E73")}
BITS = ("quantized", ORANGE)

Row = dict[str, Any]


def read(folder: Path) -> list[Row]:
    """The networks of one retraining, each with the results of its seeds under "results"."""
    summary = json.loads((folder / "summary.json").read_text())
    networks = []
    for network in summary["networks"]:
        if network["open"] or network["failed"] or not network["verified"]:
            raise SystemExit(f"{folder}: {network['digest']} has seeds that are open, failed or not verified.")
        own = folder / network["digest"]
        results = {seed: json.loads((own / f"seed-{seed}" / "result.json").read_text()) for seed in network["seeds"]}
        plan = json.loads((own / f"seed-{network['seeds'][0]}" / "plan.json").read_text())
        shared = {key: summary[key] for key in ("commit", "machine", "date", "data")}
        networks.append(network | shared | {"results": results, "trained": plan["trained"], "folder": own})
    return networks


def verified(artifact: Path, accuracy: float) -> Row:
    """What `verify` says of a file; it reads the test images again, to check an accuracy that is already fixed."""
    command = [sys.executable, str(ROOT / "run_search.py"), "verify", str(artifact), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{artifact} is not what it says: {done.stderr or done.stdout}")
    found: Row = json.loads(done.stdout)
    if abs(found["accuracy"] - accuracy) > 2e-4:
        raise SystemExit(f"{artifact} reaches {found['accuracy']}, not the {accuracy} that it was said to.")
    return found


def publish(network: Row, out: Path) -> Row:
    """Copy and verify one network's files; its row of the summary."""
    place = out / network["digest"]
    place.mkdir(parents=True, exist_ok=True)
    (place / "candidate.json").write_text(json.dumps(network["candidate"], indent=1) + "\n")
    copy_requirements(network["folder"].parent, place / "requirements.txt")
    checks = []
    for seed in network["seeds"]:
        artifact = place / f"seed-{seed}.slim"
        shutil.copyfile(next((network["folder"] / f"seed-{seed}").glob("*.slim")), artifact)
        checks.append(verified(artifact, network["results"][seed]["accuracy"]))
    with (place / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("seed", "stage", "epoch", "epochs", "training loss", "seconds"))
        for seed, result in network["results"].items():
            for epoch in result["curve"]:
                if epoch["loss"] is not None:
                    shown = (epoch["stage"], epoch["epoch"], epoch["epochs"])
                    writer.writerow((seed, *shown, f"{epoch['loss']:.5f}", f"{epoch['seconds']:.1f}"))
    draw_curves(network, place / "curves.png")
    return {
        "artifact": str((place / f"seed-{network['seeds'][0]}.slim").relative_to(out)),
        "artifacts": [str((place / f"seed-{seed}.slim").relative_to(out)) for seed in network["seeds"]],
        "digest": network["digest"],
        "seeds": network["seeds"],
        "accuracies": network["accuracies"],
        **summarise(network["accuracies"], network["bar"], network["validation_accuracy"]),
        **counted(checks),
        "epochs": network["epochs"],
        "trained_images": network["data"]["train"],
        "test_evaluations": network["test_evaluations"],
        "command": again(network),
        "trained_at_commit": network["commit"],
        "trained_on": network["machine"],
        "trained_until": network["date"],
        "trained": network["trained"],
    }


def counted(checks: list[Row]) -> Row:
    """What `verify` counts in a network's files; seeds differ only where pruning chooses shapes, and then the most."""
    largest = max(checks, key=lambda check: check["score"])
    return {
        "score": largest["score"],
        "strict_score": max(check["strict_score"] for check in checks),
        "weights": largest["weights"],
        "stored_weights": largest["stored_weights"],
        "macs": largest["macs"],
        "bytes": [check["bytes"] for check in checks],
        "verified": [check["ok"] for check in checks],
    }


def published(out: Path, without: set[str]) -> list[Row]:
    """Rows of the summary that is there already, but for some digests.

    Their accuracies have to be those of their files, and what the files are counted to be replaces what was said.
    """
    summary = out / "summary.json"
    rows: list[Row] = json.loads(summary.read_text())["networks"] if summary.exists() else []
    kept = [row for row in rows if row["digest"] not in without]
    for row in kept:
        claims = zip(row["artifacts"], row["accuracies"], strict=True)
        row |= counted([verified(out / artifact, accuracy) for artifact, accuracy in claims])
    return kept


def again(network: Row) -> str:
    """The command that trains the same candidate again, from the repository's root."""
    candidate = f"results/record/{network['digest']}/candidate.json"
    wanted = {"candidate": candidate, "seeds": len(network["seeds"]), "epochs": network["trained"]["recipe"]["epochs"]}
    options = [word for name, value in wanted.items() for word in (f"--{name}", str(value))]
    return shlex.join(["python", "run_search.py", "retrain", *options, "--dataset", network["data"]["name"]])


def draw_curves(network: Row, path: Path) -> None:
    """Training loss by epoch, all seeds; stages in colours."""
    figure = Figure(figsize=(8, 4), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.14, 0.88, 0.74))
    named = set()
    for result in network["results"].values():
        trained = [epoch for epoch in result["curve"] if epoch["loss"] is not None]
        for stage in dict.fromkeys(epoch["stage"] for epoch in trained):
            own = [(at, epoch["loss"]) for at, epoch in enumerate(trained, 1) if epoch["stage"] == stage]
            name, color = STAGES.get(stage, BITS)
            label = name if name not in named else None
            named.add(name)
            axes.plot(*zip(*own, strict=True), color=color, linewidth=1.1, alpha=0.8, label=label)
    _style(axes)
    axes.set_xlabel("epoch, all stages", color=INK)
    axes.set_ylabel("training loss (nats; with the distance to the teacher, if any)", color=INK, fontsize=8)
    axes.legend(frameon=False, fontsize=9)
    seeds = len(network["results"])
    figure.text(0.09, 0.93, f"{network['digest'][:8]}: training loss of {seeds} seeds", fontweight="bold", color=INK)
    figure.savefig(path)


def draw_front(rows: list[Row], bar: float, path: Path) -> None:
    """Test accuracy against score: our networks with all their seeds, the bar, and what others published."""
    figure = Figure(figsize=(10, 6.4), dpi=200, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.07, 0.12, 0.905, 0.735))
    marks = [mark for mark in rungs() if mark.score < 0.25]
    scores = [row["score"] for row in rows] + [mark.score for mark in marks]
    shares = [100 * value for row in rows for value in row["accuracies"]] + [100 * bar, *(100 * m.high for m in marks)]
    axes.set_xscale("log")
    axes.set_xlim(min(scores) / 1.4, max(scores) * 1.4)
    low, high = min(100 * bar - 2.5, min(shares) - 0.3), max(shares)
    axes.set_ylim(low, high + 0.08 * (high - low))
    axes.axhline(100 * bar, color=ORANGE, linewidth=1.2, zorder=1.5)
    for mark in marks:
        axes.plot([mark.score] * 2, [100 * mark.low, 100 * mark.high], color=DARK, linewidth=0.9)
    axes.scatter(
        [mark.score for mark in marks],
        [100 * mark.accuracy for mark in marks],
        marker="D",
        s=22,
        facecolors=[DARK if mark.measured else "white" for mark in marks],
        edgecolors=DARK,
        label="published by others (hollow: claimed, no log)",
    )
    for row in rows:
        axes.scatter([row["score"]] * len(row["accuracies"]), [100 * a for a in row["accuracies"]], s=14, color=GREY)
    means = [100 * row["mean"] for row in rows]
    axes.scatter([row["score"] for row in rows], means, s=60, color=BLUE, zorder=4, label="ours, mean of the seeds")
    axes.scatter([], [], s=14, color=GREY, label="ours, each seed")
    _style(axes)
    axes.xaxis.set_major_locator(FixedLocator(nice_ticks(axes.get_xlim())))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("score (log scale; less is better)", color=INK)
    axes.set_ylabel("accuracy on the 10,000 test images (%)", color=INK)
    labels = Labels(axes)
    labels.avoid([(row["score"], 100 * a) for row in rows for a in row["accuracies"]], MARK, radius=4)
    labels.avoid([(mark.score, 100 * mark.accuracy) for mark in marks], MARK, radius=4)
    left, right = axes.get_xlim()
    labels.avoid_line([(left, 100 * bar), (right, 100 * bar)])
    labels.fixed(f"bar: {percent(bar)}", (right, 100 * bar), (-4, 4), color=ORANGE, fontsize=9, ha="right")
    for row in rows:
        text = f"{row['digest'][:8]}: {percent(row['mean'])}, {row['score']:.4f}"
        labels.add(text, (row["score"], 100 * row["mean"]), color=BLUE, fontsize=9, fontweight="bold")
    for mark in marks:
        text = mark.label if mark.measured else f"{mark.label} (claimed)"
        labels.add(text, (mark.score, 100 * mark.accuracy), color=DARK, fontsize=8)
    labels.place()
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.text(0.07, 0.94, title(rows, bar), fontsize=14, fontweight="bold", color=INK)
    caption = "CIFAR-10, trained on all 50,000 training images, last epoch; the test images were read once a seed"
    figure.text(0.07, 0.895, caption, fontsize=9.5, color=MUTED)
    figure.savefig(path)


def title(rows: list[Row], bar: float) -> str:
    """What the picture shows."""
    above = [row for row in rows if row["mean"] >= bar]
    if not above:
        best = max(rows, key=lambda row: row["mean"])
        return f"No network reaches {percent(bar)} yet; the nearest has {percent(best['mean'])}"
    best = min(above, key=lambda row: row["score"])
    return f"{percent(best['mean'])} on average over {len(best['seeds'])} seeds at a score of {best['score']:.4f}"


def _style(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(which="major", color=GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=MUTED)


def table(rows: list[Row]) -> str:
    """All networks, as Markdown."""
    head = ("network", "score", "strict score", "weights, stored", "MACs", "test accuracy by seed", "mean", "lower")
    lines = ["| " + " | ".join((*head, "verdict")) + " |", "|---" * (len(head) + 1) + "|"]
    for row in rows:
        each = ", ".join(percent(accuracy) for accuracy in row["accuracies"])
        counts = f"{row['weights']:,}, {row['stored_weights']:,} | {row['macs']:,}"
        lower = percent(row["lower"]) if row["lower"] is not None else "one seed"
        scores = f"{row['score']:.5f} | {row['strict_score']:.5f}"
        lines.append(
            f"| `{row['digest'][:8]}` | {scores} | {counts} | {each} | {percent(row['mean'])} | {lower} "
            f"| {row['verdict']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retrained", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "record")
    arguments = parser.parse_args()
    networks = [network for folder in arguments.retrained for network in read(folder)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [publish(network, arguments.out) for network in networks]
    rows += published(arguments.out, without={row["digest"] for row in rows})
    rows.sort(key=lambda row: row["score"])
    bar = max(row["bar"] for row in rows)
    both = [(row["validation_accuracy"], row["mean"]) for row in rows if row["validation_accuracy"] is not None]
    summary = {
        "command": shlex.join(["python", "-m", "benchmarks.record", *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "bar": bar,
        "networks": rows,
        "rank_correlation": rank_correlation([a for a, _ in both], [b for _, b in both]),
        "versions": environment(),
    }
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (arguments.out / "table.md").write_text(table(rows))
    draw_front(rows, bar, arguments.out / "front.png")
    with (arguments.out / "front.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        keys = ("digest", "score", "strict_score", "mean", "std", "lower", "verdict", "weights", "macs", "epochs")
        writer.writerow((*keys, "accuracies"))
        for row in rows:
            writer.writerow((*(row[key] for key in keys), " ".join(map(str, row["accuracies"]))))
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
