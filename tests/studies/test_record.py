from __future__ import annotations

import json
import math
from pathlib import Path

import optuna
import pytest
from made_trials import CANDIDATE, made_record, made_trial
from optuna.trial import TrialState
from slimfront.studies.record import Record, accuracy_and_score, read, write
from slimfront.studies.store.storage import create_or_load, open_storage


def full() -> Record:
    return made_record(
        stages=({"stage": "dense", "accuracy": 0.9, "seconds": 1.0},),
        device="cpu",
        threads=1,
        environment={"python": "3.11.0", "commit": "unknown"},
        reason="below_bar",
        bound=0.88,
        copied_from=3,
        artifacts=("a.slim",),
    )


def test_a_record_survives_a_trial_in_a_database(tmp_path: Path) -> None:
    study = create_or_load(open_storage(f"sqlite:///{tmp_path}/a.db"), "a")
    trial = study.ask()
    write(trial, full())
    study.tell(trial, [0.91, 0.05])
    again = create_or_load(open_storage(f"sqlite:///{tmp_path}/a.db"), "a").trials[0]
    assert read(again) == full()


def test_attributes_are_plain_json_even_when_the_training_diverged() -> None:
    curve = ({"stage": "dense", "epoch": 1, "loss": math.nan, "accuracy": 0.1},)
    attributes = made_record(accuracy=math.nan, curve=curve).to_attributes()
    assert json.loads(json.dumps(attributes, allow_nan=False)) == attributes
    assert Record.from_attributes(attributes).curve[0]["loss"] is None


def test_unknown_things_are_left_out() -> None:
    assert set(Record(CANDIDATE).to_attributes()) == {"digest", "candidate", "seed", "seconds"}
    assert Record.from_attributes(Record(CANDIDATE).to_attributes()) == Record(CANDIDATE)


def test_rows_with_different_keys_keep_their_places() -> None:
    stages = ({"stage": "dense", "accuracy": 0.9}, {"stage": "quantization", "bits": 4})
    again = Record.from_attributes(Record(CANDIDATE, stages=stages).to_attributes())
    assert again.stages[1] == {"stage": "quantization", "accuracy": None, "bits": 4}


def test_the_digest_is_the_candidates() -> None:
    assert full().digest == CANDIDATE.digest == full().to_attributes()["digest"]


@pytest.mark.parametrize("attributes", [{}, {"candidate": {"family": "alien"}}, {"candidate": 3}, {"digest": "x"}])
def test_trials_of_other_programs_have_no_record(attributes: dict[str, object]) -> None:
    trial = optuna.trial.create_trial(values=[0.9, 0.1], user_attrs=attributes)
    assert read(trial) is None
    assert accuracy_and_score(trial) == (0.9, 0.1)


def test_a_stopped_trial_lies_where_it_stopped() -> None:
    stopped = made_trial(0, 0.8, 0.05, TrialState.PRUNED)
    assert accuracy_and_score(stopped) == (0.8, 0.05)
    assert accuracy_and_score(optuna.trial.create_trial(state=TrialState.FAIL)) == (None, None)


def test_only_changes_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = study.ask()
    write(trial, made_record(accuracy=None, curve=()))
    written: list[str] = []
    original = trial.set_user_attr
    monkeypatch.setattr(trial, "set_user_attr", lambda key, value: (written.append(key), original(key, value)))
    write(trial, made_record(accuracy=0.91))
    assert set(written) == {"accuracy", "curve"}
