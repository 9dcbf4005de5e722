"""What is proposed next, on made-up studies whose accuracies follow from the candidate."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from slimfront.evaluators.scoring.cost import Rating
from slimfront.evaluators.scoring.costs.file_bytes import FILE_BYTES
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.search.proposals.drafts import Drafts, allows, drawn
from slimfront.search.proposals.expected_gain import expected_gain
from slimfront.search.proposals.proposer import COMPRESSIONS, Proposer, compression_epochs
from slimfront.search.proposals.regression import Array
from slimfront.search.proposals.sampling import Sampling
from slimfront.spaces import Candidate, Space
from slimfront.studies.details import CurvePoint
from slimfront.studies.front import Point, area, non_dominated
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.sampling import SAMPLERS
from slimfront.studies.settings import Settings

BAR = 0.9
SPACE = Space(
    {
        "architecture": {
            "residual": {"stem_width": 8, "stages": 1, "width": [8, 12, 16, 24, 32, 48, 64], "depth": [1, 2, 3]}
        },
        "bits": {"weights": [2, 3, 4, 8], "activations": [3, 4, 8], "epochs": 4},
        "recipe": {"epochs": 20},
    }
)


def _accuracy(candidate: Candidate) -> tuple[float, float]:
    """(of the dense network, final)"""
    dense = 0.96 - 0.8 / candidate.architecture.widths[0] / candidate.architecture.depths[0]
    return dense, dense - 0.1 / candidate.bits.weights[0] - 0.05 / candidate.bits.activations[0]


def _score(candidate: Candidate) -> float:
    architecture, bits = candidate.architecture, candidate.bits
    return 1e-4 * architecture.widths[0] * architecture.depths[0] * max(bits.weights[0], bits.activations[0])


class _Study:
    """Trials as a store keeps them, and a proposer that is told of them."""

    def __init__(
        self, sampler: str = "tpe", startup: int = 6, space: Space = SPACE, seed: int = 0, **settings_: Any
    ) -> None:
        given = {"sampler": sampler, "startup_trials": startup, "seed": seed, **settings_}
        settings = Settings(name="s", dataset="digits", space=space.written, bar=BAR, **given)
        self.proposer = Proposer(settings, Drafts(space), lambda one: Rating({}, {SCORE.name: _score(one)}))
        self.trials: list[TrialRecord] = []
        self._told = 0

    def propose(self, running: Sequence[Candidate] = (), number: int | None = None) -> Candidate:
        """What is proposed as the trial of this number, the next one where it is None."""
        self.proposer.learn(self.trials[self._told :])
        self._told = len(self.trials)
        number = len(self.trials) if number is None else number
        records = [TrialRecord.begin(1000 + place, candidate) for place, candidate in enumerate(running)]
        return self.proposer.propose(number, records).candidate

    def add(self, candidate: Candidate, state: State = State.COMPLETE, **known: Any) -> None:
        dense, final = _accuracy(candidate)
        parameters = SPACE.parameters(candidate)
        record = TrialRecord.begin(len(self.trials), candidate).holding(
            curve=tuple(CurvePoint("dense", epoch, 20, accuracy=dense) for epoch in range(1, 21))
        )
        values: dict[str, Any] = {
            "state": state,
            "parameters": parameters,
            "distributions": {name: _distribution(name) for name in parameters},
            "accuracy": final,
            "score": _score(candidate),
            "violation": BAR - final,
        }
        self.trials.append(replace(record, **(values | known)))


def _distribution(name: str) -> CategoricalDistribution:
    keys = {"residual.width.0": "architecture.residual.width", "residual.depth.0": "architecture.residual.depth"}
    return CategoricalDistribution(SPACE.domain(keys.get(name, name)).choices)


def _run(study: _Study, trials: int) -> list[Candidate]:
    found = []
    for _ in range(trials):
        candidate = study.propose()
        study.add(candidate)
        found.append(candidate)
    return found


def test_a_dense_network_is_compressed_several_times() -> None:
    found = _run(_Study(), 6)
    assert len({candidate.digest for candidate in found}) == 6
    assert set(Counter(candidate.uncompressed_digest for candidate in found).values()) == {COMPRESSIONS}


def test_trainings_are_shared_and_the_front_is_found() -> None:
    everything = [SPACE.sample(optuna.trial.FixedTrial({**a, **b})) for a in _DENSE for b in _BITS]
    whole = area([(_accuracy(c)[1], _score(c)) for c in everything], BAR)
    shares = []
    for seed in range(3):
        found = _run(_Study(startup=9, seed=seed), 22)
        assert len({candidate.digest for candidate in found}) == 22
        networks = Counter(candidate.uncompressed_digest for candidate in found)
        assert 3 <= len(networks) <= 16
        shares.append(area([(_accuracy(c)[1], _score(c)) for c in found], BAR) / whole)
    assert statistics.median(shares) >= 0.97  # of the hypervolume of all 252, by 22 of them


def _bytes(candidate: Candidate) -> float:
    """Made up, and known when a network is finished: few for wide weights, where the score is high."""
    return 1e4 / _score(candidate)


def test_a_cost_that_is_known_at_the_end_only_is_predicted() -> None:
    """The front is looked for along that cost, and what breaks a bound on it is not tried again and again."""
    study = _Study(startup=9, cost=FILE_BYTES.name)
    bounded = _Study(startup=9, max={FILE_BYTES.name: 3e5})
    for _ in range(24):
        for one in (study, bounded):
            candidate = one.propose()
            value, over = _bytes(candidate), {}
            if one is bounded and value > 3e5:
                over = {FILE_BYTES.name: 3e5}
            one.add(candidate, objective=FILE_BYTES.name * (one is study), costs={FILE_BYTES.name: value}, over=over)
    learned, late = study.trials[12:], bounded.trials[12:]
    assert statistics.median([float(one.cost or 0) for one in learned]) < 2e5  # of all 252: 4e5
    assert sum(not one.over for one in late) >= 9  # of 12; of all candidates 63 % break the bound


def test_what_fails_by_itself_is_not_proposed_again() -> None:
    study = _Study()
    _run(study, 9)
    next_one = study.propose(number=50)
    for reason, again in (("out_of_memory", True), ("loss_not_finite", False)):
        study.add(next_one, State.FAILED, reason=reason)
        assert (study.propose(number=50).digest == next_one.digest) is again


def test_with_a_single_dense_network_the_compressions_are_chosen_by_what_was_learned() -> None:
    written = dict(SPACE.written)
    space = Space({**written, "architecture": {"residual": {"stem_width": 8, "stages": 1, "width": 32, "depth": 2}}})
    study = _Study(space=space)
    found = _run(study, 12)  # of 12: none twice, none missing
    assert len({candidate.digest for candidate in found}) == 12


def test_the_front_that_gains_are_measured_against_has_no_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimfront.search.proposals.proposer.MOST", 6)
    fronts: list[Sequence[Point]] = []

    def noted(
        mean: Array, deviation: Array, scores: Array, front: Sequence[tuple[float, float]], *rest: float
    ) -> Array:
        fronts.append(front)
        return expected_gain(mean, deviation, scores, front, *rest)

    monkeypatch.setattr("slimfront.search.proposals.proposer.expected_gain", noted)
    study = _Study()
    _run(study, 12)
    study.propose()
    points = [record.point for record in study.trials]
    assert len(points) > 6
    assert list(fronts[-1]) == [points[index] for index in non_dominated(points)]


@given(st.data())
def test_values_at_random_are_those_of_the_distribution(data: st.DataObject) -> None:
    low = data.draw(st.integers(1, 40))
    high = low + data.draw(st.integers(0, 60))
    step = data.draw(st.integers(1, 7))
    whole = IntDistribution(low, low + (high - low) // step * step, step=step)
    kinds = [
        whole,
        IntDistribution(low, high, log=True),
        FloatDistribution(low / 7, high / 7),
        FloatDistribution(low / 7, high / 7, log=True),
        FloatDistribution(0.0, 0.25 * (high - low), step=0.25),
        CategoricalDistribution(["a", None, True, 3]),
    ]
    for seed in range(5):
        for kind in kinds:
            value = drawn(kind, random.Random(seed))
            assert allows(kind, value), (kind, value)
    values = range(whole.low, whole.high + 1, step)
    assert {drawn(whole, random.Random(seed)) for seed in range(40 * len(values))} == set(values)


_DENSE = [{"residual.width.0": w, "residual.depth.0": d} for w in (8, 12, 16, 24, 32, 48, 64) for d in (1, 2, 3)]
_BITS = [{"bits.weights": w, "bits.activations": a} for w in (2, 3, 4, 8) for a in (3, 4, 8)]


@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=pytest.mark.slow if name in ("gp", "qmc") else ()) for name in SAMPLERS.names]
)
def test_every_sampler_can_propose(sampler: str) -> None:
    assert len({candidate.digest for candidate in _run(_Study(sampler), 7)}) == 7


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_search_that_was_stopped_is_proposed_what_it_would_have_been(sampler: str) -> None:
    whole = _Study(sampler)
    _run(whole, 8)
    resumed = _Study(sampler)
    resumed.trials = list(whole.trials)
    assert resumed.propose() == whole.propose()


def test_generations_of_nsga2_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its notes lie with the trials: without them every generation would be the first, and drawn at random."""
    settings = Settings(name="s", dataset="digits", space=SPACE.written, sampler="nsga2", startup_trials=4)
    drafts = Drafts(SPACE)
    sampling, study = Sampling(settings, drafts), _Study()
    seen = []
    for number in range(10):
        draft = sampling.ask(number, [])
        assert draft is not None
        study.add(draft.candidate, sampler=draft.sampler)
        sampling.learn(study.trials[-1:])
        seen.append(next(iter(draft.sampler.values())))
    assert seen == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_what_is_in_training_is_not_proposed_again() -> None:
    study = _Study()
    found = _run(study, 9)
    running: list[Candidate] = []
    for _ in range(5):
        candidate = study.propose(tuple(running))
        assert candidate.digest not in {other.digest for other in (*found, *running)}
        known = {other.uncompressed_digest for other in found}
        assert candidate.uncompressed_digest in known or candidate.uncompressed_digest not in {
            r.uncompressed_digest for r in running
        }
        running.append(candidate)


def test_epochs_of_compression() -> None:
    candidate = SPACE.sample(optuna.trial.FixedTrial({**_DENSE[0], **_BITS[0]}))
    assert compression_epochs(candidate) == 4
