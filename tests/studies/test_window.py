"""What the default sampler is shown of a long study."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_trials import BAR, made_study, made_trial
from optuna.trial import FrozenTrial, TrialState
from slimfront.studies.record import State
from slimfront.studies.samplers import make_sampler
from slimfront.studies.store.constraint import set_feasibility
from slimfront.studies.store.records import to_frozen
from slimfront.studies.window import Window, WindowedTPE, window


def _trial(number: int, accuracy: float, score: float, state: State = State.COMPLETE) -> FrozenTrial:
    trial = to_frozen(made_trial(number, accuracy, score, state), BAR)
    trial.number = number
    return trial


def _long() -> list[FrozenTrial]:
    """200 trials, the first ten of which are the best; most of the others miss the bar."""
    good = [_trial(number, 0.95 + 0.001 * number, 0.01 + 0.001 * number) for number in range(10)]
    return good + [
        _trial(number, 0.5 + 0.4 * (number % 7 == 0), 0.02, State.STOPPED if number % 3 else State.COMPLETE)
        for number in range(10, 200)
    ]


def test_a_short_study_is_shown_whole() -> None:
    trials = [*_long()[:20], _trial(20, 0.9, 0.1, State.FAILED)]
    assert window(trials, most=20) == trials[:20]


def test_of_a_long_study_the_best_and_the_latest_are_shown() -> None:
    trials = _long()
    running = optuna.trial.create_trial(state=TrialState.RUNNING)
    running.number = 200
    shown = window([*trials, running], most=50, best=0.2)
    assert shown[:10] == trials[:10]
    assert [trial.number for trial in shown[10:]] == list(range(160, 201))


@given(st.data())
def test_looking_at_a_study_as_it_grows_comes_to_the_same(data: st.DataObject) -> None:
    kinds = st.tuples(
        st.sampled_from([0.5, 0.8, 0.9, 0.93, 0.95]),
        st.sampled_from([0.01, 0.02, 0.05]),
        st.sampled_from([State.COMPLETE, State.COMPLETE, State.STOPPED, State.FAILED]),
    )
    ended = [_trial(number, *kind) for number, kind in enumerate(data.draw(st.lists(kinds, max_size=40)))]
    waiting = optuna.trial.create_trial(state=TrialState.WAITING)
    running = optuna.trial.create_trial(state=TrialState.RUNNING)
    trials = [waiting] * len(ended)
    most, best = data.draw(st.integers(1, 20)), data.draw(st.sampled_from([0.1, 0.3, 0.9]))
    growing = Window(most, best)
    for place in data.draw(st.permutations(range(len(ended)))):  # they begin, and end, in any order
        trials[place] = running
        assert growing.of(trials) == window(trials, most, best)
        if data.draw(st.booleans()):
            trials[place] = ended[place]
            assert growing.of(trials) == window(trials, most, best)


def test_a_group_is_sampled_alone_as_with_all_others() -> None:
    """The groups' models are the same; with one group even the numbers are."""
    study = made_study([])
    space = {"x": optuna.distributions.FloatDistribution(0, 1), "n": optuna.distributions.IntDistribution(1, 9)}
    for number in range(20):
        trial = optuna.trial.create_trial(
            values=[number / 20, 0.1], params={"x": number / 20, "n": 1 + number % 9}, distributions=space
        )
        study.add_trial(trial)
    running = study.ask()
    frozen = study._storage.get_trial(running._trial_id)
    found = []
    for alone in (False, True):
        sampler = make_sampler("tpe", 1, startup=5)
        assert isinstance(sampler, WindowedTPE)
        sampler.before_trial(study, frozen)
        wanted = sampler.infer_relative_search_space(study, frozen)
        assert set(wanted) == {"x", "n"}
        found.append(
            sampler.sample_group(study, frozen, "x") if alone else sampler.sample_relative(study, frozen, wanted)
        )
        assert sampler.sample_group(study, frozen, "nowhere") == {}
    assert found[0] == found[1]
    assert set(found[1]) == {"x", "n"}


def test_groups_are_worked_out_anew_when_other_parameters_have_occurred_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    infer = WindowedTPE.infer_relative_search_space
    monkeypatch.setattr(WindowedTPE, "infer_relative_search_space", lambda *given: asked.append(1) or infer(*given))
    study, own = made_study([]), Window()
    kinds = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in "xyz"}

    def sampled(name: str) -> set[str]:
        running = study._storage.get_trial(study.ask()._trial_id)
        sampler = make_sampler("tpe", 1, startup=3, window=own)
        assert isinstance(sampler, WindowedTPE)
        sampler.before_trial(study, running)
        return set(sampler.sample_group(study, running, name))

    def add(*names: str) -> None:
        some = {name: kinds[name] for name in names}
        study.add_trial(optuna.create_trial(values=[0.9, 0.1], params=dict.fromkeys(names, 0.5), distributions=some))

    for _ in range(4):
        add("x", "y", "z")
    assert sampled("x") == {"x", "y", "z"}
    add("x", "y", "z")
    assert sampled("y") == {"x", "y", "z"}
    assert len(asked) == 1
    add("x", "y")
    assert sampled("x") == {"x", "y"}
    assert sampled("z") == {"z"}
    assert len(asked) == 2


def test_a_running_trial_hides_no_group() -> None:
    """It is the first of its kind, and slow; the others of its kind have ended."""
    study = made_study([])
    kinds = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in "xy"}
    for number in range(6):
        state = TrialState.COMPLETE if number else TrialState.RUNNING
        values = [0.9, 0.1] if number else None
        params = dict.fromkeys(kinds, number / 6)
        study.add_trial(optuna.create_trial(state=state, values=values, params=params, distributions=kinds))
    running = study._storage.get_trial(study.ask()._trial_id)
    sampler = make_sampler("tpe", 1, startup=3)
    assert isinstance(sampler, WindowedTPE)
    sampler.before_trial(study, running)
    assert set(sampler.infer_relative_search_space(study, running)) == {"x", "y"}
    assert set(sampler.sample_group(study, running, "x")) == {"x", "y"}


def test_what_tpe_calls_good_is_always_shown() -> None:
    """Optuna's own division of all trials, and of those in the window."""
    from optuna.samplers._tpe.sampler import _split_trials

    trials = _long()
    study = made_study([])
    for bar_missed in (trials, trials[10:]):  # with complete feasible trials, and mostly without
        whole, _ = _split_trials(study, list(bar_missed), 20)
        shown, _ = _split_trials(study, window(bar_missed, most=60, best=0.4), 20)
        assert [trial.values or trial.system_attrs for trial in shown] == [
            trial.values or trial.system_attrs for trial in whole
        ]


def test_the_sampler_asks_for_the_trials_once_a_trial() -> None:
    """Optuna's own asks several times for each group of parameters, each time of the database."""
    study = made_study([])
    calls = []
    original = study._storage.get_all_trials

    def counted(*arguments: object, **named: object) -> list[FrozenTrial]:
        calls.append(arguments)
        return original(*arguments, **named)  # type: ignore[arg-type]

    study.sampler = make_sampler("tpe", 0, startup=2)
    for number in range(5):
        trial = study.ask()
        study._storage.get_all_trials = counted  # type: ignore[method-assign, assignment]
        calls.clear()
        kind = trial.suggest_categorical("kind", ["a", "b"])
        value = trial.suggest_float(f"{kind}.x", 0, 1)
        assert len(calls) <= 1
        study._storage.get_all_trials = original  # type: ignore[method-assign]
        set_feasibility(study, trial, value, 0.5)
        study.tell(trial, [value, number / 5 + 0.1])


def test_it_proposes_what_optunas_own_does() -> None:
    """Models that are fitted once give the same proposals, in a conditional space, with trials of every kind."""

    def proposals(sampler: optuna.samplers.BaseSampler) -> list[dict[str, object]]:
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        for number in range(25):
            trial = study.ask()
            kind = trial.suggest_categorical("kind", ["a", "b"])
            value = trial.suggest_float(f"{kind}.x", 0, 1) + trial.suggest_int("n", 1, 9) / 9
            set_feasibility(study, trial, min(1.0, value / 2), 0.5)
            if number % 4 == 3:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, [value, number % 5 + 0.1])
        return [trial.params for trial in study.trials]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        theirs = optuna.samplers.TPESampler(n_startup_trials=5, multivariate=True, group=True, seed=1)
        ours = WindowedTPE(n_startup_trials=5, multivariate=True, group=True, seed=1)
    assert proposals(ours) == proposals(theirs)


def test_models_are_fitted_once_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[object] = []
    original = WindowedTPE._fit

    def counted(self: WindowedTPE, study: optuna.Study, trial: FrozenTrial, space: dict[str, Any]) -> Any:
        fitted.append(tuple(space))
        return original(self, study, trial, space)

    monkeypatch.setattr(WindowedTPE, "_fit", counted)
    study = made_study([])
    study.sampler = make_sampler("tpe", 0, startup=2)
    for number in range(4):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        if number == 3:
            frozen = trial._cached_frozen_trial
            space = study.sampler.infer_relative_search_space(study, frozen)
            draws = {study.sampler.sample_relative(study, frozen, space)["x"] for _ in range(3)}
            assert len(draws) == 3
        set_feasibility(study, trial, value, 0.5)
        study.tell(trial, [value, 0.1])
    assert fitted == [("x",)] * 2  # one for each trial that was not drawn at random


def test_an_ended_trial_is_read_once_for_a_group_of_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    original = optuna.samplers.TPESampler._get_internal_repr

    def counted(self: Any, trials: list[FrozenTrial], space: dict[str, Any], study: optuna.Study) -> Any:
        read.extend((trial.number, *space) for trial in trials)
        return original(self, trials, space, study)

    monkeypatch.setattr(optuna.samplers.TPESampler, "_get_internal_repr", counted)
    study = made_study([])
    study.sampler = make_sampler("tpe", 0, startup=2)
    for number in range(12):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        set_feasibility(study, trial, value, 0.5)
        study.tell(trial, [value, number / 5 + 0.1])
    assert sorted(read) == [(number, "x") for number in range(11)]  # the last one is not asked about


def test_values_are_kept_of_few_trials() -> None:
    kept = Window(most=5)
    kept.values("x").update(dict.fromkeys(range(20), (0.0,)))
    assert len(kept.values("x")) == 20
    kept.values("x")[20] = (0.0,)
    assert not kept.values("x")


def test_a_running_trial_is_read_again_when_it_has_more_to_say() -> None:
    study = made_study([])
    sampler = make_sampler("tpe", 0, startup=2)
    assert isinstance(sampler, WindowedTPE)
    space: dict[str, Any] = {"x": optuna.distributions.FloatDistribution(0, 1)}
    trial = study.ask()
    assert sampler._get_internal_repr([study.trials[0]], space, study)["x"].tolist() == []
    value = trial.suggest_float("x", 0, 1)
    assert sampler._get_internal_repr([study.trials[0]], space, study)["x"].tolist() == [value]
    set_feasibility(study, trial, value, 0.5)
    study.tell(trial, [value, 0.1])
    for _ in range(2):
        assert sampler._get_internal_repr([study.trials[0]], space, study)["x"].tolist() == [value]
