from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from made_trials import BAR, CANDIDATE, CURVE, made_trial
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from slimfront.studies.analysis.spending import epochs_of, planned_epochs
from slimfront.studies.details import CurvePoint, Details
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.records import to_frozen
from slimfront.studies.store.storage import open_storage
from slimfront.studies.store.study import find_study, open_study


def full(**changes: Any) -> TrialRecord:
    known: dict[str, Any] = {
        "phases": ({"stage": "dense", "accuracy": 0.9, "seconds": 1.0},),
        "device": "cpu",
        "threads": 1,
        "environment": {"python": "3.11.0", "commit": "unknown"},
        "reason": "below_bar",
        "text": "why",
        "bound": 0.88,
        "copied_from": 3,
        "uncompressed_from": 2,
        "spared": {"reason": "below_bar", "epoch": 3},
        "preset": "resnet20",
        "imported_from": "a, trial 2",
        "starts": 2,
        "owner": "me",
        "beat": 4,
        "notes": ("one filter too few",),
        "account": {"p_s": 0.25},
        "sampler": {"generation": 2},
        "objective": "mine.py:JOULES",
        "costs": {"mine.py:JOULES": 0.5, "file_bytes": 12_345.0},
        "over": {"file_bytes": 10_000.0},
        "code": {"mine.py:PLAIN": "0123456789abcdef"},
        "inherited": {"supernet": "0123456789abcdef"},
    }
    return made_trial(0, 0.91, 0.05, **(known | changes))


def again(record: TrialRecord) -> TrialRecord:
    """Written and read."""
    frozen = to_frozen(record, BAR)
    frozen.number = record.number
    return TrialRecord.of(frozen)


def untimed(record: TrialRecord) -> dict[str, Any]:
    """All but what is not the record's own to say: when, how it is loaded, and what samplers are told."""
    others = ("begun", "ended", "load", "details", "violation")
    return {name: value for name, value in vars(record).items() if name not in others}


def test_a_record_survives_a_trial_in_a_database(tmp_path: Path) -> None:
    store = open_study(open_storage(f"sqlite:///{tmp_path}/a.db"), "a")
    kinds = {"x": FloatDistribution(0, 1)}
    number = store.begin({"x": 0.5}, kinds, {"owner": "me"})
    assert store.end(number, State.COMPLETE, full().to_attributes(), values=full().point, violation=-0.01)
    (found,) = find_study(open_storage(f"sqlite:///{tmp_path}/a.db"), "a").trials
    assert untimed(found) == untimed(full()) | {"parameters": {"x": 0.5}, "distributions": kinds}
    assert found.details == full().details
    assert found.violation == -0.01
    assert found.begun is not None
    assert found.ended is not None
    assert found.begun <= found.ended


def test_every_field_is_written_and_read() -> None:
    """Whoever adds a field meets this test: without an attribute it would be lost."""
    told, empty = full(), TrialRecord(0, State.COMPLETE)
    kept = {name for name, value in untimed(told).items() if value != getattr(empty, name)}
    assert kept >= set(untimed(told)) - {"number", "state", "parameters", "distributions"}
    assert untimed(again(told)) == untimed(told)


OLD = {  # word for word as the first version wrote it
    "digest": CANDIDATE.digest,
    "candidate": CANDIDATE.to_dict(),
    "seed": 3,
    "data": {"name": "digits", "digest": "abc"},
    "accuracy": 0.8,
    "score": {"parameters": 272, "weights": 272, "macs": 9000, "score": 0.05, "strict_score": 0.051},
    "strict_score": 0.051,
    "layers": {"name": ["stem.conv", "classifier"], "weights": [32, 240], "ratio": [0.5, None]},
    "curve": {
        "stage": ["dense", "filters"],
        "epoch": [1, 0],
        "epochs": [1, 2],
        "loss": [2.1, None],
        "accuracy": [0.7, 0.8],
        "seconds": [1.5, 0.1],
    },
    "stages": {"stage": ["dense"], "accuracy": [0.7]},
    "seconds": 1.512,
    "run": {"device": "cuda:0", "threads": 4, "python": "3.11.0", "commit": "unknown"},
    "reason": "dominated",
    "bound": 0.85,
    "copied_from": 1,
    "dense_of": 0,
    "starts": 1,
    "owner": "host:1:x",
    "spared": {"reason": "dominated", "bound": 0.85, "stage": "dense", "epoch": 1},
    "notes": ["one filter too few"],
    "account": {"p_s": 0.25},
}


def test_what_older_versions_wrote_is_read_for_ever() -> None:
    trial = TrialRecord.of(create_trial(state=TrialState.PRUNED, user_attrs=OLD))
    assert (trial.state, trial.accuracy, trial.score, trial.bound) == (State.STOPPED, 0.8, 0.05, 0.85)
    assert trial.candidate == CANDIDATE
    assert (trial.dataset, trial.data_digest, trial.seed) == ("digits", "abc", 3)
    assert (trial.device, trial.threads, dict(trial.details.environment)) == (
        *("cuda:0", 4),
        {"python": "3.11.0", "commit": "unknown"},
    )
    assert trial.curve == (CurvePoint("dense", 1, 1, 2.1, 0.7, 1.5), CurvePoint("filters", 0, 2, None, 0.8, 0.1))
    assert trial.layers[1] == {"name": "classifier", "weights": 240, "ratio": None}
    assert trial.phases == ({"stage": "dense", "accuracy": 0.7},)
    assert (trial.uncompressed_from, trial.copied_from, trial.starts, trial.owner) == (0, 1, 1, "host:1:x")
    assert trial.spared == OLD["spared"]
    assert trial.to_attributes() == OLD  # and written as it was


def test_states_are_optunas_under_other_names() -> None:
    frozen = [to_frozen(TrialRecord(0, state, accuracy=0.9, score=0.1), BAR) for state in State]
    assert {trial.state for trial in frozen} == set(TrialState)
    assert [TrialRecord.of(trial).state for trial in frozen] == list(State)
    assert State.STOPPED.is_over
    assert TrialRecord.of(create_trial(state=TrialState.PRUNED)).state is State.STOPPED


def test_attributes_are_plain_json_even_when_the_training_diverged() -> None:
    attributes = made_trial(
        0, math.nan, 0.1, State.FAILED, curve=(CurvePoint("dense", 1, loss=math.nan, accuracy=0.1),), bound=math.inf
    ).to_attributes()
    assert json.loads(json.dumps(attributes, allow_nan=False)) == attributes
    assert attributes["curve"] == {"stage": ["dense"], "epoch": [1], "accuracy": [0.1]}
    assert Details.of(attributes).curve[0].loss is None


def test_unknown_things_are_left_out() -> None:
    assert set(TrialRecord.begin(0, CANDIDATE).to_attributes()) == {"digest", "candidate"}
    assert TrialRecord(0, State.FAILED).to_attributes() == {}


def test_rows_with_different_keys_keep_their_places() -> None:
    phases = ({"stage": "dense", "accuracy": 0.9}, {"stage": "quantization", "bits": 4})
    assert again(full(phases=phases)).phases[1] == {"stage": "quantization", "accuracy": None, "bits": 4}


def test_the_candidate_is_parsed_when_asked_for() -> None:
    assert again(full()).candidate == CANDIDATE
    assert full().digest == CANDIDATE.digest == full().to_attributes()["digest"]
    assert full().own_candidate is None
    assert full(copied_from=None).own_candidate == CANDIDATE


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"candidate": {"family": "alien"}},
        {"candidate": 3},
        {"digest": 5, "curve": "x", "score": 1, "seed": "7", "notes": 3, "data": [], "run": None},
        {"curve": {"epoch": [1, 2], "accuracy": [0.5]}, "layers": {"name": 3}, "stages": []},
    ],
)
def test_trials_of_other_programs_say_what_they_can(attributes: dict[str, object]) -> None:
    trial = TrialRecord.of(create_trial(values=[0.9, 0.1], user_attrs=attributes))
    assert trial.candidate is None
    assert trial.point == (0.9, 0.1)
    assert (trial.digest, trial.seed, trial.dataset, trial.notes) == (None, None, "", ())
    assert trial.details == Details()
    assert (epochs_of(trial), planned_epochs(trial)) == (0, 0)


def test_a_stopped_trial_lies_where_it_stopped() -> None:
    assert again(made_trial(0, 0.8, 0.05, State.STOPPED, bound=0.85)).point == (0.8, 0.05)
    unknown = TrialRecord(4, State.FAILED)
    assert not unknown.is_located
    with pytest.raises(ValueError, match="Trial 4"):
        _ = unknown.point


def test_the_curve_tells_epochs_and_accuracies() -> None:
    untrained = CurvePoint("filters", 0, 2, accuracy=0.4)
    trial = again(made_trial(0, 0.9, 0.1, curve=(*CURVE, untrained, CurvePoint("filters", 1, 2))))
    assert trial.curve[:4] == (*CURVE, untrained)
    assert epochs_of(trial) == 4
    assert trial.measured == [(1, 0.3), (2, 0.6), (3, pytest.approx(0.9)), (4, 0.4)]
    assert planned_epochs(trial) == sum(CANDIDATE.phases.values())


def test_details_are_loaded_once_and_only_where_they_are_looked_at() -> None:
    loaded: list[int] = []

    def load() -> Details:
        loaded.append(1)
        return Details(curve=CURVE)

    trial = TrialRecord.of(create_trial(values=[0.9, 0.1]), load)
    assert (trial.point, loaded) == ((0.9, 0.1), [])
    assert (epochs_of(trial), trial.curve, loaded) == (3, CURVE, [1])


def test_a_result_says_nothing_of_how_its_trial_was_run() -> None:
    kept = set(full().result().to_attributes())
    assert set(full().to_attributes()) - kept == {
        *("dense_of", "spared", "preset", "imported_from", "starts", "owner", "beat")
    }


def test_only_changes_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage("sqlite://")
    store = open_study(storage, "a")
    number = store.begin({}, {}, made_trial(0, None, 0.05, curve=()).to_attributes() | {"starts": 1})
    written: list[str] = []
    original = storage.set_trial_user_attr
    monkeypatch.setattr(
        storage, "set_trial_user_attr", lambda trial, key, value: (written.append(key), original(trial, key, value))
    )
    store.write(number, made_trial(0, 0.91, 0.05).to_attributes())
    assert set(written) == {"accuracy"}
    assert (store.read(number).starts, len(store.read(number).curve)) == (1, len(CURVE))
