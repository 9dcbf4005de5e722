"""The pictures of report and slides: the front, where the epochs went, and the front's learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.optimize import isotonic_regression
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.analysis.spending import Ending
from slimfront.studies.front import front
from slimfront.studies.pictures.plots import (
    BLUE,
    GREY,
    GRID,
    INK,
    MUTED,
    ORANGE,
    draw_front,
    finding,
    is_cifar10,
    marks_of,
    percent,
)
from slimfront.studies.pictures.svg import to_svg
from slimfront.studies.record import TrialRecord

MOST_CURVES = 8


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=72)
    FigureCanvasAgg(figure)
    return figure


def front_svg(trials: Sequence[TrialRecord], bar: float, axis: CostAxis = SCORE_AXIS, *, height: float = 4.4) -> str:
    """Accuracy against cost, with the bar, all finished trials, and on CIFAR-10 the reference ladder."""
    figure = _figure(7.2, height)
    axes = figure.add_axes((0.085, 0.215, 0.905, 0.77))
    draw_front(axes, trials, bar, marks_of(axis) if is_cifar10(trials) else (), axis)
    return to_svg(figure, "front", f"Accuracy against {axis.title}. {finding(trials, bar, axis)}.")


def spending_svg(endings: Sequence[Ending], *, width: float = 7.2) -> str:
    """Epochs by how their trials ended: a bar each."""
    figure = _figure(width, 0.62 + 0.42 * len(endings))
    low, high = 0.5 / figure.get_figheight(), 1 - 0.08 / figure.get_figheight()
    axes = figure.add_axes((0.34, low, 0.56, high - low))
    for place, ending in enumerate(endings):
        color = BLUE if ending.kind == "complete" else ORANGE if ending.kind == "failed" else GREY
        axes.barh(place, ending.epochs, height=0.56, color=color, zorder=2)
        axes.annotate(
            f"{ending.epochs:,}", (ending.epochs, place), (5, 0), textcoords="offset points", va="center", color=INK
        )
    axes.set_yticks(range(len(endings)), [_shortened(ending.short) for ending in endings])
    axes.set_ylim(len(endings) - 0.5, -0.5)
    axes.set_xlim(0, 1.02 * max([ending.epochs for ending in endings], default=1) or 1)
    _style(axes)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("training epochs spent (number)", fontsize=10, color=INK)
    told = "; ".join(f"{ending.short}: {ending.epochs} epochs" for ending in endings)
    return to_svg(figure, "spending", f"Epochs by how their trials ended. {told}")


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def curves_svg(trials: Sequence[TrialRecord], bar: float) -> str | None:
    """Validation accuracy after every epoch of the front's networks; None where nobody recorded any."""
    chosen = [trial for trial in front(trials, bar) if trial.measured]
    if not chosen:
        return None
    if len(chosen) > MOST_CURVES:
        chosen = [chosen[round(i * (len(chosen) - 1) / (MOST_CURVES - 1))] for i in range(MOST_CURVES)]
    figure = _figure(7.2, 3.2)
    axes = figure.add_axes((0.085, 0.165, 0.82, 0.815))
    ends = []
    for index, trial in enumerate(chosen):
        points = [(epoch, 100 * accuracy) for epoch, accuracy in trial.measured]
        first = index == 0
        axes.plot(*zip(*points, strict=True), color=BLUE if first else GREY, linewidth=2 if first else 1.1, zorder=3)
        ends.append((points[-1], f"trial {trial.number}", first))
    low = min(100 * bar - 15, *(end[0][1] - 10 for end in ends))
    axes.set_ylim(max(0.0, low), 100.8)
    axes.set_xlim(0, None)
    axes.axhline(100 * bar, color=ORANGE, linewidth=1.2, zorder=2)
    axes.annotate(f"bar: {percent(bar)}", (0, 100 * bar), (4, 4), textcoords="offset points", color=ORANGE, fontsize=9)
    _label_ends(axes, ends)
    _style(axes)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("epochs, over all phases (number)", fontsize=10, color=INK)
    axes.set_ylabel("accuracy on validation images (%)", fontsize=10, color=INK)
    told = ", ".join(name for _, name, _ in ends)
    return to_svg(figure, "curves", f"Learning curves of {told}")


def _label_ends(axes: Axes, ends: list[tuple[tuple[int, float], str, bool]]) -> None:
    """Names at the curves' ends, moved apart where they would overlap, as little as that takes."""
    low, high = axes.get_ylim()
    step = 0.055 * (high - low)
    ordered = sorted(ends, key=lambda end: end[0][1])
    # Heights that stay `step` apart are heights that do not fall once `step` times their rank is taken off.
    ranks = step * np.arange(len(ordered))
    heights = isotonic_regression([end[0][1] for end in ordered] - ranks).x + ranks
    for place, ((x, _), name, first) in zip(heights, ordered, strict=True):
        color, weight = (BLUE, "bold") if first else (MUTED, "normal")
        style: dict[str, Any] = {"fontsize": 9, "color": color, "fontweight": weight, "annotation_clip": False}
        axes.annotate(name, (x, place), (6, 0), textcoords="offset points", va="center", **style)


def _style(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(color=GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=MUTED)
