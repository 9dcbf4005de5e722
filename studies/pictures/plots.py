"""The picture of a study for a file: accuracy against cost, the bar, the front, and what others published.

Colours are those of Okabe and Ito, which people with any colour vision tell apart; shapes differ, too. Stopped trials
are drawn where they stopped, hollow, because that is not an accuracy they were trained to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation
from slimfront.evaluators.scoring.cost import CostAxis, in_figures
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.analysis.ladder import Rung, rungs
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign.text import visible
from slimfront.studies.front import Point, counts, front, nearest
from slimfront.studies.pictures.files import save_picture
from slimfront.studies.pictures.labels import MARK, Labels
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.constraint import is_feasible

INK, DARK, MUTED, GRID = "#222222", "#4a4d52", "#6b6f76", "#e7e8ea"
BLUE, SKY, ORANGE, GREY = "#0072B2", "#56B4E9", "#D55E00", "#a8acb3"
LEAST_SPAN = 0.03  # of accuracy below the bar that is always shown
LEGEND = 34  # typographic points from the axes down to the legend: ticks and the axis's name lie in between
LONGEST_TITLE = 66  # characters that go beside each other in large letters
MOST_NAMES = 8  # of the front's trials; of more, only the first and the last are named


def sort_kinds(trials: Sequence[TrialRecord], bar: float) -> tuple[list[TrialRecord], dict[str, list[TrialRecord]]]:
    """The front, and the other finished trials that have a place, as "above" and "below" the bar and "stopped".

    What breaks a bound of the study is among those below the bar.
    """
    best = front(trials, bar)
    on_front = {trial.number for trial in best}
    kinds: dict[str, list[TrialRecord]] = {"stopped": [], "below": [], "above": []}
    for trial in trials:
        if trial.number in on_front or not trial.is_located:
            continue
        if trial.state is State.STOPPED:
            kinds["stopped"].append(trial)
        elif trial.state is State.COMPLETE:
            kinds["above" if is_feasible(trial, bar) else "below"].append(trial)
    return best, kinds


def infeasible(trials: Iterable[TrialRecord]) -> str:
    """What keeps these complete trials off the front, in words."""
    return "below the bar or above a bound" if any(trial.over for trial in trials) else "below the bar"


def percent(share: float, digits: int = 2) -> str:
    """0.9 as "90 %", 0.9123 as "91.23 %"; never rounded up, so that 89.996 % does not pass for 90."""
    scale = 10**digits
    # The small term undoes the rounding of a product such as 0.9123 * 10000 = 9122.999..., far below one image.
    text = f"{math.floor(share * 100 * scale + 1e-7) / scale:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def finding(trials: Sequence[TrialRecord], bar: float, axis: CostAxis = SCORE_AXIS) -> str:
    """The title: what the picture shows, in a sentence."""
    best = front(trials, bar)
    if best:
        accuracy, cost = best[0].point
        verb = " scores" if axis == SCORE_AXIS else f": {axis.title}"
        return f"The cheapest network at or above {percent(bar)}{verb} {axis.told(cost, 3)}, at {percent(accuracy)}"
    close = nearest(trials, 1)
    if close:
        return f"No network reaches {percent(bar)} yet; the nearest one is at {percent(close[0].point[0])}"
    return "No trial has finished yet"


def is_cifar10(trials: Iterable[TrialRecord]) -> bool:
    """Whether the ladder belongs in the picture: its numbers are CIFAR-10's."""
    return {trial.dataset for trial in trials if trial.dataset} == {"cifar10"}


def marks_of(axis: CostAxis) -> tuple[Rung, ...]:
    """The reference ladder, whose networks have a score and nothing else."""
    return rungs() if axis == SCORE_AXIS else ()


def front_plot(
    trials: Sequence[TrialRecord],
    bar: float,
    path: str | Path,
    *,
    name: str = "",
    ladder: bool | None = None,
    axis: CostAxis = SCORE_AXIS,
) -> Path:
    """Draw accuracy against cost as PNG, 2,000 pixels wide, as SVG or as PDF; folders that are missing are made.

    Trials far below the bar are left out and counted at the lower edge. With no trials at all there is still a
    picture, which says so.

    Args:
        trials: All trials of the study.
        bar: Least accuracy, a share in [0, 1].
        path: The file; its ending, .png, .svg or .pdf, says the format.
        name: The study's name, for the line under the title.
        ladder: Whether to mark the reference ladder; None: where every record says that the data are CIFAR-10. Its
            networks have a score; beside another cost there is none.
        axis: The cost, in words.

    Raises:
        OutputError: The file has another ending.
        StudyError: The file cannot be written.
    """
    marks = marks_of(axis) if (is_cifar10(trials) if ladder is None else ladder) else ()
    figure = Figure(figsize=(10, 6.4), dpi=200, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.07, 0.145, 0.905, 0.715))
    draw_front(axes, trials, bar, marks, axis)
    title = finding(trials, bar, axis)
    size = 14 * min(1.0, LONGEST_TITLE / len(title))
    figure.text(0.07, 0.945, title, parse_math=False, fontsize=size, fontweight="bold", color=INK)
    figure.text(0.07, 0.902, _caption(trials, name), fontsize=9.5, color=MUTED, parse_math=False)  # a name may hold $
    target = Path(path)
    try:
        save_picture(figure, target)
    except OSError as error:
        raise StudyError(f"The plot cannot be written to {target}: {error.strerror or error}.") from None
    return target


def _caption(trials: Sequence[TrialRecord], name: str) -> str:
    found = counts(trials)
    words = {"complete": "trained to the end", "pruned": "stopped early", "failed": "failed", "running": "running"}
    parts = [f"{found[key]:,} {text}" for key, text in words.items() if found[key]]
    shown = f"{visible(name, most=60)}: " if name else ""
    return shown + (", ".join(parts) if parts else "no trials")


def _limits(points: Sequence[Point], bar: float, marks: Sequence[Rung]) -> tuple[float, float, float, float]:
    """(lowest cost, highest cost, lowest accuracy, highest accuracy) of the picture."""
    accuracies = [accuracy for accuracy, _ in points]
    top = max([bar, *accuracies, *(mark.high for mark in marks)])
    span = max(LEAST_SPAN, 1.4 * (top - bar))
    if accuracies and max(accuracies) < bar:  # nothing reaches the bar: show how far it is
        span = max(span, 1.4 * (bar - max(accuracies)))
    lowest = min(accuracies, default=bar)
    low = max(0.0, bar - span, min(bar - LEAST_SPAN, lowest - 0.005))
    shown = [cost for accuracy, cost in points if accuracy >= low] + [mark.score for mark in marks]
    shown = shown or [0.01, 1.0]
    left, right = min(shown), max(shown)
    margin = max((right / left) ** 0.06, 1.25)
    return left / margin, right * margin, low, min(1.0, top + 0.12 * (top - low)) if top < 1 else 1.004


def draw_front(
    axes: Axes, trials: Sequence[TrialRecord], bar: float, marks: Sequence[Rung], axis: CostAxis = SCORE_AXIS
) -> None:
    """The whole picture on empty axes of a figure with an Agg canvas; `marks` are the ladder's rungs to show."""
    best, kinds = sort_kinds(trials, bar)
    best_points = [trial.point for trial in best]
    points = [trial.point for kind in kinds.values() for trial in kind] + best_points
    left, right, low, high = _limits(points, bar, marks)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(100 * low, 100 * high)
    _style(axes, axis)

    crowd = 1.0 if len(points) < 150 else 0.6 if len(points) < 600 else 0.35
    styles: dict[str, dict[str, Any]] = {
        "stopped": {"marker": "o", "s": 16 * crowd + 6, "facecolors": "none", "edgecolors": GREY, "linewidths": 0.9},
        "below": {"marker": "x", "s": 18 * crowd + 6, "color": GREY, "linewidths": 1.1},
        "above": {"marker": "o", "s": 24 * crowd + 6, "color": SKY, "linewidths": 0, "alpha": 0.45 + 0.4 * crowd},
    }
    labels = {"stopped": "stopped early (where it stopped)", "above": "at or above the bar"}
    labels["below"] = infeasible(kinds["below"])
    for order, (kind, style) in enumerate(styles.items()):
        if kinds[kind]:
            accuracies, costs = zip(*(trial.point for trial in kinds[kind]), strict=True)
            shares = [100 * accuracy for accuracy in accuracies]
            axes.scatter(costs, shares, label=labels[kind], zorder=2 + order / 10, **style)

    axes.axhline(100 * bar, color=ORANGE, linewidth=1.2, zorder=1.5)
    corners = _draw_front(axes, best_points, right) if best_points else []
    if marks:
        _draw_ladder(axes, marks)
    if not points:
        axes.text(0.5, 0.3, "nothing to show yet", transform=axes.transAxes, ha="center", color=MUTED, fontsize=11)
    shown = [trial.point for kind in kinds.values() for trial in kind if trial.point[0] >= low]
    _name(axes, bar, shown, best, corners, marks, hidden=len(points) - len(best) - len(shown))
    if axes.get_legend_handles_labels()[0]:
        _explain(axes)


def _explain(axes: Axes) -> None:
    """The legend below the axes, in one row, or in two where that would leave the picture."""
    figure = axes.figure
    entries = len(axes.get_legend_handles_labels()[0])
    below = axes.transAxes + ScaledTranslation(0, -LEGEND / 72, figure.dpi_scale_trans)
    for columns in (entries, -(-entries // 2)):
        legend = axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=below,
            borderaxespad=0,
            ncols=columns,
            columnspacing=1.4,
            handletextpad=0.4,
            frameon=False,
            fontsize=9,
        )
        box = legend.get_window_extent()
        if box.x0 >= 0 and box.x1 <= figure.bbox.width:
            break
    for text in legend.get_texts():
        text.set_color(INK)


def nice_ticks(costs: Iterable[float]) -> list[float]:
    """1, 2 and 5 of every decade that the costs span; of many decades only the 1."""
    found = list(costs) or [0.01, 1.0]
    decades = range(math.floor(math.log10(min(found))), math.ceil(math.log10(max(found))) + 1)
    steps = (1, 2, 5) if len(decades) <= 5 else (1,)
    return [float(f"{step}e{decade}") for decade in decades for step in steps]


def _style(axes: Axes, axis: CostAxis) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(which="major", color=GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(FixedLocator(nice_ticks(axes.get_xlim())))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: in_figures(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=MUTED)
    axes.set_xlabel(axis.label, fontsize=10, color=INK, parse_math=False)
    axes.set_ylabel("accuracy on validation images (%)", fontsize=10, color=INK)


def _draw_front(axes: Axes, points: Sequence[Point], right: float) -> list[tuple[float, float]]:
    """A staircase: between two networks the cheaper one is the best there is. Returns its corners."""
    costs = [cost for _, cost in points]
    shares = [100 * accuracy for accuracy, _ in points]
    corners: list[tuple[float, float]] = []
    for index, (cost, share) in enumerate(zip(costs, shares, strict=True)):
        corners += [(cost, share), ([*costs, right][index + 1], share)]
    axes.plot(*zip(*corners, strict=True), color=BLUE, linewidth=1.6, zorder=3)
    axes.scatter(costs, shares, s=46, color=BLUE, edgecolors="white", linewidths=0.8, zorder=4, label="front")
    return corners


def _draw_ladder(axes: Axes, marks: Sequence[Rung]) -> None:
    """Diamonds, hollow where nobody published a log; a line where several accuracies are published."""
    for mark in marks:
        if mark.high > mark.low:
            axes.plot([mark.score] * 2, [100 * mark.low, 100 * mark.high], color=DARK, linewidth=0.9, zorder=3.4)
    for measured in (True, False):
        some = [mark for mark in marks if mark.measured is measured]
        axes.scatter(
            [mark.score for mark in some],
            [100 * mark.accuracy for mark in some],
            marker="D",
            s=20,
            facecolors=DARK if measured else "white",
            edgecolors=DARK,
            linewidths=0.9,
            zorder=3.5,
            label="published (test images)" if measured else "_",
        )


def _name(
    axes: Axes,
    bar: float,
    others: Sequence[Point],
    best: Sequence[TrialRecord],
    corners: Sequence[tuple[float, float]],
    marks: Sequence[Rung],
    hidden: int,
) -> None:
    """All names in the picture, after everything else: bar, what is hidden, trials of the front, ladder."""
    left, right = axes.get_xlim()
    low = axes.get_ylim()[0]
    labels = Labels(axes)
    labels.avoid([(cost, 100 * accuracy) for accuracy, cost in others])
    labels.avoid([(cost, 100 * accuracy) for accuracy, cost in (trial.point for trial in best)], MARK, radius=4)
    labels.avoid([(mark.score, 100 * mark.accuracy) for mark in marks], MARK, radius=4)
    labels.avoid_line([(left, 100 * bar), (right, 100 * bar)])
    if corners:
        labels.avoid_line(list(corners))
    for mark in marks:
        labels.avoid_line([(mark.score, 100 * mark.low), (mark.score, 100 * mark.high)])
    labels.fixed(f"bar: {percent(bar)}", (right, 100 * bar), (-4, 4), color=ORANGE, fontsize=9, ha="right")
    if hidden:
        text = f"{hidden:,} {'trial' if hidden == 1 else 'trials'} below {low:.3g} % not shown"
        labels.fixed(text, (right, low), (-4, 5), color=MUTED, fontsize=8.5, ha="right")
    for trial in best if len(best) <= MOST_NAMES else (best[0], best[-1]):
        accuracy, cost = trial.point
        labels.add(f"trial {trial.number}", (cost, 100 * accuracy), color=BLUE, fontsize=8.5, fontweight="bold")
    for mark in marks:
        text = mark.label if mark.measured else f"{mark.label} (claimed)"
        labels.add(text, (mark.score, 100 * mark.accuracy), color=DARK, fontsize=8)
    labels.place()
