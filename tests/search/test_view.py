"""The coordinator's view of a study: what has ended is as it is there, and it is read no more often than needed."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from made_trials import add_trials, made_trial
from slimfront.search import view as viewing
from slimfront.search.transactions import StudyStorage
from slimfront.search.view import View
from slimfront.studies.front import front
from slimfront.studies.record import State
from slimfront.studies.store.records import read_trials
from slimfront.studies.store.storage import create_or_load, open_storage


def _opened(folder: Path) -> tuple[optuna.Study, StudyStorage]:
    storage = StudyStorage(open_storage(f"sqlite:///{folder}/s.db"))
    return create_or_load(storage, "s", sampler=optuna.samplers.RandomSampler(0)), storage


def _counted(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reads: list[int] = []
    original = study.get_trials

    def get_trials(*arguments: object, **named: object) -> object:
        reads.append(1)
        return original(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(study, "get_trials", get_trials)
    return reads


def test_it_shows_what_the_study_holds(tmp_path: Path) -> None:
    study, storage = _opened(tmp_path)
    view = View(study, storage, 0.9, shared=False)
    assert (view.count(), view.front(), list(view.ended())) == (0, [], [])
    study.enqueue_trial({"x": 1})
    late = study.ask()  # takes the enqueued one
    study.enqueue_trial({"x": 2})
    for number, accuracy in enumerate((0.95, 0.85, 0.93, 0.97)):
        add_trials(study, [made_trial(number, accuracy, 0.01 * (number + 1))])
        assert view.front() == front(read_trials(study), 0.9)
    add_trials(study, [made_trial(4, 0.5, 0.01, State.FAILED)])
    assert view.count() == 6  # the waiting one has not begun
    digest = str(made_trial(0, 0.95, 0.01).digest)
    assert [trial.number for trial in view.with_digest(digest)] == [2, 3, 4, 5, 6]
    assert [trial.number for trial in view.ended(3)] == [5, 6]
    study.tell(late, [0.99, 0.001])  # ends after later ones
    assert [trial.number for trial in view.front()] == [0]
    assert [trial.number for trial in view.ended(5)] == [0]
    assert list(view.with_digest("unknown")) == []


def test_alone_it_reads_only_what_it_has_changed_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, storage = _opened(tmp_path)
    view = View(study, storage, 0.9, shared=False)
    reads = _counted(study, monkeypatch)
    for _ in range(5):
        view.count()
        view.front()
        view.ended()
    assert len(reads) == 1
    trial = study.ask()
    view.front()  # which a trial that has only begun does not change
    view.ended()
    assert view.count() == 1
    trial.set_user_attr("starts", 1)  # says nothing about the study
    study.enqueue_trial({"x": 1})
    assert view.count() == 1
    study.ask()  # the enqueued one
    assert view.count() == 2
    assert len(reads) == 1
    with storage.together():
        study.tell(trial, [0.95, 0.01])
    assert len(view.front()) == 1
    assert (view.count(), len(reads)) == (2, 2)


def test_shared_it_sees_others_after_a_second_and_at_once_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, storage = _opened(tmp_path)
    view = View(study, storage, 0.9, shared=True)
    assert view.count() == 0
    other, _ = _opened(tmp_path)
    add_trials(other, [made_trial(0, 0.95, 0.01)])
    assert view.count() == 0
    view.read()
    assert view.count() == 1
    add_trials(other, [made_trial(1, 0.96, 0.005)])
    monkeypatch.setattr(viewing, "FRESH_SECONDS", 0.0)
    assert view.count() == 2
    assert [trial.number for trial in view.front()] == [1]
