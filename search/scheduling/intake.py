"""Which trial comes next: one that was left, one that somebody enqueued, or one that is proposed.

Trials that need no training are ended at once: those whose candidate was met before, and those that cannot matter.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from optuna.exceptions import OptunaError
from slimfront.evaluators.scoring.cost import CostError, Rating
from slimfront.search.engine import STARTS
from slimfront.search.own_code import code_of
from slimfront.search.proposals.drafts import Draft, Drafts
from slimfront.search.proposals.proposer import Proposer
from slimfront.search.scheduling.endings import Endings
from slimfront.search.scheduling.judging import Judge
from slimfront.search.scheduling.work import Work
from slimfront.search.supernet.preparation import NOTHING, Preparation
from slimfront.spaces import Candidate
from slimfront.studies.errors import StudyError
from slimfront.studies.record import REPEATABLE, State, TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store.ownership import Ownership
from slimfront.studies.store.study import StudyStore, given, study_lock
from sqlalchemy.exc import SQLAlchemyError

_COPIES_IN_A_ROW = 50  # then the space has nothing new to offer
_IMPOSSIBLE_IN_A_ROW = 5  # then something is wrong with the space, or with us
_RACES = 3  # proposals that other coordinators were faster than, before they are kept waiting

Rate = Callable[[Candidate], Rating]
"""What is known of a candidate before training."""


class _Chosen(NamedTuple):
    """A trial before it begins: the number that it was chosen for, and what can be said of it."""

    number: int
    draft: Draft
    attributes: dict[str, Any]


class Intake:
    """Gives the search its trials.

    Attributes:
        in_training: What has been given out and has not ended, by the candidate's digest.
        saturated: Whether what was proposed last is in training already: asking again would bring more of the same.
        last_problem: Why no network could be built, the last time that happened.

    Args:
        store: Of the study.
        ownership: Of its running trials.
        settings: Of the study.
        endings: Ends trials.
        judge: Knows what cannot matter.
        rate: Counts.
        preparation: What trials start from.
    """

    def __init__(
        self,
        store: StudyStore,
        ownership: Ownership,
        settings: Settings,
        endings: Endings,
        judge: Judge,
        rate: Rate,
        preparation: Preparation = NOTHING,
    ) -> None:
        self._store, self._ownership, self._settings = store, ownership, settings
        self._endings, self._judge, self._rate = endings, judge, rate
        self._drafts = Drafts(settings.make_space())
        self._proposer = Proposer(settings, self._drafts, rate, preparation)
        self._preparation = preparation
        self._enqueued: set[int] = set()  # what somebody wants tried is not judged by the cut of its shape
        self._copies = self._impossible = 0
        self.in_training: dict[str, Work] = {}
        self.saturated = False
        self.last_problem: str | None = None

    def left_over(self) -> list[Work]:
        """Take over the running trials of searches that are over; those that died too often have failed."""
        self._store.refresh()
        found = []
        for record in self._running():
            if not (self._ownership.is_abandoned(record) and self._ownership.claim(record)):
                continue
            if record.starts >= STARTS:
                self._endings.given_up(record.number, "worker_died", f"whoever ran it died {record.starts} times")
                continue
            work = self._worked_out(record.number)
            if work is not None and self._settled(work) is None:
                found.append(work)
        return found

    def in_doubt(self) -> bool:
        """Whether other coordinators have trials of which it is not known yet if anybody trains them."""
        return self._ownership.shared and any(self._ownership.is_doubtful(record) for record in self._running())

    def exhausted(self) -> bool:
        """Whether the sampler has long proposed nothing new."""
        return self._copies >= _COPIES_IN_A_ROW

    def next(self) -> Work | str | None:
        """A trial to be trained; a text: one has ended without training; None: the study has all its trials."""
        number = self._begin()
        if number is None:
            return None
        work = self._worked_out(number)
        if work is None:
            return f"trial {number}: {self._store.trials[number].why}: {self.last_problem}"
        known = 1.0 if number in self._enqueued else self._preparation.ceiling(work.candidate.architecture)
        settled = self._settled(work, known)
        if settled is not None:
            return f"trial {number}: {settled}"
        self._copies = 0
        return work

    def ended(self, work: Work) -> None:
        """A trial that was given out has ended."""
        self.in_training.pop(work.candidate.digest, None)
        self.saturated = False

    def _running(self) -> list[TrialRecord]:
        return [record for record in self._store.trials if record.state == State.RUNNING]

    def _begun(self) -> int:
        return sum(record.state != State.WAITING for record in self._store.trials)

    def _begin(self) -> int | None:
        """Begin a trial, with its parameters where it is ours to choose; None: the study has all its trials."""
        for _ in range(_RACES):
            chosen = self._choose()
            with study_lock(self._store):  # the count is for the whole study: nobody else may begin one in between
                self._store.refresh()
                # Chosen for another number, it is perhaps what the coordinator who took that number has chosen.
                if chosen is None or chosen.number == len(self._store.trials):
                    return self._claim(chosen)
        with study_lock(self._store):  # the others wait while this one chooses
            self._store.refresh()
            return self._claim(self._choose())

    def _choose(self) -> _Chosen | None:
        """A trial to begin; None: one is enqueued already."""
        if self._store.waiting():
            return None
        number = len(self._store.trials)
        self._proposer.learn(self._store.trials)
        draft = self._proposer.propose(number, self._running())
        return _Chosen(number, draft, self._attributes(draft, number))

    def _claim(self, chosen: _Chosen | None) -> int | None:
        """Begin an enqueued trial, or else the chosen one."""
        limit = self._settings.trials
        if limit is not None and self._begun() >= limit:
            return None
        begun = self._store.take_waiting()
        if begun is None:
            chosen = chosen or self._choose()  # somebody else has taken the enqueued one
            if chosen is None:
                return None
            begun = self._store.begin(chosen.draft.parameters, chosen.draft.distributions, chosen.attributes)
        else:
            self._enqueued.add(begun)
        self._ownership.take(begun)
        return begun

    def _attributes(self, draft: Draft, number: int) -> dict[str, Any]:
        """What can be said of a trial before it begins, so that it is there whole from its first moment."""
        notes: dict[str, Any] = {"owner": self._ownership.me}
        if draft.sampler:
            notes["sampler"] = dict(draft.sampler)
        try:
            rated = self._rate(draft.candidate)
        except Exception:  # a network that cannot be built: `_worked_out` finds it again, and says so of the trial
            return notes
        work = Work(number, draft.candidate, rated, self._settings.cost, self._proposer.origin(draft.candidate))
        return self._endings.record(work).to_attributes() | notes

    def _worked_out(self, number: int) -> Work | None:
        """The candidate of a trial that has begun, and its costs; None: it is impossible, and the trial has failed."""
        record = self._store.trials[number]
        try:
            candidate = record.candidate
            if candidate is None:
                candidate = self._sampled(record)
            rated, origin = self._rate(candidate), self._proposer.origin(candidate)
            work = Work(number, candidate, rated, self._settings.cost, origin, record.starts)
            work.spared = record.spared is not None
            if record.candidate is None or not record.totals:
                self._store.write(number, self._endings.record(work).to_attributes())
        except (StudyError, OptunaError, SQLAlchemyError):
            raise
        except Exception as error:  # no network, or a bug of ours that one candidate has found
            of_cost = isinstance(error, CostError)
            self.last_problem = " ".join((str(error) if of_cost else f"{type(error).__name__}: {error}").split())[:1000]
            reason = "cost" if of_cost else "impossible"
            self._endings.given_up(number, reason, self.last_problem)
            self._impossible += 1
            if self._impossible >= _IMPOSSIBLE_IN_A_ROW:
                raise
            return None
        self._impossible = 0
        return work

    def _sampled(self, record: TrialRecord) -> Candidate:
        """Of a trial without one: its sampling was cut short, or it was enqueued. What it has stays as it is."""
        kept = {**given(self._store, record.number), **record.parameters}
        draft = self._drafts.drawn(random.Random(f"{self._settings.seed} {record.number}"), kept)
        if draft is None:
            raise StudyError(f"Trial {record.number} makes no candidate.")
        self._store.complete_parameters(record.number, draft.parameters, draft.distributions)
        return draft.candidate

    def _settled(self, work: Work, ceiling: float = 1.0) -> str | None:
        """Take over the result of an earlier trial with the same candidate, wait for it, or refuse it; None: train.

        `ceiling` is what it can reach at most.
        """
        if self._ownership.shared:  # others may have ended it while this candidate was chosen
            self._store.refresh()
        self._judge.learn(self._store.trials)
        verdict = self._judge.before(work.cost, work.rated.costs, ceiling)
        if verdict is not None:
            self._endings.stopped(work, verdict)
            return f"not trained, {verdict.text}"
        digest = work.candidate.digest
        if digest in self.in_training:
            self._endings.waiting.append(work)
            self.saturated = True
            return f"waits for trial {self.in_training[digest].number}, the same candidate"
        code = code_of(work.candidate, self._settings)
        for record in self._store.trials:
            same = record.digest == digest and record.code == code
            if same and record.number != work.number and _says_how_it_ends(record):
                self._copies += 1
                origin = self._endings.copied(work, record)
                if record.state == State.FAILED:
                    return f"same candidate as trial {origin}, which failed"
                return f"same candidate as trial {origin}, its result is taken over"
        self.in_training[digest] = work
        return None


def _says_how_it_ends(record: TrialRecord) -> bool:
    """Whether another trial with the same candidate would end in the same way."""
    if record.state == State.FAILED:
        return record.reason in REPEATABLE
    return record.state.is_over and record.candidate is not None
