"""Take finished trials of another study as a warm start: those that this study could have made itself.

A trial fits where its candidate lies in this study's space and was trained on the same data with the same seed. It
comes with its whole record, judged anew by this study's bar, and counts as a trial of this study from then on.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console
from slimfront.search.launch import check_identity, only_coordinator
from slimfront.spaces import CandidateError, Space, SpaceError
from slimfront.studies.errors import StudyError
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store import storage as storages
from slimfront.studies.store.records import read_trials, to_frozen


def import_finished(
    settings: Settings, storage: str, source: str, source_name: str | None, data_dir: Path | None
) -> dict[str, Any]:
    """Copy what fits.

    Returns:
        {"study", "source", "imported", "known", "outside", "other_data"}: trials by what became of them; `known` were
        here already, `outside` are candidates beyond the space, `other_data` were trained on other data or seeds.

    Raises:
        StudyError: The source is not there, or the study was begun with other settings.
    """
    from slimfront.evaluators.data.splits import search_data

    asked = ("--source", "--source-name")
    old = storages.load_study(
        storages.open_storage(source, must_exist=True, option=asked[0]), source_name, options=asked
    )
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what there is to say is ours to say
    with only_coordinator(storage):
        data = search_data(settings.dataset, data_dir=data_dir, image_size=settings.image_size)
        study = storages.create_or_load(storages.open_storage(storage), settings.name)
        if storages.study_url(study) == storages.study_url(old) and study.study_name == old.study_name:
            raise StudyError(f"Study {study.study_name!r} cannot be imported into itself: give another --name.")
        check_identity(study, settings, data.digest)
        return _copy(old, study, settings, data.digest)


def _copy(old: optuna.Study, study: optuna.Study, settings: Settings, data_digest: str) -> dict[str, Any]:
    space = settings.make_space()
    known = {trial.digest for trial in read_trials(study)}
    told = dict.fromkeys(("imported", "known", "outside", "other_data"), 0)
    for trial in read_trials(old):
        if trial.state is not State.COMPLETE or trial.own_candidate is None:
            continue
        if trial.digest in known:
            told["known"] += 1
        elif trial.data_digest != data_digest or trial.seed != settings.seed:
            told["other_data"] += 1
        else:
            made = _remade(trial, space, f"{old.study_name}, trial {trial.number}")
            if made is None:
                told["outside"] += 1
                continue
            study.add_trial(to_frozen(made, settings.bar))
            known.add(trial.digest)
            told["imported"] += 1
    return {"study": study.study_name, "source": old.study_name, **told}


def _remade(trial: TrialRecord, space: Space, source: str) -> TrialRecord | None:
    """The trial as this study would have made it; None: it could not have."""
    candidate = trial.own_candidate
    if candidate is None:
        return None
    try:
        answers = _Answers(dict(space.parameters(candidate)))
        if space.sample(answers) != candidate:
            return None
    except (SpaceError, CandidateError, KeyError, ValueError):
        return None
    return dataclasses.replace(
        trial.result(), parameters=answers.parameters, distributions=answers.kinds, imported_from=source
    )


class _Answers:
    """Stands in for a trial (`spaces.space.Trial`) whose parameters are given, and notes their distributions."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.kinds: dict[str, BaseDistribution] = {}

    def _answer(self, name: str, kind: BaseDistribution) -> Any:
        self.kinds[name] = kind
        return self.parameters[name]

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._answer(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._answer(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._answer(name, FloatDistribution(low, high, log=log, step=step)))


def print_imported(told: dict[str, Any]) -> None:
    """One line."""
    text = f"{told['imported']} trials of {told['source']} imported into {told['study']}"
    others = {"known": "known already", "outside": "outside of the space", "other_data": "with other data or seed"}
    left = [f"{told[key]} {words}" for key, words in others.items() if told[key]]
    Console().print(text + (f"; left out: {', '.join(left)}" if left else ""), markup=False, highlight=False)
