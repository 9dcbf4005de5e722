"""Replay strategies on the recorded table: figure, table and summary.json under results/replay.

    python -m benchmarks.replay.run                 (30 seeds each; MO-ASHA's environment is made on first use)

What is played is kept in --work, by strategy, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import subprocess
import sys
import time
import venv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from slimfront.search.early_stopping import Rules
from slimfront.studies.analysis.false_stops import ON_A_BOUND
from slimfront.studies.environment import commit, machine
from slimfront.studies.front import area
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.requirements import write_requirements

from benchmarks.replay.figure import COLORS, draw
from benchmarks.replay.strategies import STRATEGIES, row_of, slimfront
from benchmarks.replay.table import PATH, Spending, Table

SHARE = 0.95
# Epochs that a strategy may spend. Stopping leaves room for many more trials, which take TPE and MO-ASHA long to sort.
BUDGETS = {"slimfront": 500, "tpe_median": 1500, "nsga2_median": 1500, "moasha": 1500}
BUDGET = 4000
# Played only on demand: other samplers that propose (gp takes minutes a search), and the score's logarithm for TPE.
VARIANTS = ("slimfront_random", "slimfront_nsga2", "slimfront_qmc", "tpe_log")
VARIANT_SEEDS = 30
PLAIN = "tpe"
SYNE_TUNE = ("syne-tune==0.16.0", "--no-deps")
ITS_NEEDS = ("numpy", "pandas", "dill", "sortedcontainers", "typing_extensions", "PyYAML", "tqdm", "ujson")


def budget_of(name: str) -> int:
    """Epochs that a strategy may spend."""
    return BUDGETS.get(name.partition("_")[0] if name.startswith("slimfront") else name, BUDGET)


def play(name: str, table: Table, seed: int, budget: int) -> dict[str, Any]:
    """One strategy with one seed: its history, and for slimfront how its stops fared."""
    if not name.startswith("slimfront"):
        return {"history": STRATEGIES[name](table, seed, budget).history}
    played = slimfront(table, seed, budget, sampler=name.partition("_")[2] or "tpe")
    return {"history": played.spending.history, "stops": _stops(played.trials, table)}


def _stops(trials: list[TrialRecord], table: Table) -> dict[str, Any]:
    """Every stop against the truth, which here is in the table: was it on the front in the end?"""
    stopped = [t for t in trials if t.reason in ON_A_BOUND]
    complete = [t.point for t in trials if t.state is State.COMPLETE]
    truth = [(row_of(table, t).accuracy, row_of(table, t).score) for t in stopped]
    whole = area([*complete, *truth], table.bar)
    wrong = 0
    for index, point in enumerate(truth):
        others = [*complete, *truth[:index], *truth[index + 1 :]]
        wrong += point[0] >= table.bar and not any(a >= point[0] and s <= point[1] for a, s in others)
    return {
        "trials": len(trials),
        "stopped": len(stopped),
        "false": wrong,
        "lost": 1 - area(complete, table.bar) / whole if whole else 0.0,
        "shared": sum(t.uncompressed_from is not None for t in trials),
    }


def play_moasha(table: Table, path: Path, seeds: int, budget: int, work: Path) -> list[dict[str, Any]]:
    """MO-ASHA, in an environment of its own."""
    python = work / "syne-tune" / "bin" / "python"
    if not python.exists():
        venv.create(python.parents[1], with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *SYNE_TUNE], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *ITS_NEEDS], check=True)
    out = work / "moasha.json"
    script = Path(__file__).with_name("moasha.py")
    subprocess.run([python, script, path, str(budget), str(seeds), out], check=True)
    found = []
    for played in json.loads(out.read_text()):
        spending = Spending(table)
        for paid, accuracy, score in played:
            spending.points.append((accuracy, score))
            spending.history.append((paid, area(spending.points, table.bar)))
        found.append({"history": spending.history})
    return found


def spent(table: Table, played: dict[str, Any], budget: int) -> Spending:
    """A kept history as a Spending, to be asked; what came after the budget does not count."""
    return Spending(table, history=[(int(e), float(value)) for e, value in played["history"] if e <= budget])


def main() -> None:
    """Play what is missing, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=PATH)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--variants", action="store_true", help="Other samplers and objectives, too, 30 seeds each.")
    parser.add_argument("--write", action="store_true", help="Play nothing; write what is there, with its seeds.")
    parser.add_argument("--only", help="Play these strategies, comma-separated, and write nothing.")
    parser.add_argument("--work", type=Path, default=Path("runs/replay"))
    parser.add_argument("--out", type=Path, default=Path("results/replay"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table(arguments.table)
    names = [*(name for name in STRATEGIES if name not in VARIANTS), "moasha", "slimfront"]
    names += VARIANTS if arguments.variants else ()
    results: dict[str, list[dict[str, Any]]] = {}
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name in arguments.only.split(",") if arguments.only else names:
        kept = arguments.work / f"played-{name}.json"
        results[name] = json.loads(kept.read_text()) if kept.exists() else []
        budget = budget_of(name)
        seeds = min(arguments.seeds, VARIANT_SEEDS) if name in VARIANTS else arguments.seeds
        if arguments.write:
            continue
        if name == "moasha" and len(results[name]) < arguments.seeds:
            results[name] = play_moasha(table, arguments.table, arguments.seeds, budget, arguments.work)
        begun = time.monotonic()
        for seed in range(len(results[name]), seeds):
            results[name].append(play(name, table, seed, budget))
            kept.write_text(json.dumps(results[name]))
            print(f"{name} {seed + 1}/{seeds}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        kept.write_text(json.dumps(results[name]))
    if not arguments.only:
        write(table, {name: some for name, some in results.items() if some}, arguments)


def write(table: Table, results: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> None:
    """Figure, table and summary."""
    budgets = {name: budget_of(name) for name in results}
    histories = {name: [spent(table, played, budgets[name]) for played in some] for name, some in results.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, some in histories.items():
        reached = sorted(history.to_reach(SHARE) for history in some)
        median = statistics.median_low(reached)
        rows[name] = {
            "median_epochs_to_95": median if math.isfinite(median) else None,
            "quartiles": [
                q if math.isfinite(q) else None for q in (reached[len(reached) // 4], reached[-len(reached) // 4])
            ],
            "reached_within_budget": sum(map(math.isfinite, reached)),
            "budget": budgets[name],
            "seeds": len(some),
        }
    plain = rows[PLAIN]["median_epochs_to_95"]
    for row in rows.values():
        median = row["median_epochs_to_95"]
        row["ratio_to_plain_tpe"] = median / (plain or BUDGET) if median else None
    stops = [played["stops"] for played in results["slimfront"]]
    total = sum(s["stopped"] for s in stops)
    summary = {
        "command": "python -m benchmarks.replay.run",
        "commit": commit(),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "ratio_to_plain_tpe": rows["slimfront"]["ratio_to_plain_tpe"],
        "plain_tpe_reached_95_in_the_median": plain is not None,
        "false_stop_rate": sum(s["false"] for s in stops) / total if total else None,
        "hypervolume_lost_to_false_stops": statistics.mean(s["lost"] for s in stops),
        "stopped_per_search": statistics.mean(s["stopped"] for s in stops),
        "shared_per_search": statistics.mean(s["shared"] for s in stops),
        "trials_per_search": statistics.mean(s["trials"] for s in stops),
        "strategies": rows,
        "candidates": len(table.rows),
        "dense_networks": len({row.dense for row in table.rows.values()}),
        "clear_the_bar": sum(row.accuracy >= table.bar for row in table.rows.values()),
        "bar": table.bar,
        "best_hypervolume": table.best,
        "seeds": len(results["slimfront"]),
        "training_images": table.written["training_images"],
        "validation_images": table.written["validation_images"],
        "rules": vars(Rules()),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    write_requirements(arguments.out)
    lines = [
        "| strategy | epochs to 95 % (median) | quartiles | reached | within | against plain TPE |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [_number(row["median_epochs_to_95"], row["budget"])]
        cells.append(" to ".join(_number(q, row["budget"]) for q in row["quartiles"]))
        cells.append(f"{row['reached_within_budget']} of {len(histories[name])}")
        cells.append(f"{row['budget']:,} epochs")
        ratio = row["ratio_to_plain_tpe"]
        cells.append("" if ratio is None else f"{ratio:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    (arguments.out / "table.md").write_text("\n".join(lines) + "\n")
    places = np.arange(0, BUDGET + 1, 10)
    curves = {
        name: np.array([history.at(places) for history in some]) for name, some in histories.items() if name in COLORS
    }
    draw(places, curves, budgets, arguments.out / "hypervolume.png")
    print("\n".join(lines))


def _number(value: float | None, budget: int) -> str:
    return f"over {budget:,}" if value is None else f"{value:,.0f}"


if __name__ == "__main__":
    main()
