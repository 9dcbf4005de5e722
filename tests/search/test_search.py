"""A whole search with a stub evaluator: what a user would notice."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import stub_evaluator
from optuna.trial import TrialState
from slimfront.search import refresh as refreshing
from slimfront.search.engine import FAILURES_IN_A_ROW
from slimfront.search.launch import Options, launch, only_coordinator
from slimfront.search.scheduling.endings import Endings
from slimfront.search.scheduling.intake import Intake
from slimfront.search.scheduling.work import Work
from slimfront.studies.errors import StudyError
from slimfront.studies.front import front
from slimfront.studies.record import TrialRecord
from slimfront.studies.settings import Settings, SettingsError
from slimfront.studies.store.storage import open_storage
from slimfront.studies.store.study import find_study
from threadpoolctl import threadpool_info


@pytest.fixture(autouse=True)
def _no_panels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard's pages take seconds to draw and have tests of their own; one search here draws them."""
    if request.node.name != "test_a_search_ends_with_a_front[1]":
        monkeypatch.setattr("slimfront.search.refresh.Refresh._panels", lambda self: None)


SPACE = {
    "architecture": {
        "residual": {"stem_width": [4, 8], "stages": 2, "width": {"low": 4, "high": 40, "step": 4}, "depth": 1}
    },
    "augmentation": {"flip": False, "crop": 0},
}


def _settings(**changes: object) -> Settings:
    values: dict[str, object] = {"name": "s", "dataset": "digits", "space": SPACE, "trials": 12, "startup_trials": 4}
    values["early_stopping"] = {"spared": 1.0}  # every trial runs to its end, unless a test says otherwise
    return Settings(**(values | changes))  # type: ignore[arg-type]


def _options(folder: Path, **changes: object) -> Options:
    values: dict[str, object] = {"storage": f"sqlite:///{folder}/s.db", "workers": 1, "out": folder / "out"}
    return Options(**(values | changes))  # type: ignore[arg-type]


def _study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/s.db")


def _trials(folder: Path) -> list[TrialRecord]:
    return find_study(open_storage(f"sqlite:///{folder}/s.db"), "s").trials


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_ends_with_a_front(tmp_path: Path, workers: int) -> None:
    outcome, summary, files = launch(_settings(), _options(tmp_path, workers=workers), stub_evaluator.evaluate)
    assert outcome.how == "done"
    assert summary["trials"]["complete"] == 12
    assert summary["front"]
    assert all(row["accuracy"] >= 0.9 for row in summary["front"])
    scores = [row["score"] for row in summary["front"]]
    assert scores == sorted(scores)
    assert Path(files["plot"]).stat().st_size > 10_000
    assert Path(files["csv"]).read_text().count("\n") == 13
    # Optuna's own idea of feasibility is the same.
    study = _study(tmp_path)
    assert {trial.number for trial in study.best_trials} >= {trial.number for trial in front(_trials(tmp_path), 0.9)}
    assert all(trial.values[0] >= 0.9 for trial in study.best_trials)


def test_choosing_a_candidate_takes_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On cores that train, small matrix products with threads wait for each of these."""
    seen: set[int] = set()
    following = Intake.next

    def watched(intake: Intake) -> Work | str | None:
        seen.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return following(intake)

    monkeypatch.setattr(Intake, "next", watched)
    launch(_settings(trials=2), _options(tmp_path), stub_evaluator.evaluate)
    assert seen == {1}


def test_what_is_enqueued_in_a_running_search_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"residual.stem_width": 8, "residual.width.0": 12, "residual.width.1": 36}
    complete = Endings.complete

    def completed(endings: Endings, work: Work, *arguments: Any) -> bool:
        if work.number == 5:
            _study(tmp_path).enqueue_trial(wanted)
        return complete(endings, work, *arguments)

    monkeypatch.setattr(Endings, "complete", completed)
    launch(_settings(trials=9), _options(tmp_path), stub_evaluator.evaluate)
    trials = _study(tmp_path).trials
    assert (trials[6].params, len(trials)) == (wanted, 9)


def test_every_trial_can_be_rebuilt_from_its_record(tmp_path: Path) -> None:
    launch(_settings(trials=3), _options(tmp_path), stub_evaluator.evaluate)
    for record in _trials(tmp_path):
        assert record.candidate is not None
        assert record.candidate.digest == record.digest
        assert record.data_digest
        assert len(record.curve) == stub_evaluator.EPOCHS or record.copied_from is not None
        assert record.layers[0]["name"] == "stem.conv"
        assert record.details.environment["torch"]
        assert record.details.environment["commit"]
        parameters = optuna.trial.FixedTrial(dict(record.parameters))
        assert _settings().make_space().sample(parameters) == record.candidate


def test_the_books_of_pruning_are_kept(tmp_path: Path) -> None:
    launch(_settings(trials=1), _options(tmp_path), stub_evaluator.with_books)
    [trial] = _study(tmp_path).trials
    assert trial.user_attrs["account"] == {"p_s": 0.25}
    assert trial.user_attrs["notes"] == ["one filter too few"]


def test_the_same_seed_gives_the_same_search(tmp_path: Path) -> None:
    def values(folder: str, **more: object) -> list[list[float]]:
        place = tmp_path / folder
        place.mkdir()
        launch(_settings(**more), _options(place), stub_evaluator.evaluate)
        return [trial.values for trial in _study(place).trials]

    whole = values("a", trials=8)
    assert whole == values("b", trials=8)
    assert whole != values("c", trials=8, seed=1)


def test_a_larger_limit_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    for name, steps in (("whole", [9]), ("parts", [5, 9])):
        (tmp_path / name).mkdir()
        for trials in steps:
            launch(_settings(trials=trials), _options(tmp_path / name), stub_evaluator.evaluate)
    values = [[t.values for t in _study(tmp_path / name).trials] for name in ("whole", "parts")]
    assert values[0] == values[1]
    _, summary, _ = launch(_settings(trials=9), _options(tmp_path / "parts"), stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 9


def test_a_candidate_met_before_is_not_trained_again(tmp_path: Path) -> None:
    space = {"architecture": {"residual": {"stem_width": [4, 8], "stages": 1, "width": [8, 16], "depth": 1}}}
    launch(_settings(space=space, trials=10), _options(tmp_path, workers=2), stub_evaluator.evaluate)
    trials = _study(tmp_path).trials
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    trained = [trial for trial in trials if "copied_from" not in trial.user_attrs]
    assert len({trial.user_attrs["digest"] for trial in trials}) == len(trained) <= 4
    for trial in trials:
        origin = trials[trial.user_attrs.get("copied_from", trial.number)]
        assert trial.values == origin.values


def test_a_small_space_does_not_fill_the_study_with_copies_while_workers_train(tmp_path: Path) -> None:
    """Two candidates, three workers: the third waits for a training to end instead of asking on and on."""
    space = {"architecture": {"residual": {"stem_width": 4, "stages": 1, "width": [8, 16], "depth": 1}}}
    options = _options(tmp_path, workers=3)
    outcome, summary, _ = launch(_settings(space=space, trials=200), options, stub_evaluator.takes_a_second)
    assert outcome.how == "done"
    trials = _study(tmp_path).trials
    trained = [trial for trial in trials if trial.user_attrs.get("starts")]
    assert len(trained) == 2
    first_end = min(trial.datetime_complete for trial in trained if trial.datetime_complete)
    assert sum(trial.datetime_start < first_end for trial in trials if trial.datetime_start) <= 6
    assert summary["trials"]["running"] == 0


def test_what_is_too_expensive_is_not_trained(tmp_path: Path) -> None:
    _, summary, _ = launch(_settings(max_score=0.002), _options(tmp_path), stub_evaluator.evaluate)
    trials = _study(tmp_path).trials
    refused = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert summary["trials"]["pruned"] == len(refused) > 0
    assert {trial.user_attrs["reason"] for trial in refused} == {"max_score"}
    assert all(trial.values[1] <= 0.002 for trial in trials if trial.state == TrialState.COMPLETE)
    assert all(trial.constraints["0"] > 0 for trial in refused)


def test_few_trials_are_spent_on_what_is_above_the_largest_score(tmp_path: Path) -> None:
    """Ten to thirteen of them were, for eight seeds, before the first proposals looked at the score; now one to six."""
    settings = _settings(trials=24, max_score=0.004)
    launch(settings, _options(tmp_path), stub_evaluator.evaluate)
    refused = [trial.number for trial in _study(tmp_path).trials if trial.user_attrs.get("reason") == "max_score"]
    assert len(refused) <= 7


def test_hopeless_trials_stop_early_and_never_stand_on_the_front(tmp_path: Path) -> None:
    rules = {"least_finished": 3, "spared": 0.2}
    _, summary, _ = launch(_settings(trials=24, early_stopping=rules), _options(tmp_path), stub_evaluator.evaluate)
    study = _study(tmp_path)
    stopped = [
        trial for trial in study.trials if trial.state == TrialState.PRUNED and "copied_from" not in trial.user_attrs
    ]
    assert stopped
    assert {trial.user_attrs["reason"] for trial in stopped} <= {"below_bar", "dominated"}
    for trial in stopped:
        record = _trials(tmp_path)[trial.number]
        assert record.bound is not None
        assert 0 < len(record.curve) < stub_evaluator.EPOCHS
        assert trial.constraints == {"0": pytest.approx(0.9 - record.bound)}
    assert not {row["trial"] for row in summary["front"]} & {trial.number for trial in stopped}
    spared = [trial for trial in study.trials if "spared" in trial.user_attrs]
    assert all(trial.state == TrialState.COMPLETE for trial in spared)


def test_a_bug_in_every_candidate_stops_the_search(tmp_path: Path) -> None:
    outcome, summary, _ = launch(_settings(), _options(tmp_path), stub_evaluator.always_fails)
    assert outcome.how == "failures"
    assert "nan" in (outcome.failure or "")
    assert summary["trials"]["failed"] == FAILURES_IN_A_ROW
    assert {trial.user_attrs["reason"] for trial in _study(tmp_path).trials} == {"loss_not_finite"}


def test_five_failures_in_a_row_end_a_search_with_several_workers(tmp_path: Path) -> None:
    """A training that ends well after the fifth does not take the decision back."""
    outcome, summary, _ = launch(
        _settings(trials=40), _options(tmp_path, workers=2), stub_evaluator.fails_but_the_first
    )
    assert outcome.how == "failures"
    assert summary["trials"]["failed"] == FAILURES_IN_A_ROW
    assert summary["trials"]["complete"] == 1


def test_a_worker_that_dies_is_replaced_and_its_trial_starts_again(tmp_path: Path) -> None:
    _, summary, _ = launch(_settings(trials=5), _options(tmp_path, workers=2), stub_evaluator.dies_once)
    assert summary["trials"]["complete"] == 5
    assert summary["trials"]["failed"] == 0
    assert _study(tmp_path).trials[1].user_attrs["starts"] == 2


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    launch(_settings(trials=1), _options(tmp_path), stub_evaluator.evaluate)
    with pytest.raises(StudyError, match=r"bar was 0\.9, is 0\.95"):
        launch(_settings(bar=0.95), _options(tmp_path), stub_evaluator.evaluate)
    wider = {**SPACE, "recipe": {"epochs": [10, 20]}}
    with pytest.raises(StudyError, match=r"space\.recipe was null"):
        launch(_settings(space=wider), _options(tmp_path), stub_evaluator.evaluate)


def test_an_empty_front_shows_the_nearest(tmp_path: Path) -> None:
    _, summary, _ = launch(_settings(bar=0.99, trials=4), _options(tmp_path), stub_evaluator.evaluate)
    assert summary["front"] == []
    accuracies = [row["accuracy"] for row in summary["nearest"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies


def test_presets_are_tried_first(tmp_path: Path) -> None:
    space = {
        "architecture": {
            "residual": {
                "stem_width": [16, 20],
                "stages": 3,
                "width": [16, 32, 64],
                "depth": [1, 3],
                "shortcut": ["padding", "projection"],
            }
        },
        "recipe": {"epochs": 100},
    }
    launch(_settings(space=space, presets=("resnet8",), trials=2), _options(tmp_path), stub_evaluator.evaluate)
    candidate = _trials(tmp_path)[0].candidate
    assert candidate is not None
    assert candidate.architecture.widths == (16, 32, 64)


def test_pictures_take_a_hundredth_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    drawn: list[float] = []

    def draw(self: refreshing.Refresh) -> None:
        drawn.append(clock[0])
        clock[0] += 3.0 if len(drawn) > 1 else 0.01  # the study has grown

    monkeypatch.setattr(refreshing.Refresh, "_panels", draw)
    monkeypatch.setattr(refreshing.time, "monotonic", lambda: clock[0])
    refresh = refreshing.Refresh(None, _settings(), Path(), None, "sqlite://")  # type: ignore[arg-type]
    while clock[0] < 1000:
        refresh.if_due()
        clock[0] += 0.5
    assert len(drawn) == 5
    assert drawn[1] < 21
    assert all(later - earlier >= 300 for earlier, later in itertools.pairwise(drawn[1:]))


SCRIPT = """
import sys; sys.path[:0] = [{tests!r}]
from pathlib import Path
import stub_evaluator, test_search
from slimfront.search.launch import launch
folder = Path(sys.argv[1])
if __name__ == "__main__":
    outcome, summary, _ = launch(test_search._settings(trials=4), test_search._options(folder, workers=2),
                                 getattr(stub_evaluator, sys.argv[2]))
    sys.exit(130 if outcome.how == "interrupted" else 0)
"""


def _start(folder: Path, evaluator: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), evaluator],
        env=os.environ | {"PYTHONPATH": root},
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_running(folder: Path, count: int) -> None:
    for _ in range(300):
        time.sleep(0.1)
        try:
            trials = _study(folder).get_trials(deepcopy=False)
        except Exception:  # the database is being made
            continue
        if sum("starts" in trial.user_attrs for trial in trials) >= count:
            return
    raise AssertionError("the search did not start")


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_interrupted_search_is_taken_up_again(tmp_path: Path, how: signal.Signals) -> None:
    process = _start(tmp_path, "slow")
    _wait_for_running(tmp_path, 2)
    process.send_signal(how)
    code = process.wait(100)
    assert code == (130 if how != signal.SIGKILL else -9)
    running = _study(tmp_path).get_trials(states=(TrialState.RUNNING,))
    assert sum("starts" in trial.user_attrs for trial in running) == 2  # one more was chosen ahead
    _, summary, _ = launch(_settings(trials=4), _options(tmp_path), stub_evaluator.evaluate)
    assert summary["trials"] == {"complete": 4, "pruned": 0, "failed": 0, "running": 0, "waiting": 0}


def test_a_second_coordinator_is_refused(tmp_path: Path) -> None:
    options = _options(tmp_path)
    # The lock belongs to the open file, not to the process: holding it here is as good as a second search.
    with only_coordinator(options.storage), pytest.raises(StudyError, match="Another search is using"):
        launch(_settings(), options, stub_evaluator.evaluate)
    _, summary, _ = launch(_settings(trials=1), options, stub_evaluator.evaluate)
    assert summary["trials"]["complete"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bar": 1.5}, "bar must be in"),
        ({"trials": 0}, "trials must be"),
        ({"sampler": "magic"}, "known are"),
        ({"presets": ("resnet1",)}, "presets must be"),
        ({"space": {"architecture": {"residual": {}}}}, "space: architecture.residual.stem_width is missing"),
    ],
)
def test_settings_are_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _settings(**change)
    assert words in str(caught.value)


def test_a_study_file_names_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("dataset = 3\n[space]\n")
    with pytest.raises(SettingsError, match=r"x\.toml: dataset must be a text"):
        Settings.from_toml(path)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_the_shipped_studies_are_valid(path: Path) -> None:
    settings = Settings.from_toml(path)
    study = optuna.create_study(directions=["maximize", "minimize"])
    for _ in range(20):
        settings.make_space().sample(study.ask())
    assert json.dumps(settings.identity())
