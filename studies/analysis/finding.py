"""A trial by what people type: its number, or the first digits of its network's digest. A pure function."""

from __future__ import annotations

import re

from slimfront.studies.errors import StudyError
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.records import StudyRecord

SHOWN = 8
"""Digits of a digest that are shown; so many or more are never taken for a trial's number."""
_LEAST = 4
_DIGITS = re.compile(rf"[0-9a-f]{{{_LEAST},64}}")


def is_digest(text: str) -> bool:
    """Whether a word can only be (the beginning of) a digest.

    >>> is_digest("3f0c8a12"), is_digest("3f0c"), is_digest("1234"), is_digest("resnet8")
    (True, True, False, False)
    """
    return _DIGITS.fullmatch(text) is not None and not (text.isdigit() and len(text) < SHOWN)


def find_trial(study: StudyRecord, text: str) -> TrialRecord:
    """The trial of that number, or with a network whose digest begins so.

    Of several trials with one network it is the one that trained it.

    Args:
        study: That the trial belongs to.
        text: As typed.

    Raises:
        StudyError: There is no such trial, or there are several such networks.
    """
    if is_digest(text):
        return _by_digest(study, text)
    if not text.isdecimal():
        raise StudyError(
            f"{text!r} is no trial: give its number, or {_LEAST} or more of the first digits of its network's digest."
        )
    number = int(text)
    if number >= len(study.trials):
        known = f"only 0 to {len(study.trials) - 1}" if study.trials else "for it has none yet"
        raise StudyError(f"Study {study.name} has no trial {number}, {known}.")
    return study.trials[number]


def _by_digest(study: StudyRecord, text: str) -> TrialRecord:
    found = [trial for trial in study.trials if (trial.digest or "").startswith(text)]
    if not found:
        raise StudyError(f"Study {study.name} has no network whose digest begins with {text}.")
    digests = sorted({str(trial.digest) for trial in found})
    if len(digests) > 1:
        raise StudyError(f"{len(digests)} networks of study {study.name} begin with {text}: give more of the digest.")
    ended = [trial for trial in found if trial.state is State.COMPLETE and trial.copied_from is None]
    return (ended or found)[0]
