from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.search.proposals.regression import Array, Regression, encode


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


def _encoded_one_by_one(rows: Sequence[Mapping[str, Any]]) -> Array:
    """`encode` as its docstring reads, value by value."""
    columns: list[list[float]] = []
    for name in sorted({name for row in rows for name in row}):
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            columns.append([float(value is not None) for value in values])
        if any(isinstance(value, bool | str) for value in known):
            words = sorted({repr(value) for value in known})
            shown = {1: [], 2: words[1:]}.get(len(words), words)
            columns += [[float(value is not None and repr(value) == word) for value in values] for word in shown]
        elif max(known) > min(known):
            log = min(known) > 0 and max(known) >= 4 * min(known)
            scaled = [value if value is None or not log else float(np.log(value)) for value in values]
            low, high = (math.log(end) if log else end for end in (min(known), max(known)))
            columns.append([0.5 if value is None else (value - low) / (high - low) for value in scaled])
    return np.array(columns, float).T if columns else np.zeros((len(rows), 0))


_VALUES = {
    "number": st.one_of(st.integers(-3, 90), st.floats(0.01, 50)),
    "word": st.sampled_from(["a", "b", "c"]),
    "truth": st.booleans(),
}


@given(st.lists(st.fixed_dictionaries({}, optional=_VALUES), min_size=1, max_size=12))
def test_features_are_those_of_each_value_by_itself(rows: list[dict[str, Any]]) -> None:
    expected = _encoded_one_by_one(rows)
    assert encode(rows).shape == expected.shape
    assert encode(rows) == pytest.approx(expected, abs=1e-12)


def test_a_number_of_numpys_is_a_number() -> None:
    assert encode([{"x": np.float64(0.1)}, {"x": 0.2}, {"x": 0.4}]).shape == (3, 1)


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
