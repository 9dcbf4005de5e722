from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go
import pytest
from made_trials import made_trial
from slimfront.studies.details import CurvePoint
from slimfront.studies.front import front
from slimfront.studies.pictures.figures import MOST_POINTS, curves_figure, front_figure
from slimfront.studies.record import State, TrialRecord
from test_plots import many


def trace(figure: go.Figure, name: str) -> dict[str, Any]:
    (found,) = [trace for trace in json.loads(figure.to_json())["data"] if trace.get("name", "").startswith(name)]
    return found


@pytest.mark.parametrize("count", [0, 1, 30, 2000])
def test_the_front_trace_holds_exactly_the_front(count: int) -> None:
    trials = many(count)
    shown = trace(front_figure(trials, 0.9), "front")
    best = front(trials, 0.9)
    assert shown["customdata"] == [trial.number for trial in best]
    assert shown["x"] == pytest.approx([trial.point[1] for trial in best], rel=1e-3)
    assert shown["y"] == pytest.approx([100 * trial.point[0] for trial in best], abs=1e-3)


def test_a_figure_stays_small_however_many_trials() -> None:
    figure = front_figure(many(2000), 0.9)
    assert len(figure.to_json()) < 20 * 2045
    below = trace(figure, "below the bar")
    assert len(below["x"]) == MOST_POINTS
    assert f"last {MOST_POINTS} of" in below["name"]
    assert "bdata" not in figure.to_json()


def test_cuts_of_a_supernet_lie_behind_the_trials() -> None:
    drawn = json.loads(front_figure(many(5), 0.9, cloud=[(0.912345, 0.0123456), (0.5, 0.02)]).to_json())["data"]
    assert drawn[0]["name"] == "cuts of the supernet"
    assert (drawn[0]["x"], drawn[0]["y"]) == ([0.01235, 0.02], [91.234, 50.0])
    assert "cuts of the supernet" not in {
        trace["name"] for trace in json.loads(front_figure(many(5), 0.9).to_json())["data"]
    }


def test_it_can_be_read_on_light_and_on_dark() -> None:
    layout = json.loads(front_figure(many(5), 0.9).to_json())["layout"]
    assert layout["paper_bgcolor"].endswith(", 0)")
    assert layout["plot_bgcolor"].endswith(", 0)")
    assert layout["xaxis"]["type"] == "log"
    assert "%" in layout["yaxis"]["title"]["text"]


def test_curves_of_the_front_and_of_the_latest() -> None:
    trials = many(40)
    figure = curves_figure(trials, 0.9)
    names = [line.name for line in figure.data]
    assert {"front", "other latest trials", "stopped early"} == set(names)
    best = {trial.number for trial in front(trials, 0.9)}
    drawn = {line.hovertemplate.split("<")[0].split(",")[0] for line in figure.data if line.name == "front"}
    assert drawn == {f"trial {number}" for number in best}
    assert list(figure.data[0].y) == [30.0, 60.0, 90.0]


def test_long_curves_are_thinned_and_end_at_their_last_epoch() -> None:
    curve = tuple(CurvePoint("dense", e, accuracy=e / 1000) for e in range(1, 1001))
    (line, *_) = curves_figure([made_trial(0, 0.95, 0.1, curve=curve)], 0.9).data
    assert len(line.y) == 100
    assert (line.x0 + line.dx * (len(line.y) - 1), line.y[-1]) == (1000, 100.0)


def test_trials_without_curves_are_left_out() -> None:
    trials = [made_trial(0, 0.95, 0.1, foreign=True), TrialRecord(1, State.FAILED)]
    assert len(curves_figure(trials, 0.9).data) == 0
