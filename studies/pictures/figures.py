"""Figures for optuna-dashboard (plotly): accuracy against cost, and learning curves.

The dashboard draws a figure exactly as it was stored, on white or on black, as the user likes: so the background is
transparent and text is of a grey that can be read on both. A figure is stored in the study in pieces of 2,045
characters, each a write of its own: numbers are rounded, the template is left out, and the crowd is thinned (the front
never is).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from slimfront.evaluators.scoring.cost import CostAxis, in_figures
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.foreign.text import plotly_label
from slimfront.studies.front import Point, front
from slimfront.studies.pictures.plots import (
    CUTS,
    GREY,
    LEAST_SPAN,
    ORANGE,
    SKY,
    finding,
    infeasible,
    nice_ticks,
    percent,
    sort_kinds,
)
from slimfront.studies.record import State, TrialRecord

TEXT = "#7f858d"  # 3.7 : 1 on white, 4.4 : 1 on the dashboard's dark background
LINES = "rgba(127, 133, 141, 0.25)"
MOST_POINTS = 300  # of each kind but the front: the latest
MOST_CURVES = 12  # of the front's trials, and of the latest
MOST_EPOCHS = 100  # points of a curve
BRIGHT_BLUE = "#1f8ad0"  # 3.6 : 1 on white, 4.6 : 1 on dark


def front_figure(
    trials: Sequence[TrialRecord], bar: float, axis: CostAxis = SCORE_AXIS, cloud: Sequence[Point] = ()
) -> go.Figure:
    """Accuracy (%) against cost (log axis): the front joined, the bar, and all other finished trials by kind.

    The trace named "front" holds exactly the front's trials, in the front's order; `customdata` are trial numbers.
    `cloud` are networks that are no trials, cuts of a supernet: small and grey, behind everything.
    """
    best, kinds = sort_kinds(trials, bar)
    styles: dict[str, tuple[str, dict[str, Any]]] = {
        "stopped": ("stopped early", {"symbol": "circle-open", "color": GREY, "size": 6}),
        "below": (infeasible(kinds["below"]), {"symbol": "x-thin", "size": 6, "line": {"width": 1.2, "color": GREY}}),
        "above": ("above the bar", {"symbol": "circle", "color": SKY, "size": 6, "opacity": 0.7}),
    }
    figure = go.Figure(layout=layout(plotly_label(finding(trials, bar, axis), most=200)))
    if cloud:
        hover = f"a cut of the supernet, untrained<br>{_at(axis)}"
        marker = {"symbol": "circle", "color": GREY, "size": 3, "opacity": 0.5}
        figure.add_trace(_scatter(CUTS, cloud, hovertemplate=hover, mode="markers", marker=marker))
    for kind, (name, marker) in styles.items():
        some = kinds[kind][-MOST_POINTS:]
        if some:
            shown = name if len(some) == len(kinds[kind]) else f"{name} (last {len(some)} of {len(kinds[kind])})"
            figure.add_trace(_trace(shown, some, axis, mode="markers", marker=marker))
    figure.add_trace(
        _trace(
            "front",
            best,
            axis,
            mode="lines+markers",
            marker={"color": BRIGHT_BLUE, "size": 10, "line": {"color": "white", "width": 1}},
            line={"color": BRIGHT_BLUE, "width": 2, "shape": "hv"},
        )
    )
    _add_bar(figure, bar)
    every = [trial.point for trial in (*kinds["stopped"], *kinds["below"], *kinds["above"], *best)]
    ticks = nice_ticks([cost for _, cost in every])
    figure.update_xaxes(
        type="log",
        title_text=plotly_label(axis.label, most=200),
        tickvals=ticks,
        ticktext=[in_figures(tick) for tick in ticks],
    )
    figure.update_yaxes(title_text="accuracy on validation images (%)", range=_range(every, bar))
    return figure


def _trace(name: str, trials: Sequence[TrialRecord], axis: CostAxis, **style: Any) -> go.Scatter:
    numbers = [trial.number for trial in trials]
    hover = f"trial %{{customdata}}<br>{_at(axis)}"
    return _scatter(name, [trial.point for trial in trials], customdata=numbers, hovertemplate=hover, **style)


def _at(axis: CostAxis) -> str:
    """Where a point is, as the dashboard shows it under the pointer."""
    title, unit, figures = plotly_label(axis.title), plotly_label(axis.unit), ".4g" if axis.corner < 1e4 else ",.0f"
    return f"{title} %{{x:{figures}}} {unit}<br>accuracy %{{y:.2f}} %<extra></extra>"


def _scatter(name: str, points: Sequence[Point], **style: Any) -> go.Scatter:
    costs = [float(f"{cost:.4g}") for _, cost in points]
    return go.Scatter(name=name, x=costs, y=[round(100 * accuracy, 3) for accuracy, _ in points], **style)


def _range(points: Sequence[tuple[float, float]], bar: float) -> list[float]:
    """From well below the bar to the best accuracy: what lies deeper is a scroll of the wheel away."""
    accuracies = [accuracy for accuracy, _ in points]
    top = max([bar, *accuracies])
    low = bar - max(LEAST_SPAN, 1.4 * (top - bar))
    if accuracies and max(accuracies) < bar:
        low = min(low, max(accuracies) - 0.4 * (bar - max(accuracies)))
    margin = 0.06 * (top - low)
    return [round(100 * max(low, -0.01), 2), round(100 * (top + margin), 2)]


def curves_figure(trials: Sequence[TrialRecord], bar: float) -> go.Figure:
    """Validation accuracy (%) after every epoch, of the front's trials and of the latest that were trained."""
    on_front = {trial.number for trial in front(trials, bar)}
    best = _latest_trained([trial for trial in trials if trial.number in on_front])
    others = [trial for trial in _latest_trained(trials) if trial.number not in on_front]
    styles: dict[str, tuple[list[TrialRecord], dict[str, Any]]] = {
        "stopped early": ([t for t in others if t.state is State.STOPPED], {"color": GREY, "dash": "dot"}),
        "other latest trials": ([t for t in others if t.state is not State.STOPPED], {"color": GREY, "width": 1.2}),
        "front": (best, {"color": BRIGHT_BLUE, "width": 2}),
    }
    figure = go.Figure(layout=layout("Learning curves of the front and of the latest trials"))
    for name, (some, line) in styles.items():
        for index, trial in enumerate(some):
            shares = _curve(trial)
            step = -(-len(shares) // MOST_EPOCHS)
            score = trial.score
            figure.add_trace(
                go.Scatter(
                    name=name,
                    legendgroup=name,
                    showlegend=index == 0,
                    x0=step,  # so that the last epoch of each interval is shown
                    dx=step,
                    y=shares[step - 1 :: step],
                    mode="lines+markers" if len(shares) <= 2 else "lines",
                    line=line,
                    hovertemplate=f"trial {trial.number}{'' if score is None else f', score {score:.4g}'}<br>"
                    "epoch %{x}<br>accuracy %{y:.2f} %<extra></extra>",
                )
            )
    _add_bar(figure, bar, "top left")  # curves end at the bar, and start far below it
    figure.update_xaxes(title_text="epochs, over all phases", rangemode="tozero")
    figure.update_yaxes(title_text="accuracy on validation images (%)")
    return figure


def _add_bar(figure: go.Figure, bar: float, label: str = "top right") -> None:
    figure.add_hline(
        y=100 * bar,
        line={"color": ORANGE, "width": 1.5},
        annotation={"text": f"bar: {percent(bar)}", "font": {"color": ORANGE, "size": 12}},
        annotation_position=label,
    )


def _latest_trained(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The latest MOST_CURVES that have a curve, in their order; no more curves are loaded than that takes."""
    trained = (trial for trial in reversed(trials) if _curve(trial))
    return list(itertools.islice(trained, MOST_CURVES))[::-1]


def _curve(trial: TrialRecord) -> list[float | None]:
    """Accuracies in percent, one an epoch; empty where the trial has no record of them."""
    shares = [None if point.accuracy is None else round(100 * point.accuracy, 3) for point in trial.curve]
    return [] if all(share is None for share in shares) else shares


def layout(title: str) -> dict[str, Any]:
    """What all figures share."""
    axis = {"gridcolor": LINES, "linecolor": LINES, "zeroline": False, "automargin": True, "title_font": {"size": 13}}
    return {
        "template": "none",  # the default one alone is seven thousand characters
        "title": {"text": title, "x": 0.02, "xanchor": "left", "font": {"size": 16, "color": TEXT}},
        "font": {"color": TEXT, "size": 12},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "xaxis": axis,
        "yaxis": axis,
        "legend": {"orientation": "h", "y": -0.2, "x": 0},
        "margin": {"l": 60, "r": 45, "t": 50, "b": 60},
        # Upright at the right edge: across the top it would cover the title.
        "modebar": {"orientation": "v", "bgcolor": "rgba(0, 0, 0, 0)", "color": LINES, "activecolor": TEXT},
        "hovermode": "closest",
    }
