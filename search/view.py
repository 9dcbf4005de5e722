"""The study as its coordinator sees it: read again only when it may have changed, and nothing looked at twice.

Every decision asks about all trials: how many there are, whether a candidate was met before, what the front is. With
ten thousand of them, reading and looking through all would take longer than many a training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState
from slimfront.search.transactions import StudyStorage
from slimfront.studies.front import front
from slimfront.studies.record import TrialRecord
from slimfront.studies.store.constraint import is_feasible

FRESH_SECONDS = 1.0  # what other coordinators have done is seen after so long


class View:
    """Trials of a study, by number, and what is asked about them.

    Attributes:
        latest: All trials as they were read last.
        waiting: How many of them were enqueued and had not begun.

    Args:
        study: Whose trials they are.
        storage: The study's; it counts what we begin and end.
        bar: Accuracy that the front demands.
        shared: Whether others may write to the study.
    """

    def __init__(self, study: optuna.Study, storage: StudyStorage, bar: float, *, shared: bool) -> None:
        self._study, self._storage, self._bar, self._shared = study, storage, bar, shared
        self._begun, self._ended_by_us, self._read_at = -1, -1, 0.0
        self.latest: Sequence[FrozenTrial] = []
        self._known = 0  # trials below this number have all ended, and are taken in
        self._beyond: set[int] = set()  # numbers of later ones that are taken in
        self._by_digest: dict[str, list[FrozenTrial]] = {}
        self._front: list[TrialRecord] = []
        self.waiting = 0
        self._ended: list[FrozenTrial] = []

    def count(self) -> int:
        """Trials that have begun."""
        self._keep_up()
        return len(self.latest) - self.waiting + self._storage.begun - self._begun

    def ended(self, since: int = 0) -> Sequence[FrozenTrial]:
        """Trials that have ended, in the order in which that was seen, without the first `since`."""
        self._keep_up()
        return self._ended[since:]

    def with_digest(self, digest: str) -> Sequence[FrozenTrial]:
        """Trials with this candidate that have ended, by number."""
        self._keep_up()
        return sorted(self._by_digest.get(digest, ()), key=lambda trial: trial.number)

    def front(self) -> list[TrialRecord]:
        """The front."""
        self._keep_up()
        return self._front

    def _keep_up(self) -> None:
        """Read anew where we have ended a trial, or where others may have; what we begin can be counted without."""
        old = self._shared and time.monotonic() - self._read_at > FRESH_SECONDS
        if old or self._ended_by_us != self._storage.ended:
            self.read()

    def read(self) -> None:
        """Look at the study now, however fresh the view is."""
        self._begun, self._ended_by_us = self._storage.begun, self._storage.ended
        self._read_at = time.monotonic()
        self.latest = self._study.get_trials(deepcopy=False)
        self.waiting = 0
        better = []
        for trial in self.latest[self._known :]:
            if not trial.state.is_finished():
                self.waiting += trial.state == TrialState.WAITING
            elif trial.number not in self._beyond:
                self._beyond.add(trial.number)
                digest = trial.user_attrs.get("digest")
                if digest is not None:
                    self._by_digest.setdefault(digest, []).append(trial)
                self._ended.append(trial)
                record = TrialRecord.of(trial)
                if is_feasible(record, self._bar):
                    better.append(record)
        while self._known in self._beyond:
            self._beyond.remove(self._known)
            self._known += 1
        if better:
            self._front = front([*self._front, *better], self._bar)
