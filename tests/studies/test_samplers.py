from __future__ import annotations

import warnings

import optuna
import pytest
from slimfront.studies.errors import StudyError
from slimfront.studies.sampling import SAMPLERS, make_sampler


def proposals(name: str, seed: int, known: int = 0, count: int = 6) -> list[float]:
    sampler = make_sampler(name, seed, startup=4, known_trials=known)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    found = []
    for _ in range(count):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("bar", 0.5 - x)
        study.tell(trial, [x, 1 - x])
        found.append(x)
    return found


@pytest.mark.parametrize("name", SAMPLERS.names)
def test_the_same_seed_proposes_the_same_and_nothing_warns(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", optuna.exceptions.ExperimentalWarning)
        assert proposals(name, 3) == proposals(name, 3)
        assert proposals(name, 3) != proposals(name, 4)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "random", "gp"])
def test_a_resumed_search_does_not_repeat_its_first_proposals(name: str) -> None:
    first = proposals(name, 3, count=3)
    assert set(first).isdisjoint(proposals(name, 3, known=3, count=3))
    assert proposals(name, 3, known=3) == proposals(name, 3, known=3)


def test_a_resumed_qmc_goes_on_in_its_sequence() -> None:
    def run(parts: list[int]) -> list[float]:
        study = optuna.create_study(directions=["maximize", "minimize"])
        found = []
        for part in parts:
            study.sampler = make_sampler("qmc", 5, known_trials=len(study.trials))
            for _ in range(part):
                trial = study.ask()
                found.append(trial.suggest_float("x", 0, 1))
                study.tell(trial, [0.5, 0.5])
        return found

    assert run([9]) == run([4, 5])


@pytest.mark.parametrize(
    ("name", "seed", "startup", "known", "message"),
    [
        ("bayes", 0, None, 0, "gp, nsga2, qmc, tpe, random"),
        ("tpe", -1, None, 0, "seed"),
        ("tpe", 2**32, None, 0, "seed"),
        ("tpe", 0, 0, 0, "at least 1"),
        ("nsga2", 0, 1, 0, "at least 2"),
        ("tpe", 0, None, -1, "known trials"),
    ],
)
def test_wrong_settings_are_refused(name: str, seed: int, startup: int | None, known: int, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make_sampler(name, seed, startup=startup, known_trials=known)


def test_tpe_handles_a_conditional_space_and_parallel_proposals() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=make_sampler("tpe", 0, startup=3))
    waiting = []
    for index in range(14):
        trial = study.ask()
        family = trial.suggest_categorical("family", ["residual", "inverted"])
        width = trial.suggest_int(f"{family}.width", 8, 64)
        waiting.append((trial, width))
        if index % 3 == 2:  # three at a time
            for asked, value in waiting:
                asked.set_constraint("bar", 0.5 - value / 64)
                study.tell(asked, [value / 64, value])
            waiting = []
    assert len({trial.params.get("residual.width", 0) for trial in study.trials}) > 2
