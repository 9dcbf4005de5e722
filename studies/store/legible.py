"""Optuna's storage in a database, where what no version of Optuna writes is an error of one line."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator
from typing import Any

from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign.text import LONGEST, visible
from sqlalchemy.exc import SQLAlchemyError

_ILLEGIBLE = (
    *(ValueError, TypeError, LookupError, AttributeError),
    *(AssertionError, ArithmeticError, RecursionError),
)


class LegibleStorage(RDBStorage):
    """Raises StudyError where a study, or a trial of it, cannot be read. Writing, and all else, is Optuna's."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See optuna.storages.BaseStorage."""
        with legible():
            found = super().get_all_trials(study_id, deepcopy, states)
            for trial in found:
                _check_number(trial)
            return found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See optuna.storages.BaseStorage."""
        with legible():
            found = super().get_trial(trial_id)
            _check_number(found)
            return found

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """See optuna.storages.BaseStorage."""
        with legible():
            return super().get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """See optuna.storages.BaseStorage."""
        with legible():
            return super().get_study_system_attrs(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """See optuna.storages.BaseStorage."""
        with legible():
            return super().get_study_directions(study_id)

    def get_all_studies(self) -> list[Any]:
        """See optuna.storages.BaseStorage."""
        with legible():
            return super().get_all_studies()


def _check_number(trial: FrozenTrial) -> None:
    if type(trial.number) is not int or trial.number < 0:
        raise ValueError(f"a trial has the number {trial.number!r}")


@contextlib.contextmanager
def legible() -> Iterator[None]:
    """What reading a study runs into, as a StudyError, where no version of Optuna wrote it."""
    try:
        yield
    except (StudyError, OptunaError, SQLAlchemyError):
        raise
    except _ILLEGIBLE as error:
        if isinstance(error, KeyError) and "exist" in str(error):  # Optuna's own: there is no such study or trial
            raise
        reason = visible(" ".join(str(error).split()) or type(error).__name__, most=LONGEST)
        raise StudyError(
            f"A study of this storage cannot be read ({reason.rstrip('.')}): it is damaged, or Optuna did not write it."
        ) from None
