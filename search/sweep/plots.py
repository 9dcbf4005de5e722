"""The pictures of a sweep: accuracy against ratio, accuracy against score, and sensitivity by layer.

Colours and marks are the methods' own (`slimfront.search.sweep.methods`); lines of control methods are dashed, and
every line is named where it ends. Methods that remove filters have filled marks, those that remove single
weights have hollow ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter
from slimfront.search.sweep.methods import Shown, shown
from slimfront.spaces.candidate import UNCOMPRESSED
from slimfront.studies.pictures.files import save_picture

KINDS = ("weights", "filters")
INK, MUTED, GRID, GREY = "#222222", "#6b6f76", "#e7e8ea", "#8b8f96"
SHADES = ("#c6dbef", "#9ecae1", "#6baed6", "#3182bd", "#08519c")  # light to dark: little to much

Row = dict[str, Any]


def plot_sweep(summary: dict[str, Any], path: Path) -> None:
    """Accuracy against the share removed, one line a method; before retraining left, after it right."""
    points: list[Row] = summary["points"]
    methods = shown(points)
    halves = [False, True] if any(row["retrained"] for row in points) else [False]
    figure = _figure(5.6 * len(halves) + 1.4, 5.4)
    panels = figure.subplots(1, len(halves), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.075, right=0.86, top=0.83, bottom=0.13, wspace=0.06)
    for axes, retrained in zip(panels, halves, strict=True):
        lines = _lines(points, retrained, "ratio")
        _frame(axes, summary)
        for name, line in lines.items():
            _draw(axes, methods[name], line)
        axes.set_xlabel("share removed (asked for): of the weights, or of each layer's filters", fontsize=10)
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        epochs = summary["retrain_epochs"]
        text = f"after {epochs} epochs of retraining" if retrained else "right after pruning, no retraining"
        axes.set_title(text, loc="left", fontsize=10.5, color=INK)
    panels[0].set_ylabel(f"accuracy on the {summary['split']} images", fontsize=10)
    _name_lines(panels[-1], methods, _lines(points, halves[-1], "ratio"))
    _title(figure, summary, "Accuracy against what pruning removes")
    save_picture(figure, path)


def plot_scores(summary: dict[str, Any], path: Path) -> None:
    """Accuracy against the measured score in the end, on the same axes for single weights and for filters."""
    points: list[Row] = summary["points"]
    methods = shown(points)
    lines = _lines(points, any(row["retrained"] for row in points), "score")
    kinds = [kind for kind in KINDS if any(methods[name].granularity == kind for name in lines)]
    figure = _figure(5.6 * len(kinds) + 1.0, 5.4)
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.08, right=0.88, top=0.83, bottom=0.13, wspace=0.06)
    for axes, kind in zip(panels, kinds, strict=True):
        _frame(axes, summary)
        for name, line in lines.items():
            if methods[name].granularity == kind:
                _draw(axes, methods[name], line)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
        axes.set_xlabel("measured score in float32, log scale (lower is cheaper)", fontsize=10)
        axes.set_title(f"{kind} removed", loc="left", fontsize=10.5, color=INK)
    panels[0].invert_xaxis()  # as in the other picture: more is removed to the right
    panels[0].set_ylabel(f"accuracy on the {summary['split']} images", fontsize=10)
    for axes, kind in zip(panels, kinds, strict=True):
        _name_lines(axes, methods, {name: line for name, line in lines.items() if methods[name].granularity == kind})
    _title(figure, summary, "Accuracy against what the network then costs")
    save_picture(figure, path)


def plot_sensitivity(summary: dict[str, Any], path: Path) -> None:
    """A row a layer: accuracy with only that layer pruned, darker marks for higher shares."""
    kinds = sorted({row["granularity"] for row in summary["sensitivity"]})
    layers = {
        kind: list(dict.fromkeys(row["layer"] for row in summary["sensitivity"] if row["granularity"] == kind))
        for kind in kinds
    }
    ratios = sorted({row["ratio"] for row in summary["sensitivity"]})
    tallest = max(len(names) for names in layers.values())
    figure = _figure(6.2 * len(kinds), 1.9 + 0.24 * tallest)
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    top = 1 - 1.15 / figure.get_figheight()
    bottom = 0.55 / figure.get_figheight()
    figure.subplots_adjust(left=0.14 if len(kinds) > 1 else 0.25, right=0.985, top=top, bottom=bottom, wspace=0.38)
    shades = {ratio: SHADES[round(i * (len(SHADES) - 1) / max(1, len(ratios) - 1))] for i, ratio in enumerate(ratios)}
    for axes, kind in zip(panels, kinds, strict=True):
        _frame(axes, summary, upright=True)
        for place, layer in enumerate(layers[kind]):
            rows = [row for row in summary["sensitivity"] if (row["granularity"], row["layer"]) == (kind, layer)]
            found = [row["accuracy"] for row in rows]
            axes.plot([min(found), max(found)], [place, place], color="#cfd3d8", linewidth=1.2, zorder=1)
            colours = [shades[row["ratio"]] for row in rows]
            axes.scatter(found, [place] * len(found), c=colours, s=30, zorder=2, edgecolors="white", linewidths=0.4)
        axes.set_yticks(range(len(layers[kind])), layers[kind], fontsize=8)
        axes.set_ylim(len(layers[kind]) - 0.4, -0.6)
        axes.set_xlabel(f"accuracy on the {summary['split']} images", fontsize=10)
        what = "filters (with all that go along)" if kind == "filters" else "single weights"
        axes.set_title(f"only this layer's {what} pruned by L1", loc="left", fontsize=10.5, color=INK)
    marks = [
        Line2D([], [], color=shades[ratio], marker="o", linestyle="", label=f"{ratio * 100:g} %") for ratio in ratios
    ]
    figure.legend(handles=marks, loc="upper right", ncols=len(marks), frameon=False, fontsize=9, title="share removed")
    _title(figure, summary, "What each layer can bear, without retraining")
    save_picture(figure, path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=170, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _title(figure: Figure, summary: dict[str, Any], text: str) -> None:
    height = figure.get_figheight()
    seeds = ", ".join(map(str, summary["seeds"]))
    caption = (
        f"{summary['candidate']} on {summary['dataset']}, dense training {summary['epochs']} epochs, seed {seeds}; "
        "grey line: the dense network"
    )
    figure.text(0.012, 1 - 0.33 / height, text, fontsize=13.5, fontweight="bold", color=INK)
    figure.text(0.012, 1 - 0.6 / height, caption, fontsize=9, color=MUTED, parse_math=False)


def _frame(axes: Axes, summary: dict[str, Any], *, upright: bool = False) -> None:
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    (axes.xaxis if upright else axes.yaxis).set_major_formatter(PercentFormatter(1, symbol=" %"))
    dense = next((row["accuracy"] for row in summary[UNCOMPRESSED] if not row["penalty"]), None)
    if dense is not None:
        (axes.axvline if upright else axes.axhline)(dense, color=MUTED, linewidth=1, zorder=0)


def _lines(points: Sequence[Row], retrained: bool, across: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(points, key=lambda row: row["ratio"]):
        if row["retrained"] == retrained:
            found.setdefault(row["method"], []).append((row[across], row["accuracy"]))
    return found


def _draw(axes: Axes, method: Shown, line: list[tuple[float, float]]) -> None:
    hollow = method.granularity == "weights"
    axes.plot(
        [x for x, _ in line],
        [y for _, y in line],
        color=method.colour,
        marker=method.marker,
        markersize=5.5,
        markerfacecolor="white" if hollow else method.colour,
        markeredgewidth=1.4,
        linewidth=1.6,
        linestyle="-" if method.control else "--",
        zorder=3 if method.control else 2,
    )


def _name_lines(axes: Axes, methods: Mapping[str, Shown], lines: dict[str, list[tuple[float, float]]]) -> None:
    """Write each method's name right of where the lines end, pushed apart where names would lie on each other."""
    low, high = axes.get_ylim()
    ends = [axes.transLimits.transform(axes.transScale.transform(line[-1]))[0] for line in lines.values()]
    side = max(ends) + 0.05
    gap = (high - low) * 0.047
    wanted = sorted(((line[-1][1], name) for name, line in lines.items()), reverse=True)
    places: list[float] = []
    for height, _ in wanted:
        places.append(min(height, places[-1] - gap) if places else height)
    overhang = low - (places[-1] if places else low)
    if overhang > 0:  # the lowest would fall out of the picture: move the pile up
        for index in range(len(places) - 1, -1, -1):
            floor = low if index == len(places) - 1 else places[index + 1] + gap
            places[index] = max(places[index], floor)
    for (height, name), place in zip(wanted, places, strict=True):
        x = lines[name][-1][0]
        method = methods[name]
        axes.annotate(
            method.title,
            xy=(x, height),
            xytext=(side, (place - low) / (high - low)),
            textcoords=axes.transAxes,
            fontsize=9,
            color=method.colour if method.control else MUTED,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": method.colour, "linewidth": 0.7, "alpha": 0.6, "shrinkB": 4},
        )
    axes.set_ylim(low, high)
