"""The reader of plain rows gives what Optuna's own gives."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest
from made_trials import made_study, made_trial
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from slimfront.studies.record import State
from slimfront.studies.store import reading
from slimfront.studies.store.storage import open_storage


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/s.db"


def _filled(folder: Path) -> optuna.Study:
    """Trials of every state, with everything that can hang on one."""
    study = made_study([made_trial(0, 0.91, 0.02), made_trial(1, 0.8, 0.01, State.STOPPED)], _url(folder))
    study.add_trial(
        create_trial(
            values=[0.5, math.inf],
            params={"x": 0.25, "kind": "b", "n": 3},
            distributions={
                "x": optuna.distributions.FloatDistribution(0.1, 1, log=True),
                "kind": optuna.distributions.CategoricalDistribution(["a", "b"]),
                "n": optuna.distributions.IntDistribution(1, 9, step=2),
            },
            user_attrs={"long": "x" * 3000, "short": [1, None, "two"]},
            intermediate_values={1: 0.5, 3: math.nan, 2: -math.inf},
        )
    )
    study.enqueue_trial({"x": 0.5})
    study.ask().set_user_attr("running", True)
    study.enqueue_trial({"x": 0.7})
    study.add_trial(create_trial(state=TrialState.FAIL))
    return study


def test_it_reads_what_optuna_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _filled(tmp_path)
    monkeypatch.setattr(reading, "_AT_ONCE", 2)
    ours = open_storage(_url(tmp_path)).get_all_trials(1)
    theirs = RDBStorage(_url(tmp_path)).get_all_trials(1)
    assert len(ours) == 6
    assert [repr(trial) for trial in ours] == [
        repr(_ordered(trial, like)) for trial, like in zip(theirs, ours, strict=True)
    ]
    assert list(ours[2].params) == ["x", "kind", "n"]  # in the order in which they were sampled


def _ordered(trial: optuna.trial.FrozenTrial, like: optuna.trial.FrozenTrial) -> optuna.trial.FrozenTrial:
    """Optuna gives attributes in no order."""
    for name in ("_user_attrs", "_system_attrs", "intermediate_values"):
        kept = getattr(trial, name)
        setattr(trial, name, {key: kept[key] for key in getattr(like, name)})
    return trial


def test_it_reads_the_running_and_the_new_only(tmp_path: Path) -> None:
    _filled(tmp_path)
    storage = open_storage(_url(tmp_path))
    numbers = [trial.number for trial in storage._get_trials(1, None, {1, 2, 6}, 4)]
    assert numbers == [0, 1, 4, 5]
    states = (TrialState.COMPLETE,)
    assert [trial.number for trial in storage.get_all_trials(1, states=states)] == [0, 2]


def test_what_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    _filled(tmp_path)
    storage = open_storage(_url(tmp_path))
    assert storage.get_trial(3).user_attrs["short"] == [1, None, "two"]
    with pytest.raises(KeyError, match="study_id 7"):
        storage.get_all_trials(7)
    with pytest.raises(KeyError, match="trial_id 99"):
        storage.get_trial(99)


def test_trials_share_what_is_alike(tmp_path: Path) -> None:
    study = made_study([], _url(tmp_path))
    for _ in range(2):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.set_user_attr("run", {"machine": "m"})
    first, second = open_storage(_url(tmp_path)).get_all_trials(1, deepcopy=False)
    assert first.distributions["x"] is second.distributions["x"]
    assert first.user_attrs["run"] is second.user_attrs["run"]
