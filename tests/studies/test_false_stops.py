from __future__ import annotations

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from slimfront.studies.analysis.false_stops import false_stops

BAR = 0.9


def _trial(state: TrialState, values: list[float] | None = None, **attributes: object) -> FrozenTrial:
    return create_trial(state=state, values=values, user_attrs=attributes)


def _numbered(*trials: FrozenTrial) -> list[FrozenTrial]:
    for number, trial in enumerate(trials):
        trial.number = number
    return list(trials)


def test_a_spared_trial_on_the_front_would_have_been_a_false_stop() -> None:
    trials = _numbered(
        _trial(TrialState.COMPLETE, [0.92, 0.05]),
        _trial(TrialState.COMPLETE, [0.91, 0.01], spared={"reason": "below_bar"}),
        _trial(TrialState.COMPLETE, [0.85, 0.001], spared={"reason": "below_bar"}),
        _trial(TrialState.PRUNED, reason="below_bar"),
        _trial(TrialState.PRUNED, reason="dominated"),
        _trial(TrialState.PRUNED, reason="max_score"),
        _trial(TrialState.PRUNED, reason="dominated", copied_from=4),
    )
    found = false_stops(trials, BAR)
    assert (found.stopped, found.spared, found.wrong) == (2, 2, 1)
    assert found.rate == 0.5
    assert 0 < found.cost < 1
    assert str(found).startswith("early stopping: 2 stopped; of 2 spared, stopping 1 would have been false (50%")


def test_without_spared_trials_nothing_is_claimed() -> None:
    found = false_stops(_numbered(_trial(TrialState.PRUNED, reason="below_bar")), BAR)
    assert found.rate is None
    assert found.to_dict()["false_stop_rate"] is None
    assert "not known" in str(found)
    assert false_stops([], BAR).cost == pytest.approx(0)
