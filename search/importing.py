"""Take finished trials of another study as a warm start: those that this study could have made itself.

A trial fits where its candidate lies in this study's space and was trained on the same data with the same seed. It
comes with its whole record, judged anew by this study's bar, and counts as a trial of this study from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from search.launch import check_identity, only_coordinator
from search.progress import plainly
from spaces import Candidate, CandidateError, Space, SpaceError
from studies import storage as storages
from studies.constraint import system_attributes
from studies.errors import StudyError
from studies.front import has_values
from studies.page import counted
from studies.record import read
from studies.settings import Settings

_OURS = ("owner", "beat", "starts", "dense_of", "spared")  # attributes that mean nothing in another study


_LEFT_OUT = {
    "known": "known already",
    "outside": "outside of the space",
    "other_data": "with other data or seed",
    "copies": "copies of others' results",
    "unreadable": "without a record that can be read",
    "unfinished": "not trained to their end",
}
"""Why trials are not taken, by the key in what is told, and the words for it."""


def import_finished(
    settings: Settings, storage: str, source: str, source_name: str | None, data_dir: Path | None
) -> dict[str, Any]:
    """Copy what fits.

    Returns:
        {"study", "source", "imported", "known", "outside", "other_data", "copies", "unreadable", "unfinished"}: trials
        by what became of them. `known` were here already; `outside` are candidates beyond the space; `other_data` were
        trained on other data or seeds; `copies` took over the result of another trial; `unreadable` have no record of
        this program, or values that are no accuracy and score; `unfinished` were stopped, failed or still run.

        Where none of them fits, nothing is written.

    Raises:
        StudyError: The source is not there or not slimfront's, or the study was begun with other settings.
    """
    from evaluators.data import search_data

    asked = ("--source", "--source-name")
    old = storages.load_study(
        storages.open_storage(source, must_exist=True, option=asked[0]), source_name, options=asked
    )
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what there is to say is ours to say
    say = plainly(Console(stderr=True))
    data = search_data(settings.dataset, data_dir=data_dir, image_size=settings.image_size, progress=say)
    fitting, left = _sorted_out(old, settings, data.digest)
    told = {"study": settings.name, "source": old.study_name, "imported": 0, **left}
    if not fitting:
        return told
    with only_coordinator(storage):
        study = storages.create_or_load(storages.open_storage(storage), settings.name)
        if storages.study_url(study) == storages.study_url(old) and study.study_name == old.study_name:
            raise StudyError(f"Study {study.study_name!r} cannot be imported into itself: give another --name.")
        check_identity(study, settings, data.digest)
        known = {trial.user_attrs.get("digest") for trial in study.get_trials(deepcopy=False)}
        fresh = [trial for digest, trial in fitting.items() if digest not in known]
        study.add_trials(fresh)
    return told | {"imported": len(fresh), "known": left["known"] + len(fitting) - len(fresh)}


def _sorted_out(
    old: optuna.Study, settings: Settings, data_digest: str
) -> tuple[dict[str, FrozenTrial], dict[str, int]]:
    """Trials by digest as the new study would have made them, and how many others there are, by the reason."""
    space = settings.make_space()
    fitting: dict[str, FrozenTrial] = {}
    left = dict.fromkeys(_LEFT_OUT, 0)
    for trial in old.get_trials(deepcopy=False):
        record = read(trial)
        if trial.state != TrialState.COMPLETE:
            left["unfinished"] += 1
        elif record is None or not has_values(trial):
            left["unreadable"] += 1
        elif record.copied_from is not None:
            left["copies"] += 1
        elif record.data_digest != data_digest or record.seed != settings.seed:
            left["other_data"] += 1
        elif record.digest in fitting:
            left["known"] += 1
        else:
            made = _remade(trial, record.candidate, space, settings.bar, old.study_name)
            if made is None:
                left["outside"] += 1
            else:
                fitting[record.digest] = made
    return fitting, left


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


def refuse_nothing(told: Mapping[str, Any]) -> None:
    """Raise StudyError, saying why, where nothing was imported and nothing that fits had been before."""
    if not told["imported"] and not told["known"]:
        raise StudyError(f"No trial of study {told['source']!r} can be imported: {_words(told) or 'it has none'}.")


def print_imported(told: dict[str, Any]) -> None:
    """One line."""
    text = f"{counted(told['imported'], 'trial')} of {told['source']} imported into {told['study']}"
    left = _words(told)
    shown = text + (f"; left out: {left}" if left else "")
    Console().print(shown, markup=False, highlight=False, soft_wrap=True)


def _words(left: Mapping[str, Any]) -> str:
    """ "3 known already, 2 outside of the space"."""
    return ", ".join(f"{left[key]} {words}" for key, words in _LEFT_OUT.items() if left[key])
