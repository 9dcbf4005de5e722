"""Keeps a search to its hours: short trials first, then long ones of the best, and none that would be cut off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import median

from slimfront.search.scheduling.clock import StudyClock
from slimfront.search.supernet.plan import FEW, RESERVE, Plan, Work, divide
from slimfront.studies.errors import StudyError
from slimfront.studies.record import State, TrialRecord

_LATEST = 12  # trials whose times count


@dataclass
class Pace:
    """What there is time for.

    Attributes:
        clock: Of the study.
        plan: That it is kept to, as seconds from `begun` on.
        begun: When the plan was made, by the study's clock.
        epoch: Seconds of an epoch of a trial; as measured before the first, and then as trials took.
        lengths: Epochs of the shortest trial and of the longest.
        work: That the plan was made for.
    """

    clock: StudyClock
    plan: Plan
    begun: float
    epoch: float
    lengths: tuple[int, int]
    work: Work
    _took: dict[int, float] = field(default_factory=dict)

    def begin_trials(self) -> None:
        """Divide anew what is left for trials: the phases before them have taken what they took."""
        now = self.clock.seconds
        left = self.begun + self.plan.seconds - now
        with contextlib.suppress(StudyError):  # no time for a single one: none will begin
            self.plan = divide(left, replace(self.work, before={}), self.plan.cores)
            self.begun = now

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take in trials that are complete: how long their epochs took."""
        for record in records:
            epochs = sum(point.epoch > 0 for point in record.curve)
            if record.state is State.COMPLETE and record.seconds and epochs and record.copied_from is None:
                self._took[record.number] = record.seconds / epochs
        if self._took:
            latest = [self._took[number] for number in sorted(self._took)[-_LATEST:]]
            # Between the middle and the slowest: shapes differ, and one that is cut off has cost all of its time.
            self.epoch = (median(latest) + max(latest)) / 2

    @property
    def length(self) -> int | None:
        """Epochs that a trial has which begins now; None: it is not for the plan to say."""
        short, long = self.lengths
        start = self.plan.start(FEW)
        if start is None or short == long:
            return None
        return short if self.clock.seconds - self.begun < start else long

    @property
    def is_long(self) -> bool:
        """Whether it is time for the long ones."""
        return self.length == self.lengths[1]

    def fits(self) -> bool:
        """Whether a trial that begins now comes to its end in time."""
        end = self.begun + self.plan.seconds * (1 - RESERVE / 2)
        return self.clock.seconds + (self.length or self.lengths[1]) * self.epoch <= end
