"""Whose trial is it? One owner for each running trial, however many coordinators share a study, and however they die.

Every running trial carries its owner and, where several coordinators may share the study, a beat: a number that the
owner's thread raises every few seconds. A coordinator that sees a beat stand still for long takes the trial over. It
measures with its own monotonic clock how long, so no clock has to be right, let alone agree with another. Taking over
happens under the database's lock, so one takes it and no other.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from optuna.exceptions import OptunaError
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.study import StudyStore, study_lock
from sqlalchemy.exc import SQLAlchemyError

BEAT_SECONDS = 10.0  # between two beats
STALE_SECONDS = 60.0  # a beat that stands still for so long belongs to a dead coordinator
NOBODY = "nobody"  # the owner of a trial that was left on purpose


@dataclass
class _Seen:
    beat: tuple[Any, Any]
    since: float
    moved: bool = False


class Ownership:
    """The trials of this coordinator, and a look at those of others. A context, within which the beat is kept up.

    Args:
        store: Of the study.
        shared: Whether other coordinators may work on the study at the same time; if not, each running trial that is
            not ours was left by a search that is over.
    """

    def __init__(self, store: StudyStore, *, shared: bool) -> None:
        self._store, self.shared = store, shared
        self.me = f"{_place()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._mine: set[int] = set()
        self._seen: dict[int, _Seen] = {}
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self.shared:
            self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(5)

    def take(self, number: int) -> None:
        """A trial that nobody else can have is ours from now on."""
        self._store.write(number, {"owner": self.me})
        self._mine.add(number)

    def drop(self, number: int) -> None:
        """A trial has ended, or is somebody else's."""
        self._mine.discard(number)

    def leave(self) -> None:
        """Give all our running trials away: whoever comes next takes them up at once."""
        for number in sorted(self._mine):
            with contextlib.suppress(OptunaError, KeyError):
                if self.holds(number):
                    self._store.write(number, {"owner": NOBODY})
        self._mine.clear()

    def holds(self, number: int) -> bool:
        """Whether a trial that we took is ours still; after a long silence another may have taken it over."""
        if not self.shared:
            return True
        now = self._store.read(number)
        return not now.state.is_over and now.owner == self.me

    def is_abandoned(self, record: TrialRecord) -> bool:
        """Whether the coordinator that runs a trial is dead or gone."""
        if record.number in self._mine:
            return False
        if not self.shared or record.owner in (self.me, NOBODY) or _is_dead(record.owner):
            return True
        seen = self._look(record)
        return time.monotonic() - seen.since >= STALE_SECONDS

    def is_doubtful(self, record: TrialRecord) -> bool:
        """Whether it is not known yet if the coordinator that runs another's trial still lives."""
        if record.number in self._mine:
            return False
        seen = self._look(record)
        return not seen.moved or time.monotonic() - seen.since > 3 * BEAT_SECONDS

    def _look(self, record: TrialRecord) -> _Seen:
        beat = (record.owner, record.beat)
        seen = self._seen.get(record.number)
        if seen is None or seen.beat != beat:
            seen = _Seen(beat, time.monotonic(), moved=seen is not None)
            self._seen[record.number] = seen
        return seen

    def claim(self, record: TrialRecord) -> bool:
        """Take over an abandoned trial, as `record` shows it; False where it has stirred, or another was faster."""
        with study_lock(self._store):
            now = self._store.read(record.number)
            if now.state != State.RUNNING or (now.owner, now.beat) != (record.owner, record.beat):
                return False
            self.take(record.number)
        return True

    def _keep_beating(self) -> None:
        """In a thread of its own: a training in the coordinator's process blocks it for an epoch."""
        beat = 0
        while not self._end.wait(BEAT_SECONDS):
            beat += 1
            for number in list(self._mine):
                # A database that is gone, or a trial that has just ended: the next beat will do.
                with contextlib.suppress(OptunaError, SQLAlchemyError, KeyError):
                    self._store.storage.set_trial_user_attr(self._store.trial_id(number), "beat", beat)


def _place() -> str:
    """This machine; where process ids have a space of their own, as in a container, this space of it."""
    try:
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}/{space}"


def _is_dead(owner: object) -> bool:
    """Whether it can be seen from here that the owner's process is gone; of other machines nothing is known."""
    place, _, rest = str(owner or "").partition(":")
    process = rest.partition(":")[0]
    if place != _place() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
