from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slimfront.search.proposals.expected_gain import expected_gain
from slimfront.studies.front import area

BAR, REFERENCE = 0.9, 1.99
points = st.lists(st.tuples(st.floats(0.85, 0.99), st.floats(0.001, 1.9)), max_size=8)


@given(points, st.floats(0.85, 0.99), st.floats(0.001, 1.9))
def test_of_a_certain_accuracy_it_is_the_growth_of_the_area(
    known: list[tuple[float, float]], accuracy: float, score: float
) -> None:
    grown = area([*known, (accuracy, score)], BAR, REFERENCE) - area(known, BAR, REFERENCE)
    found = expected_gain(np.array([accuracy]), np.array([0.0]), np.array([score]), known, BAR, REFERENCE)
    assert found[0] == pytest.approx(grown, abs=1e-6)


def test_doubt_is_worth_something_where_certainty_is_worth_nothing() -> None:
    known = [(0.92, 0.01)]
    mean, scores = np.array([0.91, 0.91]), np.array([0.02, 0.02])
    found = expected_gain(mean, np.array([0.0, 0.02]), scores, known, BAR, REFERENCE)
    assert found[0] == 0
    assert found[1] > 0
