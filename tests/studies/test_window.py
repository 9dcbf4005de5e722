"""What the default sampler is shown of a long study."""

from __future__ import annotations

import optuna
from made_trials import made_study, made_trial
from optuna.trial import FrozenTrial, TrialState

from studies.constraint import set_feasibility
from studies.samplers import make_sampler
from studies.window import window


def _long() -> list[FrozenTrial]:
    """200 trials, the first ten of which are the best; most of the others miss the bar."""
    good = [made_trial(number, 0.95 + 0.001 * number, 0.01 + 0.001 * number) for number in range(10)]
    return good + [
        made_trial(
            number, 0.5 + 0.4 * (number % 7 == 0), 0.02, TrialState.PRUNED if number % 3 else TrialState.COMPLETE
        )
        for number in range(10, 200)
    ]


def test_a_short_study_is_shown_whole() -> None:
    trials = [*_long()[:20], made_trial(20, 0.9, 0.1, TrialState.FAIL)]
    assert window(trials, most=20) == trials[:20]


def test_of_a_long_study_the_best_and_the_latest_are_shown() -> None:
    trials = _long()
    running = optuna.trial.create_trial(state=TrialState.RUNNING)
    running.number = 200
    shown = window([*trials, running], most=50, best=0.2)
    assert shown[:10] == trials[:10]
    assert [trial.number for trial in shown[10:]] == list(range(160, 201))


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
