"""The ledger: a trial from sampling to record. The only place where the search reads and writes the study."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from slimfront.evaluators.job import Failure, Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.early_stopping import MAX_SCORE, Rules, Verdict, is_spared
from slimfront.search.engine import STARTS
from slimfront.search.judging import Judge
from slimfront.search.ownership import BEAT_SECONDS, NOBODY, Ownership, study_lock
from slimfront.search.proposals.proposer import Proposer
from slimfront.search.view import View
from slimfront.spaces import Candidate, Space, presets
from slimfront.studies.errors import StudyError
from slimfront.studies.record import REPEATABLE, Record, candidate_of, environment, read, write
from slimfront.studies.samplers import make_sampler, seed_of
from slimfront.studies.settings import Settings
from slimfront.studies.store.constraint import set_bound, set_feasibility, set_refused
from slimfront.studies.window import Shown, Window
from sqlalchemy.exc import SQLAlchemyError

_COPIES_IN_A_ROW = 50  # then the space has nothing new to offer
FIXED = "fixed_params"  # Optuna's name for parameters that a trial is given
_IMPOSSIBLE_IN_A_ROW = 5  # then something is wrong with the space, or with us

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
        dense_of: Number of the trial that trained its dense network already; None: none has.
        waits: Whether the same candidate is in training for another trial.
    """

    trial: Trial
    candidate: Candidate
    rated: dict[str, Any]
    starts: int = 0
    settled: str | None = None
    dense_of: int | None = None
    waits: bool = False

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
        shared = f", dense network of trial {self.dense_of}" if self.dense_of is not None else ""
        return describe(self.candidate) + shared


def describe(candidate: Candidate) -> str:
    """A candidate in a few words: "residual 16-32-64 x 3-3-3, li_filters 30 %, W4A4"."""
    from slimfront.spaces import method_name

    architecture, bits = candidate.architecture, candidate.bits
    shape = "-".join(map(str, architecture.widths)) + " x " + "-".join(map(str, architecture.depths))
    words = [f"{architecture.family} {shape}"]
    for step in (candidate.pruning.filters, candidate.pruning.weights):
        if step is not None:
            words.append(f"{method_name(step)} {step.ratio:.0%}")
    if not bits.is_float:
        words.append(f"W{'/'.join(map(str, bits.weights))}A{'/'.join(map(str, bits.activations))}")
    return ", ".join(words)


def _in_training(trials: Sequence[FrozenTrial], but: int) -> list[Candidate]:
    """Candidates of running trials, those of other coordinators, too."""
    running = (t for t in trials if t.state == TrialState.RUNNING and t._trial_id != but)
    return [Candidate.from_dict(t.user_attrs["candidate"]) for t in running if "candidate" in t.user_attrs]


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
        ownership: Ownership | None = None,
        rules: Rules | None = None,
    ) -> None:
        self._study, self._settings = study, settings
        storage: Any = study._storage  # a StudyStorage, or what has its `together`, `begun` and `ended` in memory
        self._together: Callable[[], contextlib.AbstractContextManager[None]] = storage.together
        self.ownership = ownership if ownership is not None else Ownership(study, shared=False)
        self._space: Space = settings.make_space()
        self._rules = dataclasses.replace(rules or Rules(), max_score=settings.max_score)
        self._judge = Judge(settings.bar, self._rules, data_digest)
        self._view = View(study, storage, settings.bar, shared=self.ownership.shared)
        self._window = Window()
        self._learned = 0  # ended trials that judge and proposer know
        self._rate, self._changed = rate, changed
        self._proposer = Proposer(
            self._space, settings.bar, settings.startup_trials, lambda c: float(rate(c)["score"]), settings.max_score
        )
        self._data_digest, self._device, self._threads = data_digest, device, threads
        self._open: dict[str, Work] = {}  # in training, by digest
        self._waiting: list[Work] = []  # for another trial with the same candidate
        self._copies = 0
        self._impossible = 0
        self.last_problem: str | None = None  # why no network could be built, the last time that happened
        self._beat = 0.0

    def enqueue_presets(self) -> None:
        """Put the settings' presets first, once in the life of a study. Raises SpaceError for one outside the space."""
        with study_lock(self._study):
            if self._study.user_attrs.get("presets_enqueued"):
                return
            for name in self._settings.presets:
                self._study.enqueue_trial(self._space.parameters(presets[name]), user_attrs={"preset": name})
            self._study.set_user_attr("presets_enqueued", True)

    def abandoned(self) -> list[Work]:
        """Take over the running trials of searches that are over; those that died too often are told as failed."""
        found = []
        for frozen in self._running():
            if self.ownership.is_abandoned(frozen) and self.ownership.claim(frozen):
                work = self._take_up(frozen)
                if work is not None:
                    found.append(work)
        return found

    def others_in_doubt(self) -> bool:
        """Whether trials of other coordinators are open, of which it is not known yet if they still live."""
        if not self.ownership.shared:
            return False
        return any(self.ownership.is_doubtful(frozen) for frozen in self._running())

    def _running(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _take_up(self, frozen: FrozenTrial) -> Work | None:
        starts = int(frozen.user_attrs.get("starts", 0))
        if starts >= STARTS:
            trial = Trial(self._study, frozen._trial_id)
            self._tell_failed(trial, "worker_died", f"whoever ran it died {starts} times")
            self.ownership.drop(frozen._trial_id)
            return None
        self._view.read()
        work = self._work(frozen._trial_id, frozen.number)
        if work is None:
            return None
        work.starts = starts
        self._settle_or_open(work)
        return work if work.settled is None else None

    def ask(self) -> Work | None:
        """A new trial; one whose candidate was met before is settled at once. None: the study has all its trials."""
        while True:
            with study_lock(self._study):
                # The count is for the whole study, so nobody else may ask in between.
                limit = self._settings.trials
                self._view.read()
                if limit is not None and self.count() >= limit:
                    return None
                self._study.sampler = RandomSampler()  # asked for a number only
                trial = self._study.ask() if self._view.waiting else self._new_trial()
                self.ownership.take(trial)
            work = self._work(trial._trial_id, trial.number)
            if work is None:
                continue
            self._settle_or_open(work)
            if work.settled is not None:
                self._changed()
            return work

    def _new_trial(self) -> Trial:
        """As `Study.ask` makes it, without reading all trials anew to look for enqueued ones."""
        self._study._thread_local.cached_all_trials = None  # samplers read the study once for each trial
        return Trial(self._study, self._study._storage.create_new_trial(self._study._study_id))

    def _work(self, trial_id: int, number: int) -> Work | None:
        """Sample a trial's candidate, or what is missing of it; None: it is impossible, and the trial has failed."""
        work, problem = None, None
        with self._together():
            try:
                trial, candidate = self._sample(trial_id, number)
                work = Work(trial, candidate, self._rate(candidate), dense_of=self._proposer.origin(candidate))
                write(trial, self._record(work))
                if work.dense_of is not None:
                    trial.set_user_attr("dense_of", work.dense_of)
            except (StudyError, OptunaError, SQLAlchemyError):
                raise
            except Exception as error:  # no network, or a bug of ours that one candidate has found
                problem = error
                text = " ".join(f"{type(error).__name__}: {error}".split())[:1000]
                self._tell_failed(Trial(self._study, trial_id), "impossible", text)
                self.last_problem = text
        if problem is None:
            self._impossible = 0
            return work
        self.ownership.drop(trial_id)
        self._impossible += 1
        if self._impossible >= _IMPOSSIBLE_IN_A_ROW:
            raise problem
        return None

    def _sample(self, trial_id: int, number: int) -> tuple[Trial, Candidate]:
        """The candidate of a trial.

        A fresh sampler for each trial, seeded by its number: a search that was stopped goes on as if it had not been,
        and coordinators that ask at the same time get different candidates. A trial whose sampling was cut short is
        sampled again from the start; what it had stored already remains, and is the same unless the sampler has learned
        something since: so the stored values decide.
        """
        settings = self._settings
        self._study.sampler = make_sampler(
            settings.sampler, settings.seed, startup=settings.startup_trials, known_trials=number, window=self._window
        )
        self._propose(trial_id, number)
        trial = Trial(self._study, trial_id)
        partly = trial._cached_frozen_trial
        if partly.params:
            if "candidate" not in partly.user_attrs:
                partly.params, partly.distributions = {}, {}
                self._space.sample(trial)
            trial = Trial(self._study, trial_id)
        return trial, self._space.sample(trial)

    def _propose(self, trial_id: int, number: int) -> None:
        """Choose the parameters of a trial that has none; where there is nothing new to choose, its sampler will.

        The view has been read since we changed anything but this trial.
        """
        storage, sampler = self._study._storage, self._study.sampler
        frozen = storage.get_trial(trial_id)
        if frozen.params or FIXED in frozen.system_attrs:  # cut short, or enqueued
            return
        self._learn()
        seed = seed_of(self._settings.seed, number)
        trials = self._view.latest
        shown: Any = Shown(self._study, trials)
        found = self._proposer.propose(shown, sampler, frozen, seed, _in_training(trials, trial_id))
        if found is not None:
            storage.set_trial_system_attr(trial_id, FIXED, dict(found))
            self._study.sampler = RandomSampler(seed)  # has nothing left to choose

    def _settle_or_open(self, work: Work) -> None:
        self._settle(work)
        if work.settled is None:
            self._open[work.candidate.digest] = work
        elif work not in self._waiting:
            self.ownership.drop(work.trial._trial_id)

    def _settle(self, work: Work) -> None:
        """Take over the result of an earlier trial with the same candidate, wait for it, or refuse the score."""
        if self.ownership.shared:  # others may have ended it while this candidate was chosen
            self._view.read()
        self._learn()
        verdict = self._judge.before(work.candidate, work.score)
        if verdict is not None:
            record = dataclasses.replace(self._record(work), reason=verdict.reason, bound=verdict.bound)
            self._tell_stopped(work, record, verdict.bound)
            work.settled = f"not trained, {verdict.text}"
            return
        digest = work.candidate.digest
        if digest in self._open:
            self._waiting.append(work)
            work.waits = True
            work.settled = f"waits for trial {self._open[digest].number}, the same candidate"
            return
        for frozen in self._view.with_digest(digest):
            self._copy(work, frozen)
            if work.settled is not None:
                return

    def _learn(self) -> None:
        """Show judge and proposer what has ended since."""
        ended = self._view.ended(self._learned)
        self._learned += len(ended)
        candidates = {trial.number: candidate_of(trial) for trial in ended}  # read once for both
        self._judge.learn(ended, lambda trial: candidates[trial.number])
        self._proposer.learn(ended, lambda trial: candidates[trial.number])

    def _copy(self, work: Work, frozen: FrozenTrial) -> None:
        record = read(frozen)
        if record is None:
            return
        if frozen.state == TrialState.FAIL:
            if frozen.user_attrs.get("reason") in REPEATABLE:
                self._tell_failed(work.trial, "same_as_failed", f"the same candidate as trial {frozen.number}")
                self._copies += 1
                work.settled = f"same candidate as trial {frozen.number}, which failed"
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

    def left(self, work: Work) -> None:
        """`work` was stopped on purpose, to be taken up later: this start does not count as a death."""
        work.starts -= 1
        if self.ownership.holds(work.trial._trial_id):
            work.trial.set_user_attr("starts", work.starts)

    def judge(self, work: Work, curve: Sequence[Epoch]) -> Verdict | None:
        """None: go on. Otherwise why it stops.

        A share of those that would be stopped is spared, so that false stops can be counted: the first verdict is
        noted in the trial's attribute "spared", and it runs to its end.
        """
        if not curve or "spared" in work.trial.user_attrs:
            return None
        self._learn()
        verdict = self._judge.after(work.candidate, work.score, curve)
        if verdict is None or not is_spared(work.number, self._settings.seed, self._rules.spared):
            return verdict
        told = {"reason": verdict.reason, "bound": verdict.bound, "stage": curve[-1].stage, "epoch": curve[-1].epoch}
        work.trial.set_user_attr("spared", told)
        return None

    def finished(self, work: Work, result: Result) -> bool:
        """`work` was trained to its end. False: another coordinator has taken it over, and this is dropped."""
        stages = tuple({"stage": name, "accuracy": value} for name, value in result.accuracies.items())
        record = dataclasses.replace(
            self._record(work),
            accuracy=result.accuracy,
            score=result.score,
            curve=tuple(asdict(epoch) for epoch in result.curve),
            stages=stages,
            seconds=result.seconds,
        )

        def tell() -> None:
            if result.notes:
                work.trial.set_user_attr("notes", list(result.notes))
            if "account" in result.facts:  # of pruning: the measured score beside the closed formula's
                work.trial.set_user_attr("account", result.facts["account"])
            self._tell_complete(work, record, (result.accuracy, float(result.score["score"])))

        return self._end(work, tell)

    def stopped(self, work: Work, curve: Sequence[Epoch], verdict: Verdict, seconds: float) -> bool:
        """`work` was stopped early. False: as in `finished`."""
        record = self._with_curve(self._record(work), curve, seconds)
        record = dataclasses.replace(record, reason=verdict.reason, bound=verdict.bound)
        return self._end(work, lambda: self._tell_stopped(work, record, verdict.bound))

    def failed(self, work: Work, curve: Sequence[Epoch], failure: Failure, seconds: float) -> bool:
        """`work` gave no result. False: as in `finished`."""
        record = dataclasses.replace(self._with_curve(self._record(work), curve, seconds), reason=failure.reason)

        def tell() -> None:
            write(work.trial, record)
            self._tell_failed(work.trial, failure.reason, failure.text)

        return self._end(work, tell)

    def _end(self, work: Work, tell: Callable[[], None]) -> bool:
        """End a trial that we own; Optuna ends each but once, so two that believe to own it cannot count it twice."""
        trial_id = work.trial._trial_id
        kept = self.ownership.holds(trial_id)
        if kept:
            try:
                with self._together():
                    tell()
            except (UpdateFinishedTrialError, ValueError) as error:
                ended = self._study._storage.get_trial(trial_id).state.is_finished()
                if isinstance(error, StudyError) or not ended:
                    raise
                kept = False
        self._close(work)
        self._changed()
        return kept

    def count(self) -> int:
        """Trials of the study, running ones included."""
        return self._view.count()

    def front(self) -> list[FrozenTrial]:
        """The front as it stands."""
        return self._view.front()

    def seconds_worked(self) -> float:
        """Time that searches have spent on the study so far."""
        return float(self._study.user_attrs.get("seconds_worked", 0.0))

    def worked(self, seconds: float) -> None:
        """Note the time spent on the study in all; of coordinators that work at the same time the longest counts."""
        self._study.set_user_attr("seconds_worked", round(max(seconds, self.seconds_worked()), 1))

    def beat(self, seconds: float) -> None:
        """Now and then note the time spent, so that a crash forgets at most a minute of it."""
        if seconds >= self._beat + (BEAT_SECONDS if self.ownership.shared else 60):
            self._beat = seconds
            self.worked(seconds)

    def finished_numbers(self) -> set[int]:
        """Numbers of the trials that have ended."""
        return {trial.number for trial in self._view.ended()}

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
        with self._together():
            write(work.trial, record)
            set_feasibility(self._study, work.trial, values[0], self._settings.bar)
            self._study.tell(work.trial, values)

    def _tell_stopped(self, work: Work, record: Record, bound: float) -> None:
        bar, limit = self._settings.bar, self._settings.max_score
        with self._together():
            write(work.trial, record)
            if limit is not None and record.reason == MAX_SCORE:
                set_refused(self._study, work.trial, work.score, limit, bar)
            else:
                set_bound(self._study, work.trial, bound, bar)
            self._study.tell(work.trial, state=TrialState.PRUNED)

    def _tell_failed(self, trial: Trial, reason: str, text: str) -> None:
        with self._together():
            trial.set_user_attr("reason", reason)
            trial.set_user_attr("text", text)
            self._study.tell(trial, state=TrialState.FAIL)

    def _close(self, work: Work) -> None:
        """Settle those that waited for `work`."""
        digest = work.candidate.digest
        self._open.pop(digest, None)
        self.ownership.drop(work.trial._trial_id)
        waited = [other for other in self._waiting if other.candidate.digest == digest]
        self._waiting = [other for other in self._waiting if other.candidate.digest != digest]
        frozen = self._study._storage.get_trial(work.trial._trial_id)
        for other in waited:
            if frozen.state in (TrialState.COMPLETE, TrialState.PRUNED):
                self._copy(other, frozen)
            elif frozen.state == TrialState.FAIL:
                self._tell_failed(other.trial, "same_as_failed", f"the same candidate as trial {frozen.number}")
            else:  # another coordinator has `work` now: it takes these over, too
                other.trial.set_user_attr("owner", NOBODY)
            self.ownership.drop(other.trial._trial_id)
