"""More figures for optuna-dashboard: where the epochs went, and which parameters matter. As `figures`."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.analysis.importance import LEAST_TRIALS, importances
from slimfront.studies.analysis.spending import endings
from slimfront.studies.foreign.text import plotly_label
from slimfront.studies.pictures.figures import BRIGHT_BLUE, layout
from slimfront.studies.pictures.plots import GREY, ORANGE
from slimfront.studies.record import TrialRecord

MOST_PARAMETERS = 12


def spending_figure(trials: Sequence[TrialRecord]) -> go.Figure:
    """Epochs (number) by how their trials ended, one bar each; hover: trials, epochs saved."""
    found = [ending for ending in endings(trials) if ending.epochs or ending.planned]
    spent = sum(ending.epochs for ending in found)
    planned = sum(ending.planned for ending in found if ending.kind != "open")
    saved = f", {100 * (1 - spent / planned):.0f} % saved" if planned > spent else ""
    title = (
        f"Where the epochs went: {spent:,} trained{saved}" if found else "Where the epochs went: nothing trained yet"
    )
    colors = {"complete": BRIGHT_BLUE, "failed": ORANGE}
    figure = go.Figure(layout=layout(title))
    figure.add_trace(
        go.Bar(
            name="epochs",
            orientation="h",
            width=0.6,
            x=[ending.epochs for ending in found],
            y=[ending.short for ending in found],
            customdata=[[ending.trials, max(0, ending.planned - ending.epochs)] for ending in found],
            marker={"color": [colors.get(ending.kind, GREY) for ending in found]},
            text=[f"{ending.epochs:,}" for ending in found],
            textposition="auto",
            hovertemplate="%{y}<br>%{x} epochs, %{customdata[0]} trials<br>%{customdata[1]} not trained<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="training epochs (number)", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", title_text="")
    return figure


def importance_figure(trials: Sequence[TrialRecord], bar: float, axis: CostAxis = SCORE_AXIS) -> go.Figure:
    """Share (%) of the differences in accuracy, and in cost, that each parameter explains."""
    importance = importances(trials, bar)
    found = dict(list(importance.shares.items())[:MOST_PARAMETERS])
    which = f"{importance.trials} trials at or above the bar" if importance.feasible else "all complete trials"
    known = which if found else f"known from {LEAST_TRIALS} complete trials on"
    title = f"Which parameters matter: {known}"
    figure = go.Figure(layout=layout(title))
    cost = f"for {plotly_label(axis.title)}"
    for index, (name, color) in enumerate((("for accuracy", BRIGHT_BLUE), (cost, GREY))):
        figure.add_trace(
            go.Bar(
                name=name,
                orientation="h",
                x=[round(100 * shares[index], 1) for shares in found.values()],
                y=[plotly_label(parameter) for parameter in found],
                marker={"color": color},
                hovertemplate="%{y}<br>%{x} % of the differences<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(barmode="group")
    figure.update_xaxes(title_text="share of the differences explained (%)", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", title_text="")
    return figure
