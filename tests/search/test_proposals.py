"""What is proposed next, on made-up studies whose accuracies follow from the candidate."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Sequence

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from slimfront.search.proposals import drafts
from slimfront.search.proposals.drafts import drawn
from slimfront.search.proposals.expected_gain import expected_gain
from slimfront.search.proposals.proposer import COMPRESSIONS, Proposer, compression_epochs
from slimfront.search.proposals.regression import Array
from slimfront.spaces import Candidate, Space
from slimfront.studies.front import Point, area, non_dominated
from slimfront.studies.samplers import SAMPLERS, make_sampler

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
    """A study that is asked through a Proposer."""

    def __init__(self, sampler: str = "tpe", startup: int = 6, space: Space = SPACE, seed: int = 0) -> None:
        self.study = optuna.create_study(directions=["maximize", "minimize"])
        self.proposer = Proposer(space, BAR, startup, _score)
        self.sampler, self.startup, self.space, self.seed = sampler, startup, space, seed

    def propose(self, open_work: tuple[Candidate, ...] = (), number: int | None = None) -> Candidate | None:
        """What is proposed as the trial of this number, the next one where it is None."""
        trials = self.study.get_trials(deepcopy=False)
        self.proposer.learn(trials)
        number = len(trials) if number is None else number
        sampler = make_sampler(self.sampler, 0, startup=self.startup, known_trials=number)
        trial = self.study.ask()
        seed = 1000 * self.seed + number
        found = self.proposer.propose(self.study, sampler, trial._cached_frozen_trial, seed, open_work)
        self.study.tell(trial, state=TrialState.FAIL)
        if found is None:
            return None
        for name, value in found.items():
            assert isinstance(name, str)
            assert value is not None
        return self.space.sample(optuna.trial.FixedTrial(dict(found)))

    def add(self, candidate: Candidate) -> None:
        dense, final = _accuracy(candidate)
        parameters = self.space.parameters(candidate)
        curve = {"stage": ["dense"] * 20, "epoch": list(range(1, 21)), "accuracy": [dense] * 20}
        trial = create_trial(
            values=[final, _score(candidate)],
            params=parameters,
            distributions={name: _distribution(name) for name in parameters},
            user_attrs={"candidate": candidate.to_dict(), "digest": candidate.digest, "curve": curve},
            system_attrs={"constraints": [BAR - final]},
        )
        self.study.add_trial(trial)


def _distribution(name: str) -> CategoricalDistribution:
    keys = {"residual.width.0": "architecture.residual.width", "residual.depth.0": "architecture.residual.depth"}
    return CategoricalDistribution(SPACE.domain(keys.get(name, name)).choices)


def _run(study: _Study, trials: int) -> list[Candidate]:
    found = []
    for _ in range(trials):
        candidate = study.propose()
        assert candidate is not None
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


def test_what_fails_by_itself_is_not_proposed_again() -> None:
    study = _Study()
    _run(study, 9)
    next_one = study.propose(number=50)
    assert next_one is not None
    attributes = {"candidate": next_one.to_dict(), "digest": next_one.digest}
    for reason, again in (("out_of_memory", True), ("loss_not_finite", False)):
        study.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={**attributes, "reason": reason}))
        other = study.propose(number=50)
        assert other is not None
        assert (other.digest == next_one.digest) is again


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
    assert study.propose() is not None
    points = [(trial.values[0], trial.values[1]) for trial in study.study.get_trials() if trial.values]
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
            assert kind._contains(kind.to_internal_repr(value)), (kind, value)
    values = range(whole.low, whole.high + 1, step)
    assert {drawn(whole, random.Random(seed)) for seed in range(40 * len(values))} == set(values)


_DENSE = [{"residual.width.0": w, "residual.depth.0": d} for w in (8, 12, 16, 24, 32, 48, 64) for d in (1, 2, 3)]
_BITS = [{"bits.weights": w, "bits.activations": a} for w in (2, 3, 4, 8) for a in (3, 4, 8)]


@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=pytest.mark.slow if name in ("gp", "qmc") else ()) for name in SAMPLERS]
)
def test_every_sampler_can_propose_and_leaves_no_trace(sampler: str) -> None:
    study = _Study(sampler)
    _run(study, 7)
    asked: list[FrozenTrial] = [trial for trial in study.study.trials if trial.state == TrialState.FAIL]
    assert len(asked) == 7
    assert not any(key.startswith("tpe") for trial in asked for key in trial.system_attrs)
    assert not any(trial.params for trial in asked)


def test_a_distribution_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = _Study()
    made: Counter[tuple[object, ...]] = Counter()

    class Counted(CategoricalDistribution):
        def __init__(self, choices: Sequence[bool | int | float | str | None]) -> None:
            made[tuple(choices)] += 1
            super().__init__(choices)

    monkeypatch.setattr(drafts, "CategoricalDistribution", Counted)
    for _ in range(3):
        assert study.propose() is not None
    assert made[(2, 3, 4, 8)] == 1  # of the weights' bits, the only parameter with these choices


def test_what_is_in_training_is_not_proposed_again() -> None:
    study = _Study()
    found = _run(study, 9)
    running: list[Candidate] = []
    for _ in range(5):
        candidate = study.propose(tuple(running))
        assert candidate is not None
        assert candidate.digest not in {other.digest for other in (*found, *running)}
        known = {other.uncompressed_digest for other in found}
        assert candidate.uncompressed_digest in known or candidate.uncompressed_digest not in {
            r.uncompressed_digest for r in running
        }
        running.append(candidate)


def test_nothing_is_proposed_where_everything_was_tried() -> None:
    space = Space({"architecture": {"residual": {"stem_width": 8, "stages": 1, "width": [8, 16], "depth": 1}}})
    study = optuna.create_study(directions=["maximize", "minimize"])
    proposer = Proposer(space, BAR, 4, lambda candidate: 0.1)
    both = [space.sample(optuna.trial.FixedTrial({"residual.width.0": width})) for width in (8, 16)]
    sampler = make_sampler("tpe", 0, startup=4)
    assert proposer.propose(study, sampler, study.ask()._cached_frozen_trial, 0, both) is None


def test_epochs_of_compression() -> None:
    candidate = SPACE.sample(optuna.trial.FixedTrial({**_DENSE[0], **_BITS[0]}))
    assert compression_epochs(candidate) == 4
