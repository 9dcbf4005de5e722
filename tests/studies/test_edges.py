from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from slimfront.studies.analysis.bounds import edges, spoken
from slimfront.studies.record import State, TrialRecord

KINDS = {
    "residual.width.1": IntDistribution(16, 64, step=8),
    "residual.depth.0": IntDistribution(1, 3),
    "bits.weights": CategoricalDistribution((2, 3, 4, 8)),
    "sgd.learning_rate": FloatDistribution(0.01, 0.3, log=True),
    "augmentation.policy": CategoricalDistribution(("none", "cutout", "mixup")),
    "batch_size": CategoricalDistribution((64, 128)),
}


def _front(**values: list[object]) -> list[TrialRecord]:
    names = {"width": "residual.width.1", "depth": "residual.depth.0", "bits": "bits.weights"}
    names |= {"rate": "sgd.learning_rate", "policy": "augmentation.policy", "batch": "batch_size"}
    found = []
    for row in zip(*values.values(), strict=True):
        params = {names[name]: value for name, value in zip(values, row, strict=True)}
        kinds = {name: KINDS[name] for name in params}
        found.append(TrialRecord(len(found), State.COMPLETE, parameters=params, distributions=kinds))
    return found


def test_a_bound_that_most_of_the_front_lies_on_is_named() -> None:
    found = edges(_front(width=[64, 64, 64, 40, 24]))
    assert [str(edge) for edge in found] == ["widen residual stage 2 width: 3 of 5 front networks at 64"]
    assert found[0].upper


def test_what_lies_inside_or_cannot_be_widened_is_not() -> None:
    assert edges(_front(width=[40, 32, 64, 48, 24])) == []
    assert edges(_front(depth=[1, 1, 1])) == []  # no stage has fewer blocks
    assert edges(_front(policy=["none", "none", "none"], batch=[64, 64, 64])) == []
    assert edges(_front(width=[64])) == []  # one network is no pattern
    assert edges([]) == []


def test_the_lower_bound_counts_where_there_is_something_below() -> None:
    assert [edge.upper for edge in edges(_front(bits=[2, 2, 4]))] == [False]
    assert [edge.bound for edge in edges(_front(rate=[0.2999, 0.3, 0.05]))] == [0.3]


def test_names_are_spoken() -> None:
    assert spoken("inverted.kernel.0") == "inverted stage 1 kernel"
    assert spoken("bits.weights.2") == "stage 3 bits of weights"
    assert spoken("muon.learning_rate") == "muon learning rate"
