"""The scheduler: what a search does next, and what becomes of it. The engine's client for the trials of a study."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slimfront.evaluators.job import Failure, Job, Result
from slimfront.evaluators.scoring.cost import CostAxis, named
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.display import Row, Totals
from slimfront.search.early_stopping import is_spared
from slimfront.search.engine import Task
from slimfront.search.scheduling.clock import StudyClock
from slimfront.search.scheduling.endings import Endings
from slimfront.search.scheduling.intake import Intake
from slimfront.search.scheduling.judging import Judge
from slimfront.search.scheduling.work import Work
from slimfront.studies.front import front, nearest
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.report.numbers import percent_number
from slimfront.studies.settings import Settings
from slimfront.studies.store.ownership import BEAT_SECONDS, Ownership
from slimfront.studies.store.study import StudyStore

TAKEN_OVER = "another coordinator has taken it over"


@dataclass(eq=False, kw_only=True)
class TrialTask(Task):
    """A trial that is trained.

    Attributes:
        work: What the study knows of it.
        began: When its last start was, by the monotonic clock.
        curve: Its epochs since then, those of its teacher left out.
    """

    work: Work
    job: Job
    began: float = 0.0
    curve: list[Epoch] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Since its last start."""
        return time.monotonic() - self.began


@dataclass(frozen=True)
class Desk:
    """What a search works with, made by `slimfront.search.launch`.

    Attributes:
        settings: Of the study.
        store: Of the study.
        ownership: Of its running trials.
        intake: Gives trials.
        endings: Ends them.
        judge: Stops them early.
        clock: Of the study.
    """

    settings: Settings
    store: StudyStore
    ownership: Ownership
    intake: Intake
    endings: Endings
    judge: Judge
    clock: StudyClock


class Scheduler:
    """Trials of a study for the engine; see `slimfront.search.engine.Client`.

    Args:
        desk: What it works with.
        make_job: The job of a candidate, given `candidate` and the `folder` of its checkpoints.
        folder: Of all checkpoints.
        changed: Called whenever a trial has ended.
    """

    def __init__(self, desk: Desk, make_job: Callable[..., Job], folder: Path, changed: Callable[[], None]) -> None:
        self._desk, self._make_job, self._folder, self._changed = desk, make_job, folder, changed
        self._taken_up: deque[Work] = deque()  # of searches that are over
        self._looked: float | None = None  # for those, the last time
        for record in desk.store.trials:  # that had ended when a search was killed before it could tidy up
            if record.state.is_over:
                shutil.rmtree(_checkpoints(folder, record.number), ignore_errors=True)

    def next(self) -> TrialTask | str | None:
        """See Client: first the trials of searches that are over, then a new one."""
        found = self._look_for_abandoned()
        if found:
            return f"taking up {found} trial(s) that were running when their search stopped"
        if self._taken_up:
            return self._task(self._taken_up.popleft())
        intake = self._desk.intake
        if intake.saturated or intake.exhausted():
            return None
        work = intake.next()
        if isinstance(work, Work):
            return self._task(work)
        if work is not None:
            self._changed()
        return work

    def waits(self) -> bool:
        """See Client: another search's trial may stir, or be known to be abandoned."""
        return self._desk.intake.in_doubt()

    def over(self) -> bool:
        """See Client."""
        return self._desk.clock.is_over

    def started(self, task: TrialTask) -> None:
        """See Client."""
        task.began, task.curve, task.work.starts = time.monotonic(), [], task.starts
        self._desk.store.write(task.work.number, {"starts": task.starts})

    def epoch(self, task: TrialTask, epoch: Epoch) -> str | None:
        """See Client: early stopping decides.

        A share of those that would be stopped is spared, so that false stops can be counted: the first verdict is
        noted, and the trial runs to its end.
        """
        desk, work = self._desk, task.work
        if epoch.stage != TEACHER:
            task.curve.append(epoch)
        if not task.curve or work.spared:
            return None
        desk.judge.learn(desk.store.trials)
        verdict = desk.judge.after(work.candidate, work.cost, task.curve)
        if verdict is None:
            return None
        if is_spared(work.number, desk.settings.seed, desk.judge.rules.spared):
            work.spared = True
            told = {"reason": verdict.reason, "bound": verdict.bound, "stage": epoch.stage, "epoch": epoch.epoch}
            desk.store.write(work.number, {"spared": told})
            return None
        kept = desk.endings.stopped(work, verdict, task.curve, task.seconds)
        return self._ended(task, f"stopped early, {verdict.text}", kept)

    def result(self, task: TrialTask, result: Result) -> str:
        """See Client."""
        kept = self._desk.endings.complete(task.work, result)
        record = self._desk.store.trials[task.work.number]
        cost = _told(self._desk.settings.axis, record.cost)
        beyond = "".join(f", above its bound of {named(name)}" for name in record.over)
        return self._ended(task, f"{percent_number(result.accuracy)}%, {cost}{beyond}", kept)

    def failure(self, task: TrialTask, failure: Failure) -> str:
        """See Client."""
        kept = self._desk.endings.failed(task.work, failure, task.curve, task.seconds)
        return self._ended(task, f"failed, {failure.text}", kept)

    def left(self, task: TrialTask) -> None:
        """See Client."""
        if self._desk.ownership.holds(task.work.number):
            self._desk.store.write(task.work.number, {"starts": task.starts})

    def tick(self) -> None:
        """See Client."""
        self._desk.clock.note()

    def totals(self) -> Totals:
        """See Client: by trials or by time, whichever is further."""
        trials, clock = self._desk.store.trials, self._desk.clock
        seconds, limit = clock.seconds, self._desk.settings.trials
        done = sum(record.state.is_over for record in trials)
        shares, left = [0.0], []
        if limit is not None:
            shares.append(done / limit)
            if done:
                left.append(seconds / done * (limit - done))
        if clock.hours is not None:
            shares.append(seconds / (clock.hours * 3600))
            left.append(clock.hours * 3600 - seconds)
        seconds_left = max(0.0, min(left)) if left else None
        return Totals(done, limit, "trials", min(1.0, max(shares)), seconds_left, _best(trials, self._desk.settings))

    def close(self) -> None:
        """See Client: what is left belongs to whoever comes next."""
        self._desk.ownership.leave()
        self._desk.clock.note(now=True)

    def _look_for_abandoned(self) -> int:
        """How many trials were found whose search was stopped or died: at the start, and of others now and then."""
        if self._looked is not None:
            shared = self._desk.ownership.shared
            if not shared or time.monotonic() - self._looked < BEAT_SECONDS:
                return 0
        self._looked = time.monotonic()
        found = self._desk.intake.left_over()
        self._taken_up.extend(found)
        return len(found)

    def _task(self, work: Work) -> TrialTask:
        facts = {"network": work.what, "score": f"{work.score:.4g}"}
        job = self._make_job(candidate=work.candidate, folder=_checkpoints(self._folder, work.number))
        return TrialTask(job=job, row=Row(f"trial {work.number}", facts), starts=work.starts, work=work)

    def _ended(self, task: TrialTask, text: str, kept: bool) -> str:
        """A trial of ours is over: its checkpoints go, unless another search has it now."""
        self._desk.intake.ended(task.work)
        if kept:
            shutil.rmtree(_checkpoints(self._folder, task.work.number), ignore_errors=True)
        self._changed()
        return text if kept else TAKEN_OVER


def _checkpoints(folder: Path, number: int) -> Path:
    return folder / f"trial-{number}"


def _told(axis: CostAxis, cost: float | None) -> str:
    """A cost in words: "score 0.0241"."""
    return axis.title if cost is None else f"{axis.title} {axis.told(cost)}"


def _best(trials: Sequence[TrialRecord], settings: Settings) -> str:
    found = front([record for record in trials if record.state == State.COMPLETE], settings.bar)
    if not found:
        bar = f"{percent_number(settings.bar)}%"
        some = nearest(trials, 1)
        close = f"; most accurate so far: trial {some[0].number}, {percent_number(some[0].accuracy)}%" if some else ""
        return f"nothing at the bar of {bar} yet{close}"
    accuracy, cost = found[0].point
    told = f"{percent_number(accuracy)}%, {_told(settings.axis, cost)}"
    return f"cheapest so far: trial {found[0].number}, {told} ({len(found)} on the front)"
