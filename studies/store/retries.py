"""Transient errors of a database, such as a lock, a restart or a full disk, are tried again for half an hour.

A search runs for a night, and none of that may cost a finished trial. What is tried again has to be idempotent: the
answer to an attempt can be lost after the database has done what it was asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import sqlalchemy.exc
import tenacity
from slimfront.studies.errors import StudyError
from slimfront.studies.store.storage import one_line, safe_url

RETRY_SECONDS = 1800.0  # that a database may be gone
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 15.0  # seconds between attempts; doubled each time
_SLICE = 0.1  # seconds of sleep between looks at whether the user has interrupted

_TRANSIENT = (
    sqlalchemy.exc.OperationalError,  # locked, gone, starting up, full
    sqlalchemy.exc.InterfaceError,  # the connection is closed
    sqlalchemy.exc.TimeoutError,  # no connection is free
    sqlalchemy.exc.PendingRollbackError,
)

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


class DatabaseGoneError(StudyError):
    """The database did not come back, or the user interrupted while it was gone."""


def is_transient(error: BaseException) -> bool:
    """Whether the database may do later what it refused now, rather than being asked something impossible."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlalchemy.exc.OperationalError) and "no such" in str(cause.orig):
            return False  # SQLite's way to say that tables are missing
        if isinstance(cause, _TRANSIENT) or (
            isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated
        ):
            return True
        cause = cause.__cause__
    return False


class Retries:
    """Calls a function again while it fails for a transient reason.

    Attributes:
        say: Told when the waiting begins and ends.
        interrupted: Whether the user wants to end; then nothing is tried again.

    Args:
        url: The database's, for error texts; its password is not shown.
        seconds: Until it gives up.
    """

    def __init__(self, url: str, seconds: float = RETRY_SECONDS) -> None:
        self._url, self._seconds = url, seconds
        self.say: Callable[[str], None] = lambda text: None
        self.interrupted: Callable[[], bool] = lambda: False

    def __call__(self, function: Callable[Given, Returned], *args: Given.args, **kwargs: Given.kwargs) -> Returned:
        """What `function` returns. Raises DatabaseGoneError, and whatever it raises that is not transient."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=tenacity.wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            stop=self._give_up,
            sleep=self._sleep,
            before_sleep=self._begin_waiting,
        )
        try:
            result = retrying(function, *args, **kwargs)
        except tenacity.RetryError as failed:
            raise self._gone(failed.last_attempt.exception(), retrying) from None
        if retrying.statistics["attempt_number"] > 1:
            waited = time.monotonic() - retrying.statistics["start_time"]
            self.say(f"the database answers again after {waited:.1f} s")
        return result

    def _give_up(self, state: tenacity.RetryCallState) -> bool:
        return self.interrupted() or tenacity.stop_before_delay(self._seconds)(state)

    def _begin_waiting(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if state.attempt_number == 1 and error is not None:
            self.say(f"the database does not answer ({one_line(error, self._url)}): trying again")

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.interrupted():
            time.sleep(min(left, _SLICE))

    def _gone(self, error: BaseException | None, retrying: tenacity.Retrying) -> DatabaseGoneError:
        minutes = retrying.statistics["delay_since_first_attempt"] / 60
        reason = one_line(error, self._url) if error is not None else "no answer"
        return DatabaseGoneError(
            f"{safe_url(self._url)} has not answered for {minutes:.0f} minutes: {reason}. "
            "Finished trials are safe; the same command goes on."
        )
