"""Rows of a comparison: trainings of candidates by the product's engine, journaled epoch by epoch, resumable.

One folder holds everything: `journal.jsonl`, which the coordinator writes alone, and under `rows/` the checkpoints of
every row. A row that was killed goes on with the epoch that it was killed in.

Cost is counted in core-seconds, the processor time of the training process with its threads: unlike wall time it hardly
depends on what else the machine does. It holds the judging after every epoch and, at low bits, the calibration.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.job import Job
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.display import Row as ShownRow
from slimfront.search.display import make_display
from slimfront.search.engine import Engine
from slimfront.search.job import evaluate_job
from slimfront.search.retrain.job import expected_epochs
from slimfront.search.task_list import ListedTask, TaskList
from slimfront.search.terminal import Console
from slimfront.search.workers.local import local_workers
from slimfront.spaces import Candidate, presets
from slimfront.studies.report.numbers import percent_number
from slimfront.studies.requirements import write_requirements

from benchmarks.rows_journal import Journal, Line, Row, RowsError

TEACHER_ROW = "teacher"


class FailedRowsError(RuntimeError):
    """Rows whose training failed; all others have ended."""


@dataclass(frozen=True)
class Setting:
    """What all rows of a folder share.

    Attributes:
        out: Folder of the journal and of the checkpoints.
        dataset: Trained on its training part and judged on its validation part; the test images stay closed.
        data_dir: Where the data set's files are looked for first.
        workers: Trainings side by side, of one thread each.
    """

    out: Path
    dataset: str = "cifar10"
    data_dir: Path | None = None
    workers: int = 1

    def job(self, row: Row) -> Job:
        """The row's job; its checkpoints lie in a folder of its own."""
        folder = self.out / "rows" / row.name
        return Job(row.candidate, self.dataset, row.seed, data_dir=self.data_dir, folder=folder)

    def teacher_job(self, row: Row) -> TeacherJob:
        """The training of the row's teacher, on all cores, as nothing else can begin before it has ended."""
        return TeacherJob(row.candidate, self.dataset, row.seed, data_dir=self.data_dir, threads=self.workers)


class TeacherJob(Job):
    """A job that ends with its teacher."""


@dataclass(frozen=True)
class MeasuredEpoch(Epoch):
    """An epoch with its cost.

    Attributes:
        core_seconds: Processor time of the process; None for an epoch that was replayed from a checkpoint.
    """

    core_seconds: float | None = None


def measured_job(job: Job) -> Generator[Epoch, None, Line]:
    """What a worker does: the job, with the cost of every epoch; returns what the journal keeps of the result."""
    if isinstance(job, TeacherJob):
        return (yield from _measured_teacher(job))
    result = yield from _measured(evaluate_job(job))
    counted = {key: result.score[key] for key in ("macs", "weights", "score")}
    return {"accuracies": result.accuracies, "accuracy": result.accuracy, **counted, "notes": list(result.notes)}


def _measured_teacher(job: Job) -> Generator[Epoch, None, Line]:
    """The training of the job's teacher and its views of the images, with their cost; how good the teacher is."""
    import torch
    from slimfront.evaluators.data import loaded
    from slimfront.evaluators.scoring.score import score
    from slimfront.evaluators.training.allocator import keep_freed_memory
    from slimfront.evaluators.training.context import TrainContext
    from slimfront.evaluators.training.loop import accuracy, train
    from slimfront.evaluators.training.teacher import TEACHER_SEED, teacher_candidate, teacher_file, teacher_for
    from slimfront.models import build

    keep_freed_memory()
    torch.set_num_threads(job.threads)
    data = loaded.search_data(job.dataset, job.data_dir)
    yield from _measured(teacher_for(job, data))
    candidate = teacher_candidate(job)
    network = build(candidate.architecture, data.classes, channels=data.input_shape[0], seed=TEACHER_SEED)
    context = TrainContext(
        images=data.train,
        validation=None,
        recipe=candidate.recipe,
        augmentation=candidate.augmentation,
        classes=data.classes,
        seed=TEACHER_SEED,
        phase=TEACHER,
        checkpoint=teacher_file(job, data),
    )
    for _ in train(network, context):  # finished above: replayed from its file, into the network
        pass
    counted = score(network, data.input_shape)
    return {"accuracy": accuracy(network, data.validation), "macs": counted.macs, "weights": counted.weights}


def _measured(epochs: Generator[Epoch, None, Any]) -> Generator[Epoch, None, Any]:
    while True:
        start, cost = time.perf_counter(), time.process_time()
        try:
            epoch = next(epochs)
        except StopIteration as finished:
            return finished.value
        elapsed, cost = time.perf_counter() - start, time.process_time() - cost
        # What was trained now took at least the time that it says; what is replayed comes at once.
        fresh = elapsed >= epoch.seconds
        yield MeasuredEpoch(**dataclasses.asdict(epoch), core_seconds=cost if fresh else None)


@dataclass(eq=False, kw_only=True)
class Training(ListedTask):
    """A row that has not ended, for the engine; `entry` is what the journal knows it by."""

    job: Job
    entry: Row


class Trainings(TaskList[Training, Line]):
    """Rows for the engine, which are all journaled; those that learn from the teacher begin when it has ended.

    `changed` is called after every row that ends.
    """

    def __init__(
        self, trainings: Sequence[Training], slots: int, journal: Journal, changed: Callable[[], None]
    ) -> None:
        super().__init__(trainings, slots)
        self._journal, self._changed = journal, changed
        self._teachers = [training for training in trainings if isinstance(training.job, TeacherJob)]

    def next(self) -> Training | str | None:
        """See Client; where the teacher failed there is nobody to learn from."""
        learning = self._waiting and self._waiting[0] not in self._teachers
        return None if learning and any(teacher.result is None for teacher in self._teachers) else super().next()

    def started(self, task: Training) -> None:
        """See Client: it is noted in the journal, as is all that follows."""
        super().started(task)
        self._journal.begin(task.entry)

    def epoch(self, task: Training, epoch: Epoch) -> str | None:
        """See Client."""
        if epoch.stage != TEACHER or task in self._teachers:  # a teacher that is replayed has a row of its own
            self._journal.epoch(task.entry.name, epoch)
        return super().epoch(task, epoch)

    def result(self, task: Training, result: Line) -> str:
        """See Client."""
        self._journal.add({"row": task.entry.name, "result": result})
        super().result(task, result)
        self._changed()
        return f"validation accuracy {percent_number(result['accuracy'])}%"


def run(rows: Sequence[Row], setting: Setting, journal: Journal, changed: Callable[[], None] = lambda: None) -> bool:
    """Train the rows that are not finished, the teacher first.

    Args:
        rows: In order of their turn.
        setting: Shared by all.
        journal: Is told everything.
        changed: Is called after every row that ends.

    Returns:
        False where it was interrupted: every running epoch was ended first, and the same call goes on.

    Raises:
        RowsError: A row was begun with other settings, or rows have different teachers.
        DataError: The data set cannot be had.
        FailedRowsError: Some rows failed; said once all others have ended.
    """
    trainings = _trainings(rows, setting, journal)
    if not trainings:
        return True
    console = Console(stderr=True)
    search_data(setting.dataset, data_dir=setting.data_dir, progress=console.say)  # the workers read it themselves
    write_requirements(setting.out, goes_on=True)
    slots = min(setting.workers, len(trainings))
    with closing(local_workers(slots, measured_job)) as workers, make_display(console) as display:
        Engine(Trainings(trainings, slots, journal, changed), workers, display).run()
    failed = [f"{one.entry.name} failed: {one.failure.text}" for one in trainings if one.failure is not None]
    if failed:
        raise FailedRowsError(f"{'; '.join(failed)}. The same command tries again.")
    return all(training.result is not None for training in trainings)


def _trainings(rows: Sequence[Row], setting: Setting, journal: Journal) -> list[Training]:
    for row in rows:
        journal.check(row)
    waiting = [row for row in rows if journal.result(row.name) is None]
    taught = [row for row in waiting if _has_teacher(row.candidate)]
    _check_teacher(taught, journal)
    found = []
    if taught and journal.result(TEACHER_ROW) is None:
        entry = dataclasses.replace(taught[0], name=TEACHER_ROW)
        found.append(Training(job=setting.teacher_job(entry), row=ShownRow(TEACHER_ROW), entry=entry))
    for row in waiting:
        shown = ShownRow(row.name, epochs=expected_epochs(row.candidate))
        found.append(Training(job=setting.job(row), row=shown, entry=row))
    return found


def _has_teacher(candidate: Candidate) -> bool:
    return candidate.recipe.distillation > 0 and candidate.recipe.teacher in presets


def _check_teacher(taught: Sequence[Row], journal: Journal) -> None:
    """Raises RowsError where not all rows, those of the journal among them, learn from the same teacher."""
    begun = journal.start(TEACHER_ROW)
    found = [row.candidate.to_dict() for row in taught] + ([begun["candidate"]] if begun is not None else [])
    if any(_teacher_of(one) != _teacher_of(found[0]) for one in found):
        names = sorted({str(one["recipe"]["teacher"]) for one in found})
        raise RowsError(f"All rows learn from one teacher with one augmentation, but got {', '.join(names)}.")


def _teacher_of(candidate: Line) -> tuple[Any, Any]:
    return candidate["recipe"]["teacher"], candidate["augmentation"]
