"""The replay's figure: hypervolume against epochs spent, median and quartiles over the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLORS = {
    "slimfront": "#c43d2f",
    "tpe": "#1f5fa8",
    "nsga2": "#2c8a57",
    "random": "#6f6f6f",
    "tpe_median": "#7fa8d6",
    "nsga2_median": "#86c2a0",
    "moasha": "#b07cc6",
}
NAMES = {"tpe": "TPE", "nsga2": "NSGA-II", "tpe_median": "TPE, median rule", "nsga2_median": "NSGA-II, median rule"}
NAMES |= {"moasha": "MO-ASHA (Syne Tune)", "random": "random"}


def draw(places: np.ndarray[Any, Any], curves: Mapping[str, Any], ends: Mapping[str, int], path: Path) -> None:
    """Draw shares of the best hypervolume (seeds, places) by strategy, each up to the epochs that it was given."""
    figure = Figure(figsize=(8, 4.6), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.13, 0.88, 0.78))
    for name in sorted(curves, key=lambda name: name == "slimfront"):
        shown = (places <= ends[name]) & (places > 0)
        low, middle, high = 100 * np.percentile(curves[name][:, shown], (25, 50, 75), axis=0)
        color = COLORS[name]
        axes.fill_between(
            places[shown], low, high, color=color, alpha=0.2 if name == "slimfront" else 0.08, linewidth=0
        )
        axes.plot(
            places[shown],
            middle,
            color=color,
            linewidth=2.4 if name == "slimfront" else 1.5,
            label=NAMES.get(name, name),
            linestyle="--" if name == "random" else "-",
            zorder=3,
        )
    axes.axhline(95, color="#444444", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(30, places[-1])
    axes.set_ylim(0, 102)
    axes.set_xlabel("epochs trained (number)")
    axes.set_ylabel("hypervolume (% of the table's best)")
    axes.set_title("Hypervolume above the bar against epochs: median and quartiles", loc="left", fontsize=11)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(path)
