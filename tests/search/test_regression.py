from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.regression import Regression, encode


def test_it_learns_a_curve_and_knows_what_it_does_not_know() -> None:
    places = np.linspace(0, 1, 12)[:, None]
    targets = np.sin(4 * places[:, 0])
    mean, deviation = Regression(places, targets).predict(np.array([[0.5], [0.93], [6.0]]))
    assert mean[:2] == pytest.approx(np.sin([2.0, 3.72]), abs=0.05)
    assert deviation[2] > 5 * deviation[0]


def test_far_from_everything_it_falls_back_to_its_center() -> None:
    places, targets = np.array([[0.0], [0.1], [0.2], [0.3]]), np.array([-0.3, -0.29, -0.31, -0.3])
    mean, deviation = Regression(places, targets, center=0.0).predict(np.array([[0.15], [500.0]]))
    assert mean[0] == pytest.approx(-0.3, abs=0.02)
    assert abs(mean[1]) < 0.31
    assert deviation[1] > 0.1


def test_errors_are_as_large_as_it_says() -> None:
    generator = np.random.default_rng(0)
    inside = total = 0
    for _ in range(20):
        weights = generator.normal(size=4)
        places = generator.random((30, 4))
        targets = places @ weights + 0.1 * generator.normal(size=30)
        mean, deviation = Regression(places[:20], targets[:20]).predict(places[20:])
        inside += int((np.abs(targets[20:] - mean) <= 1.645 * deviation).sum())
        total += 10
    assert 0.8 <= inside / total <= 0.98  # 90 % expected


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_any_targets_give_finite_predictions(targets: list[float]) -> None:
    features = np.arange(len(targets), dtype=float)[:, None] / 6
    mean, deviation = Regression(features, np.array(targets)).predict(features)
    assert np.isfinite(mean).all()
    assert (deviation > 0).all()


def test_names_become_columns() -> None:
    rows = [
        {"width": 8, "family": "a", "same": 1},
        {"width": 64, "family": "b", "same": 1},
        {"width": 16, "family": "c", "same": 1, "ratio": 0.5},
    ]
    features = encode(rows)
    assert features.min() >= 0
    assert features.max() <= 1
    assert len({tuple(row) for row in features}) == 3
    width = features[:, -1]
    assert width == pytest.approx([0, 1, 1 / 3])  # 8 to 64 on a log scale
    assert encode([{"same": 1}, {"same": 1}]).shape == (2, 0)
