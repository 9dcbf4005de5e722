"""Take finished trials of another study as a warm start: those that this study could have made itself.

A trial fits where its candidate lies in this study's space and was trained on the same data with the same seed. It
comes with its whole record, judged anew by this study's bar, and counts as a trial of this study from then on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from slimfront.evaluators.scoring.cost import over
from slimfront.evaluators.scoring.costs.score import SCORE
from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.launch import check_identity, only_coordinator
from slimfront.search.own_code import changed, check_code
from slimfront.search.proposals.drafts import Drafts
from slimfront.search.supernet.preparation import keys_of
from slimfront.search.terminal import Console
from slimfront.spaces import CandidateError, SpaceError, references
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign.text import LONGEST, visible
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.report.numbers import counted
from slimfront.studies.settings import Settings
from slimfront.studies.store import storage as storages
from slimfront.studies.store.constraint import costs_of
from slimfront.studies.store.read_only import open_for_reading
from slimfront.studies.store.records import StudyRecord, to_frozen
from slimfront.studies.store.study import find_study, open_study, snapshot

_LEFT_OUT = {
    "known": "known already",
    "outside": "outside of the space",
    "other_data": "with other data or seed",
    "other_code": "with other code of your own",
    "other_start": "from another supernet, or none",
    "other_cost": "without a cost that this study keeps low or bounds",
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
        {"study", "source", "imported"} and, by what became of the other trials, "known" (they were here already),
        "outside" (candidates beyond the space), "other_data" (trained on other data or seeds), "other_code" (with
        another source of the user's own code), "other_start" (from other weights than this study's trials start from),
        "other_cost" (without a cost that this study needs), "copies" (they took
        over the result of another trial), "unreadable" (no record of this program, or values that are no accuracy and
        cost) and "unfinished" (stopped, failed, or still running).

        Where none of them fits, nothing is written.

    Raises:
        StudyError: The source is not there or not slimfront's, or the study was begun with other settings.
    """
    from slimfront.evaluators.data.splits import search_data

    asked = ("--source", "--source-name")
    old = snapshot(find_study(open_for_reading(source, option=asked[0]), source_name, options=asked))
    if settings.name == old.name and storages.same_database(storage, source):
        raise StudyError(f"Study {settings.name!r} cannot be imported into itself: give another --name.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what there is to say is ours to say
    say = Console(stderr=True).say
    data = search_data(settings.dataset, data_dir=data_dir, image_size=settings.image_size, progress=say)
    starts = keys_of(settings, data)
    fitting, left = _sorted_out(old, settings, data.digest, starts)
    told = {"study": settings.name, "source": old.name, "imported": 0, **left}
    if not fitting:
        return told
    with only_coordinator(storage) as (opened, _):
        store = open_study(opened, settings.name, settings.axis)
        check_identity(store, settings, data.digest)
        check_code(store, settings, accepted=False)
        known = {trial.digest for trial in store.trials}
        fresh = [trial for digest, trial in fitting.items() if digest not in known]
        for trial in fresh:
            store.add(to_frozen(trial, settings.bar))
    return told | {"imported": len(fresh), "known": left["known"] + len(fitting) - len(fresh)}


def _sorted_out(
    old: StudyRecord, settings: Settings, data_digest: str, starts: frozenset[str]
) -> tuple[dict[str, TrialRecord], dict[str, int]]:
    """Trials by digest as the new study would have made them, and how many others there are, by the reason."""
    drafts = Drafts(settings.make_space())
    fitting: dict[str, TrialRecord] = {}
    left = dict.fromkeys(_LEFT_OUT, 0)
    for trial in old.trials:
        if trial.state is not State.COMPLETE:
            left["unfinished"] += 1
        elif trial.candidate is None or not trial.is_located:
            left["unreadable"] += 1
        elif trial.copied_from is not None:
            left["copies"] += 1
        elif trial.data_digest != data_digest or trial.seed != settings.seed:
            left["other_data"] += 1
        elif changed(trial.code, references.sources()):
            left["other_code"] += 1
        elif trial.inherited.get("supernet", "") not in starts:
            left["other_start"] += 1
        elif trial.candidate.digest in fitting:
            left["known"] += 1
        else:
            judged = _judged(trial, settings)
            if judged is None:
                left["other_cost"] += 1
                continue
            made = _remade(judged, drafts, f"{visible(old.name, most=LONGEST // 2)}, trial {trial.number}")
            if made is None:
                left["outside"] += 1
            else:
                fitting[trial.candidate.digest] = made
    return fitting, left


def _judged(trial: TrialRecord, settings: Settings) -> TrialRecord | None:
    """The trial by this study's cost and bounds; None: it does not say what they need."""
    known = {**{name: trial.totals[name] for name in settings.asked if name in trial.totals}, **costs_of(trial)}
    if not {settings.cost, *settings.max} <= set(known):
        return None
    return dataclasses.replace(
        trial,
        objective="" if settings.cost == SCORE.name else settings.cost,
        costs={name: value for name, value in known.items() if name != SCORE.name},
        over=over(known, settings.max),
    )


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


def refuse_nothing(told: Mapping[str, Any]) -> None:
    """Raise StudyError, saying why, where nothing was imported and nothing that fits had been before."""
    if not told["imported"] and not told["known"]:
        raise StudyError(f"No trial of study {told['source']!r} can be imported: {_words(told) or 'it has none'}.")


def print_imported(told: dict[str, Any], study: Path, storage: str) -> None:
    """One line, and the search that goes on with them; `study` is its file, `storage` its URL as typed."""
    text = f"{counted(told['imported'], 'trial')} of {told['source']} imported into {told['study']}"
    left = _words(told)
    Console().say(text + (f"; left out: {left}" if left else ""))
    say_next(command("search", study, storage=storage, name=told["study"]))


def _words(left: Mapping[str, Any]) -> str:
    """ "3 known already, 2 outside of the space"."""
    return ", ".join(f"{left[key]} {words}" for key, words in _LEFT_OUT.items() if left[key])
