"""The scheduler: what a search does next, and what becomes of it. The engine's client for the trials of a study."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import FrozenTrial
from slimfront.evaluators.job import Failure, Job, Result
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.display import Row, Totals
from slimfront.search.engine import Task
from slimfront.search.ownership import BEAT_SECONDS
from slimfront.search.trials import Ledger, Work
from slimfront.studies.report.page import percent_number

TAKEN_OVER = "another coordinator has taken it over"


@dataclass(frozen=True)
class Limits:
    """When a search ends: at so many trials or hours, both for the whole study; None: no limit."""

    trials: int | None = None
    hours: float | None = None


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


class Scheduler:
    """Trials of a study for the engine; see `slimfront.search.engine.Client`.

    Args:
        ledger: Of the study.
        make_job: The job of a candidate, given `candidate` and the `folder` of its checkpoints.
        work: Folder of all checkpoints.
        limits: Of the study.
    """

    def __init__(self, ledger: Ledger, make_job: Callable[..., Job], work: Path, limits: Limits) -> None:
        self._ledger, self._make_job, self._work, self._limits = ledger, make_job, work, limits
        self._taken_up: deque[Work] = deque()  # of searches that are over
        self._looked: float | None = None  # for those, the last time
        self._open = 0  # trials that were handed out and have not ended
        self._idle_until_one_ends = False
        self._seconds_before = ledger.seconds_worked()
        self._began = time.monotonic()
        finished = ledger.finished_numbers()
        for folder in work.glob("trial-*"):  # of trials that had ended when a search was killed before it could
            number = folder.name.removeprefix("trial-")
            if number.isdigit() and int(number) in finished:
                shutil.rmtree(folder, ignore_errors=True)

    def next(self) -> TrialTask | str | None:
        """See Client: first the trials of searches that are over, then a new one."""
        found = self._look_for_abandoned()
        if found:
            return f"taking up {found} trial(s) that were running when their search stopped"
        if self._taken_up:
            work: Work | None = self._taken_up.popleft()
        elif self._idle_until_one_ends or self._ledger.exhausted():
            return None
        else:
            work = self._ledger.ask()
        if work is None:
            return None
        if work.settled is not None:
            # What is left of the space is in training: asking again would only bring more of the same.
            self._idle_until_one_ends = work.waits
            return f"trial {work.number}: {work.settled}"
        self._open += 1
        job = self._make_job(candidate=work.candidate, folder=self._work / f"trial-{work.number}")
        row = Row(f"trial {work.number}", {"network": work.what, "score": f"{work.score:.4g}"})
        return TrialTask(job=job, row=row, starts=work.starts, work=work)

    def waits(self) -> bool:
        """See Client: another search's trial may stir, or be known to be abandoned."""
        return self._ledger.others_in_doubt()

    def over(self) -> bool:
        """See Client."""
        return self._limits.hours is not None and self._seconds() >= self._limits.hours * 3600

    def started(self, task: TrialTask) -> None:
        """See Client."""
        task.began, task.curve = time.monotonic(), []
        self._ledger.starts(task.work)

    def epoch(self, task: TrialTask, epoch: Epoch) -> str | None:
        """See Client: early stopping decides."""
        if epoch.stage != TEACHER:
            task.curve.append(epoch)
        verdict = self._ledger.judge(task.work, task.curve)
        if verdict is None:
            return None
        kept = self._ledger.stopped(task.work, task.curve, verdict, task.seconds)
        return self._ended(task, f"stopped early, {verdict.text}", kept)

    def result(self, task: TrialTask, result: Result) -> str:
        """See Client."""
        kept = self._ledger.finished(task.work, result)
        return self._ended(task, f"{percent_number(result.accuracy)}%, score {result.score['score']:.4g}", kept)

    def failure(self, task: TrialTask, failure: Failure) -> str:
        """See Client."""
        kept = self._ledger.failed(task.work, task.curve, failure, task.seconds)
        return self._ended(task, f"failed, {failure.text}", kept)

    def left(self, task: TrialTask) -> None:
        """See Client."""
        self._ledger.left(task.work)

    def tick(self) -> None:
        """See Client."""
        self._ledger.beat(self._seconds())

    def totals(self) -> Totals:
        """See Client: by trials or by time, whichever is further."""
        seconds, trials, hours = self._seconds(), self._limits.trials, self._limits.hours
        done = self._ledger.count() - self._open - len(self._taken_up)
        shares, left = [0.0], []
        if trials is not None:
            shares.append(done / trials)
            if done:
                left.append(seconds / done * (trials - done))
        if hours is not None:
            shares.append(seconds / (hours * 3600))
            left.append(hours * 3600 - seconds)
        share = min(1.0, max(shares))
        return Totals(done, trials, "trials", share, max(0.0, min(left)) if left else None, _best(self._ledger.front()))

    def close(self) -> None:
        """See Client: what is left belongs to whoever comes next."""
        self._ledger.ownership.leave()
        self._ledger.worked(self._seconds())

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _look_for_abandoned(self) -> int:
        """How many trials were found whose search was stopped or died: at the start, and of others now and then."""
        if self._looked is not None:
            shared = self._ledger.ownership.shared
            if not shared or time.monotonic() - self._looked < BEAT_SECONDS:
                return 0
        self._looked = time.monotonic()
        found = self._ledger.abandoned()
        self._taken_up.extend(found)
        return len(found)

    def _ended(self, task: TrialTask, text: str, kept: bool) -> str:
        """A trial of ours is over: its checkpoints go, unless another search has it now."""
        self._open -= 1
        self._idle_until_one_ends = False
        if kept and task.job.folder is not None:
            shutil.rmtree(task.job.folder, ignore_errors=True)
        return text if kept else TAKEN_OVER


def _best(front: Sequence[FrozenTrial]) -> str:
    """The cheapest network on the front, in a sentence."""
    if not front:
        return "nothing at the bar yet"
    accuracy, score = front[0].values
    name = f"trial {front[0].number}"
    return f"best so far: {name}, {percent_number(accuracy)}%, score {score:.4g} ({len(front)} on the front)"
