from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slimfront.evaluators.scoring.cost import COSTS
from slimfront.evaluators.scoring.costs.file_bytes import FILE_BYTES
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.early_stopping import (
    BELOW_BAR,
    DOMINATED,
    MAX_COST,
    MAX_SCORE,
    Finished,
    Rules,
    Running,
    decide,
    is_spared,
    upper_quantile,
)
from slimfront.search.scheduling.judging import _is_last
from slimfront.spaces import Bits, Pruning, presets, sparsity
from slimfront.studies.settings import SettingsError

BAR = 0.9
EPOCHS = 10


def _curve(final: float) -> dict[tuple[str, int], float]:
    return {("dense", epoch): final - 0.3 * (1 - epoch / EPOCHS) for epoch in range(1, EPOCHS + 1)}


def _finished(trial: int, accuracy: float, score: float, schedule: str = "s") -> Finished:
    return Finished(trial, accuracy, score, {"dense": schedule}, _curve(accuracy))


def _running(final: float, score: float, epoch: int = 5, schedule: str = "s") -> Running:
    return Running(score, schedule, ("dense", epoch), _curve(final)[("dense", epoch)], epoch / EPOCHS)


KNOWN = [_finished(i, 0.88 + 0.005 * i, 0.05 + 0.01 * i) for i in range(10)]  # 0.88..0.925 at 0.05..0.14


def test_a_newcomer_that_dominates_everything_goes_on() -> None:
    assert decide(_running(0.95, 0.01), KNOWN, BAR, Rules()) is None


def test_a_tiny_useless_network_stops() -> None:
    verdict = decide(_running(0.5, 0.0001), KNOWN, BAR, Rules())
    assert verdict is not None
    assert verdict.reason == BELOW_BAR
    assert verdict.bound == pytest.approx(0.5)


def test_a_dominated_network_stops_though_it_clears_the_bar() -> None:
    verdict = decide(_running(0.91, 0.2), KNOWN, BAR, Rules())
    assert verdict is not None
    assert verdict.reason == DOMINATED
    assert "trial" in verdict.text


def test_a_cheaper_network_at_the_bar_goes_on() -> None:
    assert decide(_running(0.901, 0.04), KNOWN, BAR, Rules()) is None


def test_an_infeasible_trial_dominates_nobody() -> None:
    infeasible = [_finished(i, 0.85, 0.001) for i in range(10)]
    verdict = decide(_running(0.91, 0.2), infeasible, BAR, Rules())
    assert verdict is None


def test_too_early_too_few_or_another_schedule_stop_nobody() -> None:
    assert decide(_running(0.5, 0.2, epoch=1), KNOWN, BAR, Rules()) is None
    assert decide(_running(0.5, 0.2), KNOWN[:7], BAR, Rules()) is None
    assert decide(_running(0.5, 0.2, schedule="t"), KNOWN, BAR, Rules()) is None


def test_a_stage_may_recover_from_its_dip() -> None:
    known = [
        Finished(i, 0.92, 0.1, {"bits": "s"}, {("bits", 1): 0.91, ("bits", 2): 0.915, ("bits", 3): 0.92})
        for i in range(10)
    ]
    dip = Running(0.05, "s", ("bits", 1), 0.3, 1 / 3)
    assert decide(dip, known, BAR, Rules()) is None
    late = Running(0.05, "s", ("bits", 2), 0.3, 2 / 3)
    assert decide(late, known, BAR, Rules()) is not None


def test_a_cost_alone_can_be_too_much() -> None:
    """The score has had a word of its own since there was nothing else."""
    for name, reason in ((SCORE.name, MAX_SCORE), (FILE_BYTES.name, MAX_COST)):
        verdict = decide(Running(0.2, "s", costs={name: 5.0}), [], BAR, Rules(bounds={name: 4.9}))
        assert verdict is not None
        assert (verdict.reason, verdict.text) == (reason, f"its {COSTS[name].title} 5 is above 4.9")
        assert decide(Running(0.2, "s", costs={name: 4.9}), [], BAR, Rules(bounds={name: 4.9})) is None
        assert decide(Running(0.2, "s"), [], BAR, Rules(bounds={name: 4.9})) is None  # it is not known yet


def test_who_does_not_know_her_cost_is_dominated_by_nobody() -> None:
    known = dataclasses.replace(_running(0.91, 0.2), cost=None)
    assert decide(known, KNOWN, BAR, Rules()) is None
    hopeless = dataclasses.replace(_running(0.5, 0.2), cost=None)
    verdict = decide(hopeless, KNOWN, BAR, Rules())
    assert verdict is not None
    assert verdict.reason == BELOW_BAR


def test_a_trial_beyond_a_bound_dominates_nobody() -> None:
    beyond = [dataclasses.replace(one, within=False) for one in KNOWN]
    assert decide(_running(0.91, 0.2), KNOWN, BAR, Rules()) is not None
    assert decide(_running(0.91, 0.2), beyond, BAR, Rules()) is None


def test_before_training_only_certainty_counts() -> None:
    perfect = [*KNOWN, _finished(10, 1.0, 0.15)]
    assert decide(Running(0.2, "s"), KNOWN, BAR, Rules()) is None
    verdict = decide(Running(0.2, "s"), perfect, BAR, Rules())
    assert verdict is not None
    assert verdict.reason == DOMINATED
    assert decide(Running(0.2, "s", ceiling=0.92), KNOWN, BAR, Rules()) is not None


@given(
    finals=st.lists(st.floats(0.3, 0.99), min_size=8, max_size=30),
    final=st.floats(0.3, 0.99),
    score=st.floats(0.001, 2),
    epoch=st.integers(1, EPOCHS),
)
def test_what_would_be_on_the_front_is_never_stopped_when_curves_are_alike(
    finals: list[float], final: float, score: float, epoch: int
) -> None:
    generator = random.Random(0)
    known = [_finished(i, value, generator.uniform(0.001, 2)) for i, value in enumerate(finals)]
    matters = final >= BAR and not any(
        other.accuracy >= BAR and other.accuracy >= final and other.cost <= score for other in known
    )
    verdict = decide(_running(final, score, epoch), known, BAR, Rules(quantile=1.0))
    if matters and verdict is not None:
        # Equal curves shifted by a constant: the bound is the truth, to rounding.
        assert verdict.bound == pytest.approx(final, abs=1e-9)
        assert final - BAR < 1e-9 or any(abs(other.accuracy - final) < 1e-9 for other in known)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.floats(0, 1))
def test_quantile_is_one_of_the_values_and_high_enough(values: list[float], share: float) -> None:
    found = upper_quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_about_the_asked_share_is_spared() -> None:
    spared = sum(is_spared(trial, 3, 0.05) for trial in range(10_000))
    assert 400 < spared < 600
    assert not any(is_spared(trial, 3, 0.0) for trial in range(100))
    assert [is_spared(trial, 1, 0.5) for trial in range(50)] != [is_spared(trial, 2, 0.5) for trial in range(50)]


def test_a_cut_without_training_is_judged_where_training_follows() -> None:
    """Only at the very end of a candidate's trainings is there nothing to be saved."""
    pruning = Pruning(sparsity("li_filters", 0.3, 0), sparsity("global_l1", 0.5, 2))
    quantized = dataclasses.replace(presets["digits"], pruning=pruning, bits=Bits.uniform(4, 4, epochs=3))
    assert quantized.phases == {"dense": 20, "filters": 0, "weights": 2, "bits": 3}
    ends = {name: _is_last(quantized, Epoch(name, n, n, 1.0, 0.5, 0.0)) for name, n in quantized.phases.items()}
    assert ends == {"dense": False, "filters": False, "weights": False, "bits": True}
    rounded = dataclasses.replace(quantized, bits=Bits.uniform(4, 4))
    assert _is_last(rounded, Epoch("weights", 2, 2, 1.0, 0.5, 0.0))
    assert not _is_last(rounded, Epoch("weights", 1, 2, 1.0, 0.5, 0.0))


def test_rules_are_checked() -> None:
    with pytest.raises(SettingsError, match=r"early_stopping\.quantile must be in \[0, 1\]"):
        Rules(quantile=1.5)
