"""The coordinator: asks the study for trials, hands them to evaluators, decides after every epoch, tells the study.

It alone owns the study. Everything that it knows it reads from there, so a search that was stopped, by whatever, goes
on with the same command: trials that were running are taken up first.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from slimfront.evaluators.job import Failure, Job, Result
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.interrupt import Interrupt
from slimfront.search.ownership import BEAT_SECONDS
from slimfront.search.progress import Row, Show, Totals
from slimfront.search.trials import STARTS, Ledger, Work
from slimfront.search.workers.local import Workers
from slimfront.studies.report.page import percent_number

FAILURES_IN_A_ROW = 5  # then the search stops instead of burning the night
_PULSE = 1.0  # seconds between looks at the clock while nothing happens


@dataclass(frozen=True)
class Limits:
    """When a search ends: at so many trials or hours, both for the whole study; None: no limit."""

    trials: int | None
    hours: float | None


@dataclass(frozen=True)
class JobFrame:
    """What all jobs of a search share; see `slimfront.evaluators.job.Job`."""

    dataset: str
    seed: int
    data_dir: Path | None
    image_size: int | None
    device: str
    threads: int
    data_digest: str
    work: Path
    store: Path | None


@dataclass
class Outcome:
    """How a search ended: "done", "interrupted" or "failures", with the last failure's text."""

    how: str
    failure: str | None = None


@dataclass
class _Running:
    work: Work
    started: float
    curve: list[Epoch] = field(default_factory=list)


class Coordinator:
    """Runs a search until its limits, an interrupt, or too many failures."""

    def __init__(self, ledger: Ledger, workers: Workers, frame: JobFrame, limits: Limits, show: Show) -> None:
        self._ledger, self._workers, self._frame = ledger, workers, frame
        self._limits, self._show = limits, show
        self._running: dict[int, _Running] = {}
        self._again: deque[Work] = deque()
        self._failures = 0
        self._given_up = False
        self._idle_until_one_ends = False
        self._last_failure: str | None = None
        self._seconds_before = ledger.seconds_worked()
        self._begun = time.monotonic()
        self._looked = float("-inf")

    def run(self) -> Outcome:
        """Work until there is nothing more to do; running trials are left resumable when it ends early."""
        self._sweep()
        with Interrupt() as interrupt, self._ledger.ownership:
            while True:
                ending = interrupt.asked or self._out_of_time() or self._given_up
                waiting = False
                if not ending:
                    self._take_up()
                    waiting = self._fill()
                if not self._running:
                    if ending or not (waiting or self._ledger.others_in_doubt()):
                        break
                    # Until a slot is ready, or another coordinator's trial stirs or is known to be abandoned.
                    time.sleep(_PULSE)
                    continue
                event = self._workers.next(_PULSE)
                self._ledger.beat(self._seconds())
                if event is not None:
                    self._handle(*event, ending=interrupt.asked or self._out_of_time())
                self._show.totals(self._totals())
            self._ledger.ownership.leave()
        self._ledger.worked(self._seconds())
        if self._given_up:
            return Outcome("failures", self._last_failure)
        failure = self._last_failure or self._ledger.last_problem
        return Outcome("interrupted" if interrupt.asked else "done", failure)

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._begun

    def _out_of_time(self) -> bool:
        return self._limits.hours is not None and self._seconds() >= self._limits.hours * 3600

    def _take_up(self) -> None:
        """Trials whose search was stopped or died: at the start, and of other coordinators now and then."""
        shared = self._ledger.ownership.shared
        if self._looked > float("-inf") and (not shared or time.monotonic() - self._looked < BEAT_SECONDS):
            return
        self._looked = time.monotonic()
        found = self._ledger.abandoned()
        if found:
            self._again.extend(found)
            self._show.say(f"taking up {len(found)} trial(s) that were running when their search stopped")

    def _sweep(self) -> None:
        """Drop checkpoints of trials that had ended when an earlier search was killed before it could."""
        finished = self._ledger.finished_numbers()
        for folder in self._frame.work.glob("trial-*"):
            number = folder.name.removeprefix("trial-")
            if number.isdigit() and int(number) in finished:
                shutil.rmtree(folder, ignore_errors=True)

    def _fill(self) -> bool:
        """Give every free slot a trial, as long as there are any to give; True: some may wait for a slot."""
        waiting = False
        for slot in range(self._workers.slots):
            if slot in self._running:
                continue
            if not self._workers.ready(slot):
                waiting = True
                continue
            work = self._again.popleft() if self._again else self._new()
            if work is None:
                return False
            self._start(slot, work)
        return waiting

    def _new(self) -> Work | None:
        """The next trial that has to be trained; those that need no training are told at once."""
        while not (self._idle_until_one_ends or self._ledger.exhausted() or self._out_of_time()):
            work = self._ledger.ask()
            if work is None or work.settled is None:
                return work
            self._show.ended(None, work.number, work.settled)
            self._show.totals(self._totals())
            # What is left of the space is in training: asking again would only bring more of the same.
            self._idle_until_one_ends = work.waits
        return None

    def _start(self, slot: int, work: Work) -> None:
        frame = self._frame
        job = Job(
            candidate=work.candidate,
            dataset=frame.dataset,
            seed=frame.seed,
            data_dir=frame.data_dir,
            image_size=frame.image_size,
            device=frame.device,
            threads=frame.threads,
            folder=self._folder(work),
            store=frame.store,
            data_digest=frame.data_digest,
        )
        self._ledger.starts(work)
        self._running[slot] = _Running(work, time.monotonic())
        self._show.started(slot, Row(work.number, work.what, work.score))
        self._workers.submit(slot, job)

    def _folder(self, work: Work) -> Path:
        return self._frame.work / f"trial-{work.number}"

    def _handle(self, slot: int, message: Epoch | Result | Failure, *, ending: bool) -> None:
        running = self._running[slot]
        if isinstance(message, Epoch):
            if message.stage != TEACHER:
                running.curve.append(message)
            self._show.epoch(slot, message)
            if ending:  # the state is saved: the trial stays open and is taken up again
                self._workers.stop(slot)
                self._ledger.left(running.work)
                self._forget(slot, "left for the next start")
                return
            verdict = self._ledger.judge(running.work, running.curve)
            if verdict is None:
                self._workers.go_on(slot)
                return
            self._workers.stop(slot)
            self._failures = 0  # it trained well enough to be judged
            kept = self._ledger.stopped(running.work, running.curve, verdict, time.monotonic() - running.started)
            self._ended(slot, f"stopped, {verdict.text}", kept)
        elif isinstance(message, Result):
            self._failures = 0
            kept = self._ledger.finished(running.work, message)
            self._ended(slot, f"{percent_number(message.accuracy)}%, score {message.score['score']:.4g}", kept)
        else:
            self._failed(slot, running, message)

    def _failed(self, slot: int, running: _Running, failure: Failure) -> None:
        work = running.work
        if failure.reason == "worker_died" and work.starts < STARTS:
            self._again.append(work)
            self._forget(slot, f"{failure.text}; it starts again")
            return
        self._failures += 1
        self._given_up = self._given_up or self._failures >= FAILURES_IN_A_ROW
        self._last_failure = failure.text
        kept = self._ledger.failed(work, running.curve, failure, time.monotonic() - running.started)
        self._ended(slot, f"failed, {failure.text}", kept)

    def _ended(self, slot: int, text: str, kept: bool) -> None:
        """A trial of ours is over; its checkpoints go."""
        if kept:
            shutil.rmtree(self._folder(self._running[slot].work), ignore_errors=True)
        self._forget(slot, text if kept else "another coordinator has taken it over")

    def _forget(self, slot: int, text: str) -> None:
        work = self._running.pop(slot).work
        self._idle_until_one_ends = False
        self._show.ended(slot, work.number, text)

    def _totals(self) -> Totals:
        front = self._ledger.front()
        best = (front[0].number, *front[0].point) if front else None
        hours = self._limits.hours
        limit = hours * 3600 if hours is not None else None
        finished = self._ledger.count() - len(self._running) - len(self._again)
        return Totals(finished, self._limits.trials, self._seconds(), limit, len(front), best)  # type: ignore[arg-type]
