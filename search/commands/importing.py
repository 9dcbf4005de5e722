"""Take finished trials of another study as a warm start: those that this study could have made itself.

A trial fits where its candidate lies in this study's space and was trained on the same data with the same seed. It
comes with its whole record, judged anew by this study's bar, and counts as a trial of this study from then on.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from slimfront.search.launch import check_identity, only_coordinator
from slimfront.search.proposals.drafts import Drafts
from slimfront.spaces import CandidateError, SpaceError
from slimfront.studies.errors import StudyError
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store import storage as storages
from slimfront.studies.store.records import StudyRecord, to_frozen
from slimfront.studies.store.study import StudyStore, find_study, open_study, snapshot


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
    opened = storages.open_storage(source, must_exist=True, option=asked[0])
    old = snapshot(find_study(opened, source_name, options=asked))
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what there is to say is ours to say
    with only_coordinator(storage):
        data = search_data(settings.dataset, data_dir=data_dir, image_size=settings.image_size)
        store = open_study(storages.open_storage(storage), settings.name)
        if (old.storage, old.name) == (snapshot(store).storage, store.name):
            raise StudyError(f"Study {store.name!r} cannot be imported into itself: give another --name.")
        check_identity(store, settings, data.digest)
        return _copy(old, store, settings, data.digest)


def _copy(old: StudyRecord, store: StudyStore, settings: Settings, data_digest: str) -> dict[str, Any]:
    drafts = Drafts(settings.make_space())
    known = {trial.digest for trial in store.trials}
    told = dict.fromkeys(("imported", "known", "outside", "other_data"), 0)
    for trial in old.trials:
        if trial.state is not State.COMPLETE or trial.own_candidate is None:
            continue
        if trial.digest in known:
            told["known"] += 1
        elif trial.data_digest != data_digest or trial.seed != settings.seed:
            told["other_data"] += 1
        else:
            made = _remade(trial, drafts, f"{old.name}, trial {trial.number}")
            if made is None:
                told["outside"] += 1
                continue
            store.add(to_frozen(made, settings.bar))
            known.add(trial.digest)
            told["imported"] += 1
    return {"study": store.name, "source": old.name, **told}


def _remade(trial: TrialRecord, drafts: Drafts, source: str) -> TrialRecord | None:
    """The trial as this study would have made it; None: it could not have."""
    candidate = trial.own_candidate
    if candidate is None:
        return None
    try:
        draft = drafts.given(drafts.space.parameters(candidate))
    except (SpaceError, CandidateError, KeyError, ValueError):
        return None
    if draft.candidate != candidate:
        return None
    return dataclasses.replace(
        trial.result(), parameters=draft.parameters, distributions=draft.distributions, imported_from=source
    )


def print_imported(told: dict[str, Any]) -> None:
    """One line."""
    text = f"{told['imported']} trials of {told['source']} imported into {told['study']}"
    others = {"known": "known already", "outside": "outside of the space", "other_data": "with other data or seed"}
    left = [f"{told[key]} {words}" for key, words in others.items() if told[key]]
    Console().print(text + (f"; left out: {', '.join(left)}" if left else ""), markup=False, highlight=False)
