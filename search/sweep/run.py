"""The sweep: accuracy against pruning ratio for every method on one network, before and after retraining.

Everything lies in one folder: the dense network, a line of JSON for each finished piece, and at the end (and whenever
it is interrupted) `points.csv`, `summary.json`, `table.md` and the pictures; `requirements.txt` has the versions that
made them. Started again with the same settings, the sweep keeps what is finished, takes up the training that broke off,
and goes on with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from slimfront.evaluators.job import Failure
from slimfront.evaluators.starting import begun_with, first_network
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.display import Row as ShownRow
from slimfront.search.display import make_display
from slimfront.search.engine import Engine
from slimfront.search.own_code import check_weights, try_candidate
from slimfront.search.sweep.journal import Journal, SweepError
from slimfront.search.sweep.methods import default_methods
from slimfront.search.sweep.results import summarise, write
from slimfront.search.sweep.tasks import (
    DenseTask,
    PointTask,
    Row,
    SensitivityTask,
    Setting,
    Task,
    dense_row,
    keep_dense,
    load_data,
    run_task,
)
from slimfront.search.task_list import ListedTask, TaskList
from slimfront.search.terminal import Console
from slimfront.search.workers.local import local_workers, refuse_second_run
from slimfront.spaces import Candidate, sparsity
from slimfront.spaces.candidate import GRANULARITIES
from slimfront.studies.requirements import write_requirements

DEFAULT_RATIOS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands.

    Attributes:
        done: Work that is done, about as many epochs.
        total: All of it.
        text: What was finished last, or is going on.
    """

    done: int
    total: int
    text: str


@dataclass(eq=False, kw_only=True)
class Piece(ListedTask):
    """A piece of the sweep that is not finished yet."""

    job: Task


class Pieces(TaskList[Piece, list[Row]]):
    """A sweep's pieces for the engine: those that prune begin when the networks that they start from are there."""

    def __init__(self, pieces: Sequence[Piece], slots: int, journal: Journal, told: Callable[[Progress], None]) -> None:
        super().__init__(pieces, slots)
        self._journal, self._told = journal, told
        self._dense = [piece for piece in pieces if isinstance(piece.job, DenseTask)]

    def next(self) -> Piece | str | None:
        """See Client; the dense networks come first, and where one of them failed there is nothing to prune."""
        pruning = self._waiting and self._waiting[0] not in self._dense
        return None if pruning and any(piece.result is None for piece in self._dense) else super().next()

    def epoch(self, task: Piece, epoch: Epoch) -> str | None:
        """See Client."""
        text = super().epoch(task, epoch)
        self._tell(f"{task.job.name}: epoch {epoch.epoch} of {epoch.epochs}")
        return text

    def result(self, task: Piece, result: list[Row]) -> str:
        """See Client: it is noted in the journal."""
        self._journal.add(task.job.name, result)
        text = super().result(task, result)
        self._tell(task.job.name)
        return text

    def failure(self, task: Piece, failure: Failure) -> str:
        """See Client."""
        text = super().failure(task, failure)
        self._tell(f"{task.job.name} {text}")
        return text

    def _tell(self, text: str) -> None:
        totals = self.totals()
        self._told(Progress(totals.done, totals.of or 0, text))


def sweep(
    candidate: Candidate,
    *,
    out: Path,
    name: str | None = None,
    methods: Sequence[str] | None = None,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    epochs: int | None = None,
    retrain_epochs: int = 3,
    seed: int = 0,
    dataset: str = "cifar10",
    data_dir: Path | None = None,
    device: str = "cpu",
    workers: int = 1,
    dense: Path | None = None,
    weights: Path | None = None,
    command: str = "",
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Run or resume a sweep.

    Args:
        candidate: Its architecture, augmentation and recipe are used; pruning, bits and teacher are not.
        out: Folder for everything; made where it is missing.
        name: Of the candidate, for people (a preset's name); default: its digest.
        methods: Names of pruning methods, the product's or a user's own that were given; None: `default_methods`.
        ratios: In (0, 1).
        epochs: Of the dense training; default: the recipe's.
        retrain_epochs: After pruning, in all, the same for every method; 0: only before retraining.
        seed: Of everything.
        dataset: Accuracy is measured on its validation part; the test images are not opened.
        data_dir: Where the data set's files are looked for first.
        device: "cpu" or "cuda".
        workers: Trainings side by side, of one thread each.
        dense: safetensors file of a trained network of this architecture, to be taken instead of training one.
            Methods with a penalty in the dense training train their own all the same.
        weights: File of the weights that the dense training begins with; None: fresh ones.
        command: Command line, for `summary.json`.
        progress: Is told after every epoch and every finished piece; default: they are shown on standard error.

    Returns:
        What is in `summary.json`; its key "complete" is False after an interruption (the first Ctrl-C).

    Raises:
        CandidateError, SweepError: Unknown method, impossible ratio, a folder with another sweep, an unfit `dense`.
        OwnNetworkError: The candidate is a class of the user's own that makes no network for these images.
        StartingWeightsError: Weights that do not fit, or that the candidate needs and nobody gave.
    """
    refuse_second_run()
    methods = default_methods() if methods is None else methods
    _check(methods, ratios, epochs, retrain_epochs, workers)
    epochs = candidate.recipe.epochs if epochs is None else epochs
    candidate = begun_with(candidate, weights, "the candidate")
    files = {} if weights is None else {candidate.recipe.starting_weights: weights}
    setting = Setting(candidate, dataset, seed, epochs, retrain_epochs, out, data_dir, device, weights=files)
    data = load_data(setting)
    try_candidate(candidate, methods, data.input_shape, data.classes)
    if weights is not None:
        check_weights([candidate.architecture], weights, data.input_shape, data.classes)
    journal = Journal(setting, data.digest, taken=dense is not None)
    journal.check_sources()
    if dense is not None:
        _take(dense, setting, journal)
    start = time.perf_counter()
    pieces = _pieces(setting, methods, ratios, journal)
    if pieces:
        write_requirements(out, goes_on=True)
        client = Pieces(pieces, workers, journal, progress or (lambda _: None))
        console = Console(stderr=True, quiet=progress is not None)
        with closing(local_workers(workers, run_task)) as pool, make_display(console) as display:
            Engine(client, pool, display).run()
    failed = [(piece.job.name, piece.failure) for piece in pieces if piece.failure is not None]
    failures = [{"piece": piece, "reason": failure.reason, "text": failure.text} for piece, failure in failed]
    summary = summarise(setting, name, command, journal, failures)
    summary |= {
        "complete": all(piece.result is not None for piece in pieces),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write(summary, out)
    return summary


def _check(
    methods: Sequence[str], ratios: Sequence[float], epochs: int | None, retrain_epochs: int, workers: int
) -> None:
    for given, what in ((methods, "methods"), (ratios, "ratios")):
        if not given:
            raise SweepError(f"A sweep needs {what}: give at least one.")
        if len(set(given)) < len(given):
            raise SweepError(f"A sweep's {what} must differ, but got {', '.join(map(str, given))}.")
    for chosen in methods:
        for ratio in ratios:
            sparsity(chosen, ratio)
    if 0 in ratios:
        raise SweepError("A sweep's ratios must be in (0, 1), but got 0; the dense network is measured anyway.")
    for value, what, least in ((epochs, "epochs", 1), (retrain_epochs, "retrain epochs", 0), (workers, "workers", 1)):
        if value is not None and value < least:
            raise SweepError(f"A sweep's {what} must be at least {least}, but got {value}.")


def _pieces(setting: Setting, methods: Sequence[str], ratios: Sequence[float], journal: Journal) -> list[Piece]:
    tasks: list[Task] = [
        *(DenseTask(setting, penalty) for penalty in sorted({0.0} | {sparsity(name, 0.5).penalty for name in methods})),
        # Ratio by ratio, so that an early look shows all methods at some ratios.
        *(PointTask(setting, chosen, ratio) for ratio in ratios for chosen in methods),
        *(SensitivityTask(setting, granularity) for granularity in GRANULARITIES),
    ]
    return [Piece(job=task, row=ShownRow(task.name, epochs=task.effort)) for task in tasks if _todo(task, journal)]


def _todo(task: Task, journal: Journal) -> bool:
    if isinstance(task, DenseTask) and not task.setting.dense_file(task.penalty).exists():
        return True
    return task.name not in journal.rows


def _take(path: Path, setting: Setting, journal: Journal) -> None:
    """Take the dense network from a file: a plain state_dict, or a checkpoint of the training loop."""
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise SweepError(f"{path} cannot be read as a safetensors file: {error}.") from None
    if any(key.startswith("network.") for key in tensors):
        tensors = {
            key.removeprefix("network."): tensor for key, tensor in tensors.items() if key.startswith("network.")
        }
    data = load_data(setting)
    network = first_network(setting.candidate.architecture, data.input_shape, data.classes, seed=setting.seed)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise SweepError(f"{path} does not fit the candidate: {str(error).splitlines()[-1].strip()}") from None
    task = DenseTask(setting, 0.0)
    if _todo(task, journal):
        keep_dense(network, setting, 0.0)
        journal.add(task.name, [dense_row(network, setting, 0.0)])
