"""How long a study has been worked on, over all searches that did: what its limit in hours counts."""

from __future__ import annotations

import time

from slimfront.studies.store.ownership import BEAT_SECONDS
from slimfront.studies.store.study import StudyAttributes

_KEY = "seconds_worked"
_ALONE_SECONDS = 60.0  # between two notes, where nobody else wants to know


class StudyClock:
    """Counts on from what the study says.

    Args:
        attributes: Of the study.
        hours: Limit of the whole study; None: there is none.
        shared: Whether other coordinators read the time, too.
    """

    def __init__(self, attributes: StudyAttributes, hours: float | None, *, shared: bool) -> None:
        self._attributes, self.hours = attributes, hours
        self._pause = BEAT_SECONDS if shared else _ALONE_SECONDS
        self._before = self._noted_before = float(attributes.get(_KEY, 0.0))
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """In all, up to now."""
        return self._before + time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        """Whether the hours are used up."""
        return self.hours is not None and self.seconds >= self.hours * 3600

    def note(self, *, now: bool = False) -> None:
        """Write the time down now and then, so that a crash forgets at most a minute, or `now`.

        Of coordinators that work at the same time the longest counts.
        """
        if now or self.seconds >= self._noted_before + self._pause:
            self._noted_before = self.seconds
            self._attributes.set(_KEY, round(max(self.seconds, float(self._attributes.get(_KEY, 0.0))), 1))
