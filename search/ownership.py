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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import optuna
import sqlalchemy
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from slimfront.search.patience import PatientStorage
from sqlalchemy.exc import SQLAlchemyError

BEAT_SECONDS = 10.0  # between two beats
STALE_SECONDS = 60.0  # a beat that stands still for so long belongs to a dead coordinator
NOBODY = "nobody"  # the owner of a trial that was left on purpose
_LOCK = 0x511F  # our part of the key of PostgreSQL's advisory lock; the other is the study


@dataclass
class _Seen:
    beat: tuple[Any, Any]
    since: float
    moved: bool = False


class Ownership:
    """The trials of this coordinator, and a look at those of others. A context, within which the beat is kept up.

    Args:
        study: Shared with others, or not.
        shared: Whether other coordinators may work on the study at the same time; if not, each running trial that is
            not ours was left by a search that is over.
    """

    def __init__(self, study: optuna.Study, *, shared: bool) -> None:
        self._study, self.shared = study, shared
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

    def take(self, trial: optuna.Trial) -> None:
        """A trial that nobody else can have is ours from now on."""
        trial.set_user_attr("owner", self.me)
        self._mine.add(trial._trial_id)

    def drop(self, trial_id: int) -> None:
        """A trial has ended, or is somebody else's."""
        self._mine.discard(trial_id)

    def leave(self) -> None:
        """Give all our running trials away: whoever comes next takes them up at once."""
        for trial_id in sorted(self._mine):
            with contextlib.suppress(OptunaError, KeyError):
                if self.holds(trial_id):
                    self._study._storage.set_trial_user_attr(trial_id, "owner", NOBODY)
        self._mine.clear()

    def holds(self, trial_id: int) -> bool:
        """Whether a trial that we took is ours still; after a long silence another may have taken it over."""
        if not self.shared:
            return True
        frozen = self._study._storage.get_trial(trial_id)
        return not frozen.state.is_finished() and frozen.user_attrs.get("owner") == self.me

    def is_abandoned(self, frozen: FrozenTrial) -> bool:
        """Whether the coordinator that runs a trial is dead or gone."""
        if frozen._trial_id in self._mine:
            return False
        owner = frozen.user_attrs.get("owner")
        if not self.shared or owner in (self.me, NOBODY) or _is_dead(owner):
            return True
        seen = self._look(frozen)
        return time.monotonic() - seen.since >= STALE_SECONDS

    def is_doubtful(self, frozen: FrozenTrial) -> bool:
        """Whether it is not known yet if the coordinator that runs another's trial still lives."""
        if frozen._trial_id in self._mine:
            return False
        seen = self._look(frozen)
        return not seen.moved or time.monotonic() - seen.since > 3 * BEAT_SECONDS

    def _look(self, frozen: FrozenTrial) -> _Seen:
        beat = (frozen.user_attrs.get("owner"), frozen.user_attrs.get("beat"))
        seen = self._seen.get(frozen._trial_id)
        if seen is None or seen.beat != beat:
            seen = _Seen(beat, time.monotonic(), moved=seen is not None)
            self._seen[frozen._trial_id] = seen
        return seen

    def claim(self, frozen: FrozenTrial) -> bool:
        """Take over an abandoned trial, as `frozen` shows it; False where it has stirred, or another was faster."""
        with study_lock(self._study):
            now = self._study._storage.get_trial(frozen._trial_id)
            same = all(now.user_attrs.get(key) == frozen.user_attrs.get(key) for key in ("owner", "beat"))
            if now.state != TrialState.RUNNING or not same:
                return False
            self._study._storage.set_trial_user_attr(frozen._trial_id, "owner", self.me)
        self._mine.add(frozen._trial_id)
        return True

    def _keep_beating(self) -> None:
        """In a thread of its own: a training in the coordinator's process blocks it for an epoch."""
        storage: Any = self._study._storage
        storage = storage.backend if isinstance(storage, PatientStorage) else storage
        beat = 0
        while not self._end.wait(BEAT_SECONDS):
            beat += 1
            for trial_id in list(self._mine):
                # A database that is gone, or a trial that has just ended: the next beat will do.
                with contextlib.suppress(OptunaError, SQLAlchemyError, KeyError):
                    storage.set_trial_user_attr(trial_id, "beat", beat)


@contextlib.contextmanager
def study_lock(study: optuna.Study) -> Iterator[None]:
    """Keep other coordinators out of the study for a few writes.

    PostgreSQL's advisory lock, held by a transaction: the server frees it when the holder dies, and throws out one
    that sleeps. SQLite needs none, as it serves one coordinator.
    """
    storage = study._storage
    if not isinstance(storage, PatientStorage) or storage.backend.engine.name != "postgresql":
        yield
        return
    engine = storage.backend.engine

    def acquire(number: int) -> sqlalchemy.Connection:
        connection = engine.connect()
        try:
            connection.execute(sqlalchemy.text("SET LOCAL lock_timeout = '60s'"))
            connection.execute(sqlalchemy.text("SET LOCAL idle_in_transaction_session_timeout = '120s'"))
            key = {"ours": _LOCK, "study": study._study_id % 2**31}
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:ours, :study)"), key)
        except BaseException:
            connection.close()
            raise
        return connection

    connection: sqlalchemy.Connection = storage.patiently(acquire)
    try:
        yield
    finally:
        with contextlib.suppress(SQLAlchemyError):  # the server went away and took the lock with it
            connection.rollback()
        with contextlib.suppress(SQLAlchemyError):
            connection.close()


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
