"""The phases before the first trial, tasks of the engine: the training that all shapes share, and a look at its cuts.

They run in this process, by as many threads as the trainings side by side would have: the shapes of a step are
shared among them. Its time counts as the study's, and whatever ends the search leaves it where the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from slimfront.evaluators.scoring.cost import Rating
from slimfront.evaluators.supernet.screening import AT_ONCE, Screening, screen, screening_file
from slimfront.evaluators.supernet.sharing import Sharing
from slimfront.evaluators.supernet.supernet import Supernet, find_supernet, supernet_file, supernet_for
from slimfront.evaluators.training.loop import Epoch, TrainingError
from slimfront.search.display import Display, Row, Totals
from slimfront.search.engine import Engine, Outcome
from slimfront.search.scheduling.clock import StudyClock
from slimfront.search.supernet.ceilings import Ceilings
from slimfront.search.supernet.cloud import cloud
from slimfront.search.supernet.pace import Pace
from slimfront.search.supernet.preparation import NOTHING, PhaseCircumstances, Preparation
from slimfront.search.task_list import ListedTask, TaskList
from slimfront.search.workers.local import InProcess
from slimfront.spaces import Candidate
from slimfront.studies.errors import StudyError
from slimfront.studies.report.numbers import counted
from slimfront.studies.settings import Settings
from slimfront.studies.store.study import CLOUD, StudyStore
from threadpoolctl import threadpool_limits

ATTRIBUTE = "supernet"  # the study's: which one it has, and what it cost


class PhaseJob(Protocol):
    """What is done in a phase."""

    @property
    def given(self) -> PhaseCircumstances:
        """What it runs with."""

    @property
    def device(self) -> str:
        """See Placeable."""

    def on(self, device: str) -> Self:
        """See Placeable."""

    def run(self) -> Generator[Epoch, None, Any]:
        """Do it, or go on with it; a step is an epoch."""

    def told(self, result: Any) -> str:
        """What has come of it."""


@dataclass(frozen=True)
class Training:
    """The supernet's training, its teacher's included."""

    sharing: Sharing
    given: PhaseCircumstances

    @property
    def device(self) -> str:
        """See Placeable."""
        return self.given.device

    def on(self, device: str) -> Self:
        """See Placeable."""
        return replace(self, given=replace(self.given, device=device))

    def run(self) -> Generator[Epoch, None, Supernet]:
        """See PhaseJob."""
        given = self.given
        return (
            yield from supernet_for(self.sharing, given.data, given.seed, device=given.device, threads=given.threads)
        )

    def told(self, result: Supernet) -> str:
        """See PhaseJob."""
        return words(result)


@dataclass(frozen=True)
class Measuring:
    """The measuring of `count` cuts of a supernet."""

    supernet: Supernet
    count: int
    path: Path
    given: PhaseCircumstances

    @property
    def device(self) -> str:
        """See Placeable."""
        return self.given.device

    def on(self, device: str) -> Self:
        """See Placeable."""
        return replace(self, given=replace(self.given, device=device))

    @property
    def rounds(self) -> int:
        """Steps that it takes."""
        return -(-min(self.count, len(self.supernet.sharing.shapes)) // AT_ONCE)

    def run(self) -> Generator[Epoch, None, Screening]:
        """See PhaseJob."""
        given = self.given
        return (
            yield from screen(
                self.supernet, given.data, self.count, self.path, threads=given.threads, device=given.device
            )
        )

    def told(self, result: Screening) -> str:
        """See PhaseJob."""
        return f"{counted(len(result.measured), 'cut')} measured, {result.core_seconds / 60:.1f} core-minutes"


@dataclass(eq=False, kw_only=True)
class PhaseTask(ListedTask):
    """A phase on its way."""

    job: PhaseJob


class Phases(TaskList[PhaseTask, Any]):
    """Phases for the engine, one after the other; see `slimfront.search.engine.Client`."""

    def __init__(self, tasks: Sequence[PhaseTask], clock: StudyClock) -> None:
        super().__init__(tasks, slots=1)
        self._clock = clock

    def next(self) -> PhaseTask | str | None:
        """See Client: what follows a phase needs its result."""
        return None if any(task.failure is not None for task in self.tasks) else super().next()

    def over(self) -> bool:
        """See Client."""
        return self._clock.is_over

    def result(self, task: PhaseTask, result: Any) -> str:
        """See Client."""
        super().result(task, result)
        return task.job.told(result)

    def tick(self) -> None:
        """See Client."""
        self._clock.note()

    def totals(self) -> Totals:
        """See Client."""
        return replace(super().totals(), unit="steps before the first trial")

    def close(self) -> None:
        """See Client."""
        self._clock.note(now=True)


def prepare(
    settings: Settings,
    sharing: Sharing,
    given: PhaseCircumstances,
    store: StudyStore,
    clock: StudyClock,
    display: Display,
    rate: Callable[[Candidate], Rating],
    pace: Pace | None = None,
) -> tuple[Outcome | None, Preparation]:
    """Train the supernet and measure its cuts, or take what there is.

    Returns:
        How the search has ended here, None where it goes on; and what trials inherit.

    Raises:
        StudyError: The teacher is not known.
    """
    try:
        path = supernet_file(sharing, given.data, given.seed, device=given.device)
    except TrainingError as error:
        raise StudyError(str(error)) from None
    supernet = find_supernet(path)
    if supernet is not None:
        display.say(f"supernet: {words(supernet)}, trained before")
    else:
        task = PhaseTask(job=Training(sharing, given), row=Row("supernet", epochs=sharing.recipe.epochs))
        ended = _done([task], clock, display)
        if ended is not None:
            return ended, NOTHING
        supernet = task.result
    spent = {"key": supernet.key, "core_seconds": supernet.record["core_seconds"]}
    ceilings = None
    if settings.supernet is not None and settings.supernet.screened:
        job = Measuring(supernet, settings.supernet.screened, screening_file(path), given)
        task = PhaseTask(job=job, row=Row("screening", epochs=job.rounds))
        ended = _done([task], clock, display)
        if ended is not None:
            return ended, NOTHING
        spent |= {"screened": len(task.result.measured), "screening_core_seconds": task.result.core_seconds}
        with threadpool_limits(1, user_api="blas"):  # small matrices gain nothing from threads
            ceilings = Ceilings(task.result, settings.supernet.gain, settings.bar)
        display.say(f"screening: {ceilings.words}")
        if (store.attributes.get(ATTRIBUTE) or {}).get("screened") != spent["screened"]:
            points = cloud(task.result, settings.make_space(), rate, settings.cost)
            store.attributes.set(CLOUD, [[accuracy, float(f"{cost:.6g}")] for accuracy, cost in points])
    store.attributes.set(ATTRIBUTE, spent)
    if pace is not None:
        pace.begin_trials()
    return None, Preparation(path, supernet.key, ceilings, pace)


def _done(tasks: Sequence[PhaseTask], clock: StudyClock, display: Display) -> Outcome | None:
    """Go through phases: how the search has ended there, None where all have come to their ends."""
    with closing(InProcess(_run)) as worker:
        ended = Engine(Phases(tasks, clock), worker, display).run()
    for task in tasks:
        if task.failure is not None:
            return Outcome("failures", f"{task.row.name}: {task.failure.text}")
    return None if all(task.result is not None for task in tasks) else ended


def _run(job: PhaseJob) -> Generator[Epoch, None, Any]:
    import torch
    from slimfront.evaluators.training.allocator import keep_freed_memory

    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(job.given.threads)  # of the teacher: the shapes have one each
    try:
        return (yield from job.run())
    finally:
        torch.set_num_threads(before)


def words(supernet: Supernet) -> str:
    """A supernet in a few words."""
    record = supernet.record
    minutes = record["core_seconds"] / 60
    return (
        f"{counted(record['shapes'], 'shape')} in one training of {record['epochs']} epochs, {minutes:.1f} core-minutes"
    )
