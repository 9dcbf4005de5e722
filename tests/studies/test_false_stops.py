from __future__ import annotations

from typing import Any

import pytest
from slimfront.studies.analysis.false_stops import false_stops
from slimfront.studies.record import State, TrialRecord

BAR = 0.9


def _trial(
    number: int, state: State, accuracy: float | None = None, score: float | None = None, **known: Any
) -> TrialRecord:
    return TrialRecord(number, state, accuracy=accuracy, score=score, **known)


def test_a_spared_trial_on_the_front_would_have_been_a_false_stop() -> None:
    trials = [
        _trial(0, State.COMPLETE, 0.92, 0.05),
        _trial(1, State.COMPLETE, 0.91, 0.01, spared={"reason": "below_bar"}),
        _trial(2, State.COMPLETE, 0.85, 0.001, spared={"reason": "below_bar"}),
        _trial(3, State.STOPPED, reason="below_bar"),
        _trial(4, State.STOPPED, reason="dominated"),
        _trial(5, State.STOPPED, reason="max_score"),
        _trial(6, State.STOPPED, reason="dominated", copied_from=4),
    ]
    found = false_stops(trials, BAR)
    assert (found.stopped, found.spared, found.wrong) == (2, 2, 1)
    assert found.rate == 0.5
    assert 0 < found.cost < 1
    assert str(found).startswith("early stopping: 2 stopped; of 2 spared, stopping 1 would have been false (50%")


def test_without_spared_trials_nothing_is_claimed() -> None:
    found = false_stops([_trial(0, State.STOPPED, reason="below_bar")], BAR)
    assert found.rate is None
    assert found.to_dict()["false_stop_rate"] is None
    assert "not known" in str(found)
    assert false_stops([], BAR).cost == pytest.approx(0)
