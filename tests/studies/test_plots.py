from __future__ import annotations

import random
from pathlib import Path

import matplotlib.pyplot
import pytest
from made_trials import BAR, made_trial
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from slimfront.studies.analysis.ladder import rungs
from slimfront.studies.errors import StudyError
from slimfront.studies.pictures.labels import Labels
from slimfront.studies.pictures.plots import draw_front, finding, front_plot, nice_ticks, percent, sort_kinds
from slimfront.studies.record import State, TrialRecord


def many(count: int, seed: int = 0, best: float = 0.95) -> list[TrialRecord]:
    numbers = random.Random(seed)
    states = [State.COMPLETE, State.COMPLETE, State.STOPPED]
    return [
        made_trial(i, round(best - 0.2 * numbers.random(), 4), 10 ** numbers.uniform(-2.5, 0), numbers.choice(states))
        for i in range(count)
    ]


@pytest.mark.parametrize(("count", "ladder"), [(0, True), (1, False), (2, True), (40, False), (300, True)])
def test_a_picture_of_any_number_of_trials(tmp_path: Path, count: int, ladder: bool) -> None:
    path = front_plot(many(count), 0.9, tmp_path / "deep" / "front.png", name="a study", ladder=ladder)
    image = imread(path)
    assert image.shape[:2] == (1280, 2000)
    assert image[..., :3].std() > 0.02  # something is drawn
    assert matplotlib.pyplot.get_fignums() == []  # no global state


@pytest.mark.parametrize(
    "trials",
    [
        many(20, best=0.7),
        [made_trial(0, 1.0, 0.1)],
        [made_trial(0, 0.9, 0.1)],
        [made_trial(0, 0.0, 1e-9)],
        [made_trial(i, 0.95, 0.1) for i in range(3)],
        [TrialRecord(0, State.FAILED), TrialRecord(1, State.RUNNING)],
        [made_trial(0, 0.95, 0.1, foreign=True), made_trial(1, 0.5, 0.1, State.STOPPED, foreign=True)],
    ],
    ids=["nothing feasible", "perfect", "at the bar", "useless", "equal", "unfinished", "foreign"],
)
def test_unusual_studies(tmp_path: Path, trials: list[TrialRecord]) -> None:
    assert front_plot(trials, 0.9, tmp_path / "front.png").stat().st_size > 10_000


def test_a_name_is_text_and_not_mathematics(tmp_path: Path) -> None:
    path = front_plot(many(5), 0.9, tmp_path / "front.png", name=r"$\frac{1}$ " + "x" * 300)
    assert path.stat().st_size > 10_000  # drawn: as mathematics, the name would raise


def test_a_plot_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        front_plot([], 0.9, tmp_path / "file" / "front.png")


def test_kinds_of_trials_are_told_apart() -> None:
    trials = [made_trial(0, 0.95, 0.1), made_trial(1, 0.94, 0.2), made_trial(2, 0.8, 0.1)]
    trials += [made_trial(3, 0.99, 0.001, State.STOPPED), made_trial(4, 0.99, 0.001, State.FAILED)]
    best, kinds = sort_kinds(trials, 0.9)
    assert [trial.number for trial in best] == [0]
    found = {kind: [trial.number for trial in some] for kind, some in kinds.items()}
    assert found == {"stopped": [3], "below": [2], "above": [1]}


def test_the_title_says_what_was_found() -> None:
    assert "scores 0.1, at 95 %" in finding([made_trial(0, 0.95, 0.1), made_trial(1, 0.96, 0.2)], 0.9)
    assert finding([made_trial(0, 0.8999, 0.1)], 0.9) == "No network reaches 90 % yet; the nearest one is at 89.99 %"
    assert finding([], 0.9) == "No trial has finished yet"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9, "90 %"), (0.89999, "89.99 %"), (0.9123, "91.23 %"), (1.0, "100 %"), (0.0, "0 %"), (0.29, "29 %")],
)
def test_percent_never_rounds_up(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize("images", [297, 5000, 10_000])
def test_percent_is_right_for_every_count_of_images(images: int) -> None:
    for hits in range(images + 1):
        shown = float(percent(hits / images).removesuffix(" %"))
        assert shown == 10_000 * hits // images / 100


def test_ticks_are_round_and_cover_the_range() -> None:
    assert nice_ticks([0.011, 0.3]) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    assert nice_ticks([1e-8, 1.0])[0] == 1e-8
    assert nice_ticks([])


def test_names_do_not_cover_each_other_or_marks() -> None:
    figure = Figure(figsize=(6, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    points = [(0.5 + 0.02 * (i % 3), 0.5 + 0.03 * (i // 3)) for i in range(6)]
    labels = Labels(axes)
    labels.avoid(points, cost=20)
    for index, point in enumerate(points):
        labels.add(f"network {index}", point, color="black", fontsize=8)
    labels.place()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
    assert not any(box.contains(*axes.transData.transform(point)) for box in boxes for point in points)


def test_the_legend_stays_in_a_narrow_picture() -> None:
    """All five kinds of marks, as wide as a report's column."""
    trials = [
        made_trial(0, 0.95, 0.02),
        made_trial(1, 0.94, 0.05),
        made_trial(2, 0.80, 0.03),
        made_trial(3, 0.70, 0.01, State.STOPPED),
    ]
    figure = Figure(figsize=(7.2, 4.4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.085, 0.215, 0.905, 0.77))
    draw_front(axes, trials, BAR, rungs())
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 5
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y0 >= 0
