"""A storage that waits for its database: what fails because the database is locked or gone is tried again.

A search runs for a night; databases are restarted, networks break, disks fill up and are cleaned. None of that may cost
a finished trial, so every read and write of the study goes through here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy.exc
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from slimfront.studies.errors import StudyError
from slimfront.studies.store.storage import one_line, safe_url

PATIENCE = 1800.0  # seconds that a database may be gone
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 15.0  # seconds between attempts; doubled each time

_PASSING = (
    sqlalchemy.exc.OperationalError,  # locked, gone, starting up, full
    sqlalchemy.exc.InterfaceError,  # the connection is closed
    sqlalchemy.exc.TimeoutError,  # no connection is free
    sqlalchemy.exc.PendingRollbackError,
)


def may_pass(error: BaseException) -> bool:
    """Whether the database may do later what it refused now, rather than being asked something impossible."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlalchemy.exc.OperationalError) and "no such" in str(cause.orig):
            return False  # SQLite's way to say that tables are missing
        if isinstance(cause, _PASSING) or (
            isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated
        ):
            return True
        cause = cause.__cause__
    return False


def patiently(attempt: Callable[[int], Any], url: str, say: Callable[[str], None], patience: float) -> Any:
    """Call `attempt(number)` until it does not fail for a passing reason.

    Args:
        attempt: What to do; its argument counts from 0.
        url: The database's, for error texts; its password is not shown.
        say: Told when waiting begins and ends.
        patience: Seconds until it gives up.

    Raises:
        StudyError: The database did not come back in time.
    """
    start, pause, number = time.monotonic(), FIRST_PAUSE, 0
    while True:
        try:
            result = attempt(number)
        except Exception as error:
            if not may_pass(error):
                raise
            waited = time.monotonic() - start
            if waited + pause > patience:
                raise StudyError(
                    f"{safe_url(url)} has not answered for {waited / 60:.0f} minutes: {one_line(error, url)}. "
                    "Finished trials are safe; the same command goes on."
                ) from None
            if number == 0:
                say(f"the database does not answer ({one_line(error, url)}): trying again")
            number += 1
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        if number:
            say(f"the database answers again after {time.monotonic() - start:.1f} s")
        return result


class PatientStorage(_CachedStorage):
    """Optuna's cached storage, each of whose methods tries again while the database is locked or gone."""

    def __init__(
        self, backend: RDBStorage, say: Callable[[str], None] = lambda text: None, patience: float = PATIENCE
    ) -> None:
        super().__init__(backend)
        self.say, self.patience = say, patience

    @property
    def backend(self) -> RDBStorage:
        """The storage itself, impatient."""
        return self._backend

    def patiently(self, attempt: Callable[[int], Any]) -> Any:
        """See the function of this name."""
        return patiently(attempt, self._backend.url, self.say, self.patience)


def _patient(name: str) -> Callable[..., Any]:
    original = getattr(_CachedStorage, name)

    @functools.wraps(original)
    def method(self: PatientStorage, *arguments: Any, **named: Any) -> Any:
        def attempt(number: int) -> Any:
            try:
                return original(self, *arguments, **named)
            except UpdateFinishedTrialError:
                # The answer to an earlier attempt may have been lost on its way: then it is told as we wanted it.
                wanted = named.get("state", arguments[1] if len(arguments) > 1 else None)
                if number and name == "set_trial_state_values" and self.get_trial(arguments[0]).state == wanted:
                    return True
                raise

        return self.patiently(attempt)

    return method


for _name in (
    "create_new_study",
    "delete_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "create_new_trial",
    "set_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial",
    "get_all_trials",
):
    setattr(PatientStorage, _name, _patient(_name))
