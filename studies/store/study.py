"""One study in its database: the only place where slimfront reads and writes trials.

A trial is begun whole, by one write with all of its parameters and attributes, and ended by its state, which is the
last thing that is written: so whoever dies in between leaves a running trial that can be taken up, never half of one.
Everything is idempotent and tried again while the database is locked or gone.

Trials are kept in memory as they were read: an ended one does not change any more, so the study is read whole once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.details import Details
from slimfront.studies.foreign import values
from slimfront.studies.record import OPTUNA_STATES, State, TrialRecord
from slimfront.studies.store.details import DetailsTable, join, split
from slimfront.studies.store.identity import COST, IDENTITY, axis_of, plain_identity
from slimfront.studies.store.records import StudyRecord
from slimfront.studies.store.retries import Retries
from slimfront.studies.store.storage import create_or_load, load_study, safe_url
from sqlalchemy.exc import SQLAlchemyError

CONSTRAINTS = "constraints"  # Optuna's name for the list of violations, which the dashboard reads, too
FIXED = "fixed_params"  # Optuna's name for the parameters that an enqueued trial is given
CLOUD = "cloud"  # the study's attribute with what its supernet's cuts are worth
_LOCK = 0x511F  # our part of the key of PostgreSQL's advisory lock; the other is the study
_UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


def open_study(storage: RDBStorage, name: str, axis: CostAxis = SCORE_AXIS) -> StudyStore:
    """The study of that name, created where it is not there yet: for the command that searches.

    Args:
        storage: Its database.
        name: Of the study.
        axis: The cost that a new study keeps low.

    Raises:
        StudyError: A study of that name exists and has other objectives.
    """
    create_or_load(storage, name, axis=axis)
    store = StudyStore(storage, name)
    store.retries(store.details.create)
    return store


def find_study(
    storage: RDBStorage, name: str | None, *, options: tuple[str, str] = ("--storage", "--name")
) -> StudyStore:
    """The study of that name, or the only one that is there: for commands that read.

    `options` are those of the command line for storage and name.

    Raises:
        StudyError: There is no such study, there are several and none is named, or there are none.
    """
    return StudyStore(storage, load_study(storage, name, options=options).study_name)


def optuna_study(store: StudyStore) -> optuna.Study:
    """The same study as Optuna gives it, for its dashboard."""
    return optuna.load_study(study_name=store.name, storage=store.storage)


class StudyStore:
    """A study.

    Attributes:
        name: Of the study.
        storage: Its database, for this folder alone.
        retries: What every access goes through.
        attributes: Of the study.
        trials: By number, as they were read last.

    Args:
        storage: Its database.
        name: The study has to be there.
    """

    def __init__(self, storage: RDBStorage, name: str) -> None:
        self.name, self.storage = name, storage
        self.retries = Retries(storage.url)
        self.study_id = self.retries(storage.get_study_id_from_name, name)
        self.details = DetailsTable(storage, self.study_id)
        self.attributes = StudyAttributes(storage, self.study_id, self.retries)
        self.trials: list[TrialRecord] = []
        self._written: dict[int, dict[str, Any]] = {}  # attributes of trials that go on
        self.refresh()

    def refresh(self) -> None:
        """Read what has been begun or ended since, by us or by others."""
        if not self.trials:
            found = self.retries(self.storage.get_all_trials, self.study_id, deepcopy=False)
            self.trials = [self._typed(frozen) for frozen in found]
            return
        open_ones = self.retries(self.storage.get_all_trials, self.study_id, deepcopy=False, states=_UNFINISHED)
        known = {frozen.number: self._typed(frozen) for frozen in open_ones}
        ended = [record.number for record in self.trials if not record.state.is_over and record.number not in known]
        for record in [*known.values(), *map(self.read, ended)]:
            self._keep(record)
        with contextlib.suppress(KeyError):  # those that others have begun and ended meanwhile
            while True:
                self._keep(self.read(len(self.trials)))

    def read(self, number: int) -> TrialRecord:
        """A trial as it is in the database now. Raises KeyError for one that is not there."""
        return self._typed(self.retries(self.storage.get_trial, self.trial_id(number)))

    def waiting(self) -> bool:
        """Whether somebody has enqueued a trial that has not begun."""
        return bool(self.retries(self.storage.get_n_trials, self.study_id, TrialState.WAITING))

    def begin(
        self,
        parameters: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
    ) -> int:
        """A new running trial, whole; returns its number."""
        return self.add(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(parameters),
                distributions=dict(distributions),
                user_attrs=dict(attributes),
            )
        )

    def take_waiting(self) -> int | None:
        """Begin the first enqueued trial; returns its number. None: there is none."""
        waiting = self.retries(self.storage.get_all_trials, self.study_id, deepcopy=False, states=(TrialState.WAITING,))
        for frozen in waiting:
            trial_id = self.trial_id(frozen.number)
            # Of several who try, the database lets one.
            begun = self.retries(self.storage.set_trial_state_values, trial_id, TrialState.RUNNING)
            if begun:
                self._keep(self.read(frozen.number))
                return frozen.number
        return None

    def complete_parameters(
        self, number: int, parameters: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
    ) -> None:
        """Give a running trial the parameters that it lacks; what it has already stays."""
        there = self.read(number).parameters
        for name, value in parameters.items():
            if name not in there:
                kind = distributions[name]
                self.retries(
                    self.storage.set_trial_param, self.trial_id(number), name, kind.to_internal_repr(value), kind
                )
        self._keep(self.read(number))

    def write(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a running trial; those that it has with the same value are not written again."""
        light, heavy = split(attributes)
        if heavy:
            self.retries(self.details.write, number, heavy)
        written = self._written.setdefault(number, {})
        for key, value in light.items():
            if key not in written or written[key] != value:
                written.pop(key, None)  # what is there is not known where this is interrupted
                self.retries(self.storage.set_trial_user_attr, self.trial_id(number), key, value)
                written[key] = value

    def end(
        self,
        number: int,
        state: State,
        attributes: Mapping[str, Any],
        *,
        values: Sequence[float] | None = None,
        violation: float | None = None,
    ) -> bool:
        """End a running trial: attributes first, its state last. False: it had ended already, by someone else.

        Args:
            number: Of the trial.
            state: One in which it is over.
            attributes: What there is to say of it.
            values: (accuracy, cost) of a complete one.
            violation: By how much it misses bar and bounds; at most 0 is feasible. None: it is not known.
        """
        attempts, told = 0, TrialState[OPTUNA_STATES[state]]

        def tell() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                if violation is not None:
                    self.storage.set_trial_system_attr(self.trial_id(number), CONSTRAINTS, [violation])
                return self.storage.set_trial_state_values(self.trial_id(number), told, values)
            except UpdateFinishedTrialError:
                # The answer to an earlier attempt may have been lost on its way: then it is told as we wanted it.
                return attempts > 1 and self.storage.get_trial(self.trial_id(number)).state == told

        try:
            self.write(number, attributes)
            ended = self.retries(tell)
        except UpdateFinishedTrialError:
            ended = False
        self._keep(self.read(number))
        return ended

    def add(self, template: FrozenTrial) -> int:
        """A trial as Optuna's `create_trial` makes it, of any state; returns its number."""
        template.user_attrs, heavy = split(template.user_attrs)
        trial_id = self.retries(self.storage.create_new_trial, self.study_id, template)
        number = self.retries(self.storage.get_trial_number_from_id, trial_id)
        if heavy:
            self.retries(self.details.write, number, heavy)
        self._keep(self.read(number))
        return number

    def trial_id(self, number: int) -> int:
        """Of a trial in the database, where numbers are counted over all studies."""
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)

    def _typed(self, frozen: FrozenTrial) -> TrialRecord:
        number, attributes = frozen.number, frozen.user_attrs
        if not frozen.state.is_finished():
            self._written[number] = dict(attributes)
        return TrialRecord.of(frozen, partial(_load, self.retries, self.details, number, attributes))

    def _keep(self, record: TrialRecord) -> None:
        """Put a trial in its place; those before it that nobody has read yet are read."""
        while len(self.trials) < record.number:
            self.trials.append(self.read(len(self.trials)))
        self.trials[record.number : record.number + 1] = [record]
        if record.state.is_over:
            self._written.pop(record.number, None)


def enqueue(store: StudyStore, parameters: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """A trial that will be the next to begin, with these parameters."""
    queued = {FIXED: dict(parameters)}
    store.add(create_trial(state=TrialState.WAITING, user_attrs=dict(attributes), system_attrs=queued))


def given(store: StudyStore, number: int) -> Mapping[str, Any]:
    """Parameters that a trial was enqueued with; {} for one that was not."""
    frozen = store.retries(store.storage.get_trial, store.trial_id(number))
    return dict(values.mapping(frozen.system_attrs.get(FIXED)))


def identity_of(store: StudyStore) -> Mapping[str, Any]:
    """What the study was begun with, as far as it says."""
    return plain_identity(store.attributes.get(IDENTITY))


def cost_of(store: StudyStore) -> CostAxis:
    """The cost that the study keeps low, in words."""
    return axis_of(identity_of(store), store.attributes.get(COST))


def read_details(store: StudyStore) -> None:
    """Read the details of all trials that have ended at once, for somebody who is about to look at each."""
    store.retries(store.details.read_ahead, {record.number for record in store.trials if record.state.is_over})


def snapshot(store: StudyStore) -> StudyRecord:
    """The study as it is known now, for those who read it."""
    return StudyRecord(
        name=store.name,
        storage=safe_url(store.storage.url),
        trials=tuple(store.trials),
        identity=identity_of(store),
        cost=cost_of(store),
        seconds=values.amount(store.attributes.get("seconds_worked")) or 0.0,
        cloud=values.points(store.attributes.get(CLOUD)),
    )


def _load(retries: Retries, table: DetailsTable, number: int, attributes: Mapping[str, Any]) -> Details:
    return Details.of(join(attributes, retries(table.read, number)))


class StudyAttributes:
    """User attributes of a study, read and written in the database at every call."""

    def __init__(self, storage: RDBStorage, study_id: int, retries: Retries) -> None:
        self._storage, self._study_id, self._retries = storage, study_id, retries

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it is now; `default` where there is none."""
        return self._retries(self._storage.get_study_user_attrs, self._study_id).get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Write what JSON can hold."""
        self._retries(self._storage.set_study_user_attr, self._study_id, key, value)


@contextlib.contextmanager
def study_lock(store: StudyStore) -> Iterator[None]:
    """Keep other coordinators out of the study for a few writes.

    PostgreSQL's advisory lock, held by a transaction: the server frees it when the holder dies, and throws out one
    that sleeps. SQLite needs none, as it serves one coordinator.
    """
    engine = store.storage.engine
    if engine.name != "postgresql":
        yield
        return
    connection = store.retries(_locked, engine, store.study_id)
    try:
        yield
    finally:
        with contextlib.suppress(SQLAlchemyError):  # the server went away and took the lock with it
            connection.rollback()
        with contextlib.suppress(SQLAlchemyError):
            connection.close()


def _locked(engine: sqlalchemy.Engine, study_id: int) -> sqlalchemy.Connection:
    connection = engine.connect()
    try:
        connection.execute(sqlalchemy.text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(sqlalchemy.text("SET LOCAL idle_in_transaction_session_timeout = '120s'"))
        key = {"ours": _LOCK, "study": study_id % 2**31}
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:ours, :study)"), key)
    except BaseException:
        connection.close()
        raise
    return connection
