"""The next trial, chosen while others train: no worker waits for a proposal."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from slimfront.search.proposals.drafts import Draft
from slimfront.search.proposals.proposer import Proposer
from slimfront.spaces import Candidate
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.study import StudyStore


class Proposals:
    """Asks a proposer, in a thread of its own where there are workers to train meanwhile.

    Args:
        store: Of the study.
        proposer: Touched by nothing else.
        ahead: Whether the next proposal is made in advance, from what is known then; otherwise it is made when it is
            asked for, from everything that has ended.
    """

    def __init__(self, store: StudyStore, proposer: Proposer, *, ahead: bool) -> None:
        self._store, self._proposer = store, proposer
        self._thread = ThreadPoolExecutor(1, "proposer") if ahead else None
        self._next: tuple[int, Future[Draft]] | None = None
        self._taught: set[int] = set()  # ended trials that the proposer knows

    def next(self, number: int) -> Draft:
        """What the trial of this number is to be."""
        ready, self._next = self._next, None
        if ready is not None and ready[0] == number:
            return ready[1].result()
        arguments = self._news(), number, self._running()
        if self._thread is None:
            return self._propose(*arguments)
        return self._thread.submit(self._propose, *arguments).result()

    def look_ahead(self, number: int) -> None:
        """Begin to choose the trial of this number, unless that has begun."""
        if self._thread is not None and (self._next is None or self._next[0] != number):
            self._next = number, self._thread.submit(self._propose, self._news(), number, self._running())

    def origin(self, candidate: Candidate) -> int | None:
        """Number of the first trial that trained the candidate's uncompressed network; None: none has."""
        return self._proposer.origin(candidate)

    def close(self) -> None:
        """No more proposals are wanted."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def _propose(self, news: list[TrialRecord], number: int, running: list[TrialRecord]) -> Draft:
        self._proposer.learn(news)
        return self._proposer.propose(number, running)

    def _running(self) -> list[TrialRecord]:
        return [record for record in self._store.trials if record.state == State.RUNNING]

    def _news(self) -> list[TrialRecord]:
        """What the proposer has not been told."""
        found = [record for record in self._store.trials if record.state.is_over and record.number not in self._taught]
        self._taught.update(record.number for record in found)
        return found
