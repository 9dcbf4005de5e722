"""How the hours of a search with a supernet are divided, and kept to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slimfront.evaluators.scoring.cost import Rating
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.search.early_stopping import Finished, Rules, Running, decide
from slimfront.search.proposals.drafts import Drafts
from slimfront.search.proposals.proposer import Proposer
from slimfront.search.supernet.pace import Pace
from slimfront.search.supernet.plan import FEW, MANY, RESERVE, Plan, Work, divide, lines
from slimfront.search.supernet.preparation import Preparation
from slimfront.studies.details import CurvePoint
from slimfront.studies.errors import StudyError
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.settings import Settings

WORK = Work({"teacher": 0.0, "supernet": 600.0, "screening": 60.0}, short=60.0, long=400.0)


@given(st.floats(1500, 1e6), st.floats(1, 500), st.none() | st.floats(1, 5000))
def test_every_second_is_given_away_once(seconds: float, short: float, long: float | None) -> None:
    plan = divide(seconds, Work(WORK.before, short, None if long is None else short + long), cores=2)
    assert plan.seconds == pytest.approx(seconds)
    trained = [entry for entry in plan.entries if entry.trials is not None]
    assert sum(entry.seconds for entry in trained) == pytest.approx((1 - RESERVE) * seconds - 660)
    assert trained[-1].trials


def test_hours_that_do_not_suffice_are_refused_with_those_that_do() -> None:
    with pytest.raises(StudyError, match=r"give at least --hours 0\.227") as error:
        divide(700, WORK, cores=2)
    assert "\n" not in str(error.value)
    divide(0.2275 * 3600, WORK, cores=2)


def test_the_plan_in_words() -> None:
    told = "\n".join(lines(divide(7200, WORK, cores=2)))
    assert "plan for 2 h 00 on 2 cores" in told
    assert "there already" in told  # the teacher
    assert MANY in told
    assert FEW in told


def _trial(number: int, seconds: float, epochs: int) -> TrialRecord:
    record = TrialRecord(number, State.COMPLETE, seconds=seconds)
    return record.holding(curve=tuple(CurvePoint("bits", epoch) for epoch in range(epochs + 1)))


def _pace(plan: Plan, **other: Any) -> tuple[Pace, Any]:
    clock: Any = SimpleNamespace(seconds=0.0)
    return Pace(clock, plan, 0.0, epoch=10.0, lengths=(6, 40), work=WORK, **other), clock


def test_short_ones_first_then_long_ones_and_none_that_would_be_cut_off() -> None:
    plan = divide(7200, WORK, cores=2)
    pace, clock = _pace(plan)
    clock.seconds = plan.start(MANY)
    assert (pace.length, pace.is_long, pace.fits()) == (6, False, True)
    clock.seconds = plan.start(FEW)
    assert (pace.length, pace.is_long, pace.fits()) == (40, True, True)
    clock.seconds = 7200 - 300
    assert not pace.fits()


def test_what_is_left_is_divided_anew_before_the_first_trial() -> None:
    """The supernet took an hour instead of ten minutes: there are short trials and long ones all the same."""
    pace, clock = _pace(divide(7200, WORK, cores=2))
    clock.seconds = 3600.0
    pace.begin_trials()
    assert pace.length == 6
    assert pace.plan.seconds == pytest.approx(3600)
    clock.seconds = 3600 + (pace.plan.start(FEW) or 0)
    assert pace.is_long
    clock.seconds = 7190.0
    pace.begin_trials()
    assert not pace.fits()


def test_the_time_that_trials_take_counts() -> None:
    plan = divide(7200, WORK, cores=2)
    pace, clock = _pace(plan)
    clock.seconds = 5500.0
    assert pace.fits()
    pace.learn([_trial(0, 240.0, 6), _trial(1, 360.0, 6)])  # 40 and 60 seconds an epoch
    assert pace.epoch == pytest.approx(55)
    assert not pace.fits()


def test_trials_of_one_length_are_left_to_the_space() -> None:
    pace, clock = _pace(divide(7200, Work(WORK.before, 60.0), cores=2))
    clock.seconds = 700.0
    assert (pace.length, pace.is_long) == (None, False)


def test_long_trials_are_of_networks_that_were_tried_for_short() -> None:
    space = {
        "architecture": {"residual": {"stem_width": 8, "stages": 1, "width": [8, 12, 16, 24], "depth": [1, 2]}},
        "bits": {"weights": [2, 4], "activations": 8, "epochs": [2, 9]},
    }
    settings = Settings(name="s", dataset="digits", space=space, startup_trials=3)
    pace: Any = SimpleNamespace(length=2, is_long=False, learn=lambda _: None)
    preparation = Preparation(Path("supernet"), "0" * 16, pace=pace)
    made = Drafts(settings.make_space())
    proposer = Proposer(settings, made, lambda one: Rating({}, {SCORE.name: 1e-3}), preparation)
    short = []
    for number in range(6):
        draft = proposer.propose(number, [])
        assert draft.candidate.bits.epochs == 2
        known = {
            "state": State.COMPLETE,
            "accuracy": 0.8 + number / 100,
            "score": 1e-3,
            "violation": 0.1 - number / 100,
        }
        record = TrialRecord.begin(number, draft.candidate, inherited=preparation.record, **known)
        record = replace(record, parameters=draft.parameters, distributions=draft.distributions)
        proposer.learn([record.holding(curve=(CurvePoint("dense", 0, 0, accuracy=0.8),))])
        short.append(draft.parameters)
    assert len({str(parameters) for parameters in short}) == 6
    pace.length, pace.is_long = 9, True
    draft = proposer.propose(6, [])
    assert draft.candidate.bits.epochs == 9
    assert {**draft.parameters, "bits.epochs": 2} in short


def test_long_trials_are_not_stopped_for_what_short_ones_came_to() -> None:
    """Neither by their curves nor by the regression; what trained as long does stop them."""
    rules = Rules(least_finished=3)

    def finished(length: int) -> list[Finished]:
        curve = {("dense", 0): 0.7, ("bits", 0): 0.5, ("bits", 1): 0.6}
        traits = {"bits.weights": 2.0}
        one = Finished(0, 0.72, 0.1, {"dense": "d", "bits": "b"}, curve, traits, length=length)
        return [replace(one, trial=trial, network=str(trial)) for trial in range(9)]

    begun = Running(0.1, "d", ("dense", 0), 0.7, 1.0, {"bits.weights": 2.0}, dense=0.7, length=40)
    rounded = replace(begun, schedule="b40", position=("bits", 0), accuracy=0.5, share=0.0)
    for running in (begun, rounded):
        assert decide(running, finished(6), 0.9, rules) is None
        assert decide(running, finished(40), 0.9, rules) is not None
