"""What Optuna's samplers would choose: asked of a copy of the study in memory.

Samplers want a study of Optuna's, read all of its trials for every proposal, and leave notes in them. The copy holds
what they look at and no more: parameters, values and violations of the ended trials. So a proposal leaves no trace in
the study, reads nothing from its database, and takes what the sampler itself takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import optuna
from optuna.trial import TrialState, create_trial
from slimfront.search.proposals.drafts import Draft, Drafts
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.sampling import SAMPLERS, make_sampler, told
from slimfront.studies.settings import Settings
from slimfront.studies.store.storage import DIRECTIONS

_OWN_NOTES = "tpe:"  # TPE's notes of what it drew for the trial itself: of no use to any other
_STATES = {State.COMPLETE: TrialState.COMPLETE, State.STOPPED: TrialState.PRUNED}


class Sampling:
    """A study's sampler.

    Args:
        settings: Of the study: which sampler, its start-up, its seed.
        drafts: Of the study's space.
    """

    def __init__(self, settings: Settings, drafts: Drafts) -> None:
        self._settings, self._drafts = settings, drafts
        self._copy = optuna.create_study(directions=list(DIRECTIONS))
        self._asked, self._number = 0, -1

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take in trials that have ended; failed ones say nothing to a sampler."""
        for record in records:
            if record.state in _STATES:
                complete = record.state == State.COMPLETE
                self._copy.add_trial(
                    create_trial(
                        state=_STATES[record.state],
                        values=record.point if complete else None,
                        params=dict(record.parameters),
                        distributions=dict(record.distributions),
                        system_attrs=dict(record.sampler),
                        constraints=None if record.violation is None else {"bar": record.violation},
                    )
                )

    def ask(self, number: int, open_trials: Sequence[TrialRecord]) -> Draft | None:
        """What the sampler chooses for the trial of this number; None: that makes no candidate.

        A fresh sampler for each trial, seeded by its number: a search that was stopped goes on as if it had not been.

        Args:
            number: Of the trial, which is that of the trials before it.
            open_trials: In training; a sampler takes them for bad ones, so that proposals at the same time differ.
        """
        settings = self._settings
        if number != self._number:
            self._number = number
            self._copy.sampler = make_sampler(
                settings.sampler, settings.seed, startup=settings.startup_trials, known_trials=number
            )
        if SAMPLERS[settings.sampler].in_sequence:  # the sequence is counted by the study, and this copy may be new
            while self._asked < number - 1:
                self._draft()
        with self._running(open_trials), told(settings.sampler):
            return self._draft()

    def _draft(self) -> Draft | None:
        self._asked += 1
        trial = self._copy.ask()
        try:
            draft = self._drafts.asked(trial)
            notes = self._copy.get_trials(deepcopy=False, states=(TrialState.RUNNING,))[-1].system_attrs
            kept = {name: value for name, value in notes.items() if not name.startswith(_OWN_NOTES)}
        finally:
            self._copy.tell(trial, state=TrialState.FAIL)
        return None if draft is None else replace(draft, sampler=kept)

    @contextlib.contextmanager
    def _running(self, records: Sequence[TrialRecord]) -> Iterator[None]:
        before = len(self._copy.get_trials(deepcopy=False))
        for record in records:
            self._copy.add_trial(
                create_trial(
                    state=TrialState.RUNNING,
                    params=dict(record.parameters),
                    distributions=dict(record.distributions),
                )
            )
        try:
            yield
        finally:
            for number in range(before, before + len(records)):
                self._copy.tell(number, state=TrialState.FAIL)
