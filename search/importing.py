"""Take finished trials of another study as a warm start: those that this study could have made itself.

A trial fits where its candidate lies in this study's space and was trained on the same data with the same seed. It
comes with its whole record, judged anew by this study's bar, and counts as a trial of this study from then on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from search.launch import check_identity, only_coordinator
from spaces import Candidate, CandidateError, Space, SpaceError
from studies import storage as storages
from studies.constraint import system_attributes
from studies.errors import StudyError
from studies.read_only import open_for_reading
from studies.record import read
from studies.settings import Settings

_OURS = ("owner", "beat", "starts", "dense_of", "spared")  # attributes that mean nothing in another study


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
    from evaluators.data import search_data

    asked = ("--source", "--source-name")
    old = storages.load_study(open_for_reading(source, option=asked[0]), source_name, options=asked)
    if settings.name == old.study_name and storages.same_database(storage, source):
        raise StudyError(f"Study {settings.name!r} cannot be imported into itself: give another --name.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what there is to say is ours to say
    opened = storages.open_storage(storage)
    with only_coordinator(storage, opened):
        data = search_data(settings.dataset, data_dir=data_dir, image_size=settings.image_size)
        study = storages.create_or_load(opened, settings.name)
        check_identity(study, settings, data.digest)
        return _copy(old, study, settings, data.digest)


def _copy(old: optuna.Study, study: optuna.Study, settings: Settings, data_digest: str) -> dict[str, Any]:
    space = settings.make_space()
    known = {trial.user_attrs.get("digest") for trial in study.get_trials(deepcopy=False)}
    told = dict.fromkeys(("imported", "known", "outside", "other_data"), 0)
    for trial in old.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        record = read(trial)
        if record is None or record.copied_from is not None:
            continue
        if record.digest in known:
            told["known"] += 1
        elif record.data_digest != data_digest or record.seed != settings.seed:
            told["other_data"] += 1
        else:
            made = _remade(trial, record.candidate, space, settings.bar, old.study_name)
            if made is None:
                told["outside"] += 1
                continue
            study.add_trial(made)
            known.add(record.digest)
            told["imported"] += 1
    return {"study": study.study_name, "source": old.study_name, **told}


def _remade(trial: FrozenTrial, candidate: Candidate, space: Space, bar: float, source: str) -> FrozenTrial | None:
    """The trial as this study would have made it; None: it could not have."""
    try:
        answers = _Answers(dict(space.parameters(candidate)))
        if space.sample(answers) != candidate:
            return None
    except (SpaceError, CandidateError, KeyError, ValueError):
        return None
    kept = {key: value for key, value in trial.user_attrs.items() if key not in _OURS}
    return optuna.create_trial(
        values=trial.values,
        params=answers.parameters,
        distributions=answers.kinds,
        user_attrs={**kept, "imported_from": f"{source}, trial {trial.number}"},
        system_attrs=system_attributes(trial.values[0], bar),
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
