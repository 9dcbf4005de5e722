"""The ledger: a trial from sampling to record. The only place where the search reads and writes the study."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from evaluators.job import Failure, Result
from evaluators.train import Epoch
from search.early_stopping import Verdict
from spaces import Candidate, CandidateError, Space, presets
from studies.constraint import set_bound, set_feasibility
from studies.front import front
from studies.record import Record, environment, read, write
from studies.samplers import make_sampler
from studies.settings import Settings

_COPIES_IN_A_ROW = 50  # then the space has nothing new to offer

Rate = Callable[[Candidate], dict[str, Any]]
"""The score of a candidate before training, as `Score.to_dict` gives it."""


@dataclass
class Work:
    """A trial on its way.

    Attributes:
        trial: Of the study.
        candidate: What it decided.
        rated: The score table, known before training.
        starts: How often its job was begun, this time included.
        settled: How the trial ended where it needs no training; None: it has to be trained.
    """

    trial: Trial
    candidate: Candidate
    rated: dict[str, Any]
    starts: int = 0
    settled: str | None = None

    @property
    def number(self) -> int:
        """Of the trial."""
        return self.trial.number

    @property
    def score(self) -> float:
        """Known before training."""
        return float(self.rated["score"])

    @property
    def what(self) -> str:
        """The network in a few words."""
        return describe(self.candidate)


def describe(candidate: Candidate) -> str:
    """A candidate in a few words: "residual 16-32-64 x 3-3-3, li_filters 30 %, W4A4"."""
    from spaces import method_name

    architecture, bits = candidate.architecture, candidate.bits
    shape = "-".join(map(str, architecture.widths)) + " x " + "-".join(map(str, architecture.depths))
    words = [f"{architecture.family} {shape}"]
    for step in (candidate.pruning.filters, candidate.pruning.weights):
        if step is not None:
            words.append(f"{method_name(step)} {step.ratio:.0%}")
    if not bits.is_float:
        words.append(f"W{'/'.join(map(str, bits.weights))}A{'/'.join(map(str, bits.activations))}")
    return ", ".join(words)


class Ledger:
    """What the coordinator asks of the study, and tells it."""

    def __init__(
        self,
        study: optuna.Study,
        settings: Settings,
        *,
        rate: Rate,
        data_digest: str,
        device: str,
        threads: int,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._study, self._settings = study, settings
        self._space: Space = settings.make_space()
        self._rate, self._changed = rate, changed
        self._data_digest, self._device, self._threads = data_digest, device, threads
        self._open: dict[str, Work] = {}  # in training, by digest
        self._waiting: list[Work] = []  # for another trial with the same candidate
        self._copies = 0
        self._beat = 0

    def enqueue_presets(self) -> None:
        """Put the settings' presets first, once in the life of a study. Raises SpaceError for one outside the space."""
        if self._study.user_attrs.get("presets_enqueued"):
            return
        for name in self._settings.presets:
            self._study.enqueue_trial(self._space.parameters(presets[name]), user_attrs={"preset": name})
        self._study.set_user_attr("presets_enqueued", True)

    def interrupted(self) -> list[Work]:
        """Trials that were running when an earlier search ended; those that cannot go on are told as failed."""
        found = []
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_alive(frozen.user_attrs.get("owner")):
                continue
            trial = Trial(self._study, frozen._trial_id)
            record = read(frozen)
            if record is None:  # it died between being asked and being written down
                trial.set_user_attr("reason", "died")
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            starts = int(frozen.user_attrs.get("starts", 0))
            work = Work(trial, record.candidate, self._rate(record.candidate), starts)
            trial.set_user_attr("owner", _owner())
            self._settle(work)
            if work.settled is None:
                found.append(work)
        return found

    def ask(self) -> Work:
        """A new trial. One whose candidate was met before is settled at once."""
        settings = self._settings
        known = len(self._trials())
        # A fresh sampler for each trial, seeded by its number: a search that was stopped goes on as if it had not been.
        self._study.sampler = make_sampler(
            settings.sampler, settings.seed, startup=settings.startup_trials, known_trials=known
        )
        trial = self._study.ask()
        try:
            candidate = self._space.sample(trial)
            work = Work(trial, candidate, self._rate(candidate))
        except (CandidateError, ValueError) as error:
            trial.set_user_attr("reason", "impossible")
            trial.set_user_attr("text", str(error))
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        trial.set_user_attr("owner", _owner())
        write(trial, self._record(work))
        self._settle(work)
        return work

    def _settle(self, work: Work) -> None:
        """Take over the result of an earlier trial with the same candidate, wait for it, or refuse the score."""
        limit = self._settings.max_score
        if limit is not None and work.score > limit:
            record = dataclasses.replace(self._record(work), reason="max_score")
            self._tell_stopped(work, record, bound=1.0)
            work.settled = f"not trained, its score {work.score:.4g} is above {limit:g}"
            return
        digest = work.candidate.digest
        if digest in self._open:
            self._waiting.append(work)
            work.settled = f"waits for trial {self._open[digest].number}, the same candidate"
            return
        for frozen in self._trials():
            if (
                frozen.user_attrs.get("digest") == digest
                and frozen.number != work.number
                and frozen.state.is_finished()
            ):
                self._copy(work, frozen)
                if work.settled is not None:
                    return

    def _copy(self, work: Work, frozen: FrozenTrial) -> None:
        record = read(frozen)
        if record is None or frozen.state == TrialState.FAIL:
            return
        origin = record.copied_from if record.copied_from is not None else frozen.number
        record = dataclasses.replace(record, copied_from=origin, seconds=0.0)
        if frozen.state == TrialState.COMPLETE:
            self._tell_complete(work, record, tuple(frozen.values))
        else:
            self._tell_stopped(work, record, record.bound if record.bound is not None else 1.0)
        self._copies += 1
        work.settled = f"same candidate as trial {origin}, its result is taken over"

    def exhausted(self) -> bool:
        """Whether the sampler has long proposed nothing new."""
        return self._copies >= _COPIES_IN_A_ROW

    def starts(self, work: Work) -> None:
        """The job of `work` is about to begin."""
        self._copies = 0
        work.starts += 1
        work.trial.set_user_attr("starts", work.starts)
        self._open[work.candidate.digest] = work

    def judge(self, work: Work, curve: Sequence[Epoch]) -> Verdict | None:
        """None: go on. Otherwise why it stops."""
        return None

    def finished(self, work: Work, result: Result) -> None:
        """`work` was trained to its end."""
        stages = tuple({"stage": name, "accuracy": value} for name, value in result.accuracies.items())
        record = dataclasses.replace(
            self._record(work),
            accuracy=result.accuracy,
            score=result.score,
            curve=tuple(asdict(epoch) for epoch in result.curve),
            stages=stages,
            seconds=result.seconds,
        )
        if result.notes:
            work.trial.set_user_attr("notes", list(result.notes))
        self._tell_complete(work, record, (result.accuracy, float(result.score["score"])))
        self._close(work)

    def stopped(self, work: Work, curve: Sequence[Epoch], verdict: Verdict, seconds: float) -> None:
        """`work` was stopped early."""
        record = self._with_curve(self._record(work), curve, seconds)
        record = dataclasses.replace(record, reason=verdict.reason, bound=verdict.bound)
        self._tell_stopped(work, record, verdict.bound)
        self._close(work)

    def failed(self, work: Work, curve: Sequence[Epoch], failure: Failure, seconds: float) -> None:
        """`work` gave no result."""
        record = self._with_curve(self._record(work), curve, seconds)
        write(work.trial, dataclasses.replace(record, reason=failure.reason))
        work.trial.set_user_attr("text", failure.text)
        self._study.tell(work.trial, state=TrialState.FAIL)
        self._close(work)

    def count(self) -> int:
        """Trials of the study, running ones included."""
        return sum(trial.state != TrialState.WAITING for trial in self._trials())

    def front(self) -> list[FrozenTrial]:
        """The front as it stands."""
        return front(self._trials(), self._settings.bar)

    def seconds_worked(self) -> float:
        """Time that searches have spent on the study so far."""
        return float(self._study.user_attrs.get("seconds_worked", 0.0))

    def worked(self, seconds: float) -> None:
        """Note the time spent on the study in all."""
        self._study.set_user_attr("seconds_worked", round(seconds, 1))

    def beat(self, seconds: int) -> None:
        """Now and then note the time spent, so that a crash forgets at most a minute of it."""
        if seconds >= self._beat + 60:
            self._beat = seconds
            self.worked(seconds)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _record(self, work: Work) -> Record:
        return Record(
            candidate=work.candidate,
            seed=self._settings.seed,
            dataset=self._settings.dataset,
            data_digest=self._data_digest,
            score=work.rated,
            device=self._device,
            threads=self._threads,
            environment=environment(),
        )

    def _with_curve(self, record: Record, curve: Sequence[Epoch], seconds: float) -> Record:
        rows = tuple(asdict(epoch) for epoch in curve)
        accuracy = curve[-1].accuracy if curve else None
        return dataclasses.replace(record, curve=rows, accuracy=accuracy, seconds=seconds)

    def _tell_complete(self, work: Work, record: Record, values: tuple[float, ...]) -> None:
        write(work.trial, record)
        set_feasibility(self._study, work.trial, values[0], self._settings.bar)
        self._study.tell(work.trial, values)
        self._changed()

    def _tell_stopped(self, work: Work, record: Record, bound: float) -> None:
        write(work.trial, record)
        set_bound(self._study, work.trial, bound, self._settings.bar)
        self._study.tell(work.trial, state=TrialState.PRUNED)
        self._changed()

    def _close(self, work: Work) -> None:
        """Settle those that waited for `work`."""
        digest = work.candidate.digest
        self._open.pop(digest, None)
        waited = [other for other in self._waiting if other.candidate.digest == digest]
        self._waiting = [other for other in self._waiting if other.candidate.digest != digest]
        frozen = self._study._storage.get_trial(work.trial._trial_id)
        for other in waited:
            self._copy(other, frozen)
            if other.settled is None or frozen.state == TrialState.FAIL:
                other.trial.set_user_attr("reason", "same_as_failed")
                self._study.tell(other.trial, state=TrialState.FAIL)


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_alive(owner: object) -> bool:
    """Whether the process that runs a trial still exists; of other machines nothing is known, so: yes."""
    host, _, process = str(owner or "").rpartition(":")
    if not process.isdigit() or int(process) == os.getpid():
        return False
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
