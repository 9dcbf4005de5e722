"""The sweep: accuracy against pruning ratio for every method on one network, before and after retraining.

Everything lies in one folder: the dense network, a line of JSON for each finished piece, and at the end (and whenever
it is interrupted) `points.csv`, `summary.json`, `table.md` and the pictures; `requirements.txt` has the versions that
made them. Started again with the same settings, the sweep keeps what is finished, takes up the training that broke off,
and goes on with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch

from evaluators.job import Failure
from evaluators.pruning import CONTROLS, LAB_METHODS, PruningError, method
from evaluators.train import Epoch
from models import build
from search.interrupt import Interrupt
from search.sweep_journal import Journal, SweepError
from search.sweep_results import summarise, write
from search.sweep_tasks import (
    SENSITIVITY_METHODS,
    DenseTask,
    PointTask,
    SensitivityTask,
    Setting,
    Task,
    dense_row,
    keep_dense,
    load_data,
    run_task,
)
from search.workers import InProcess, LocalProcesses, Workers
from spaces import Candidate
from studies.requirements import write_requirements

DEFAULT_METHODS = (*LAB_METHODS, *CONTROLS.values())
DEFAULT_RATIOS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands.

    Attributes:
        done: Work that is done, about as many epochs.
        total: All of it.
        text: What was finished last, or is going on.
    """

    done: float
    total: float
    text: str


def sweep(
    candidate: Candidate,
    *,
    out: Path,
    name: str | None = None,
    methods: Sequence[str] = DEFAULT_METHODS,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    epochs: int | None = None,
    retrain_epochs: int = 3,
    seed: int = 0,
    dataset: str = "cifar10",
    data_dir: Path | None = None,
    device: str = "cpu",
    workers: int = 1,
    dense: Path | None = None,
    command: str = "",
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Run or resume a sweep.

    Args:
        candidate: Its architecture, augmentation and recipe are used; pruning, bits and teacher are not.
        out: Folder for everything; made where it is missing.
        name: Of the candidate, for people (a preset's name); default: its digest.
        methods: Of METHODS.
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
        command: Command line, for `summary.json`.
        progress: Is told after every epoch and every finished piece.

    Returns:
        What is in `summary.json`; its key "complete" is False after an interruption (the first Ctrl-C).

    Raises:
        PruningError, SweepError: Unknown method, impossible ratio, a folder with another sweep, an unfit `dense`.
    """
    _check(methods, ratios, epochs, retrain_epochs, workers)
    epochs = candidate.recipe.epochs if epochs is None else epochs
    setting = Setting(candidate, dataset, seed, epochs, retrain_epochs, out, data_dir, device)
    journal = Journal(setting, load_data(setting).digest, taken=dense is not None)
    if dense is not None:
        _take(dense, setting, journal)
    failures: list[dict[str, str]] = []
    start = time.perf_counter()
    waves = _tasks(setting, methods, ratios, journal)
    if any(waves):
        write_requirements(out, goes_on=True)
    complete = _run(waves, workers, journal, failures, progress)
    summary = summarise(setting, name, command, journal, failures)
    summary |= {"complete": complete and not failures, "seconds": round(time.perf_counter() - start, 1)}
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
            method(chosen, ratio)
    if 0 in ratios:
        raise PruningError("A sweep's ratios must be in (0, 1), but got 0; the dense network is measured anyway.")
    for value, what, least in ((epochs, "epochs", 1), (retrain_epochs, "retrain epochs", 0), (workers, "workers", 1)):
        if value is not None and value < least:
            raise SweepError(f"A sweep's {what} must be at least {least}, but got {value}.")


def _tasks(setting: Setting, methods: Sequence[str], ratios: Sequence[float], journal: Journal) -> list[list[Task]]:
    # Two waves: the second starts from what the first leaves.
    penalties = sorted({0.0} | {method(chosen, 0.5).penalty for chosen in methods})
    waves: list[list[Task]] = [
        [DenseTask(setting, penalty) for penalty in penalties],
        [
            # Ratio by ratio, so that an early look shows all methods at some ratios.
            *(PointTask(setting, chosen, ratio) for ratio in ratios for chosen in methods),
            *(SensitivityTask(setting, granularity) for granularity in SENSITIVITY_METHODS),
        ],
    ]
    return [[task for task in wave if _todo(task, journal)] for wave in waves]


def _todo(task: Task, journal: Journal) -> bool:
    if isinstance(task, DenseTask) and not task.setting.dense_file(task.penalty).exists():
        return True
    return task.name not in journal.rows


def _run(
    waves: list[list[Task]],
    workers: int,
    journal: Journal,
    failures: list[dict[str, str]],
    progress: Callable[[Progress], None] | None,
) -> bool:
    """Do all tasks; False where it was interrupted."""
    total = sum(task.effort for wave in waves for task in wave)
    if total == 0:
        return True
    done = 0.0
    # The workers carry whatever a generator function takes and returns; their types speak of jobs.
    evaluate = cast(Any, run_task)
    pool: Workers = InProcess(evaluate) if workers == 1 else LocalProcesses(workers, evaluate)
    try:
        with Interrupt() as interrupt:
            for wave in waves:
                waiting, running = list(wave), cast(dict[int, Task], {})
                part: dict[int, float] = {}
                while waiting or running:
                    if interrupt.asked:
                        return False
                    for slot in set(range(pool.slots)) - running.keys():
                        if waiting:
                            running[slot], part[slot] = waiting.pop(0), 0.0
                            pool.submit(slot, cast(Any, running[slot]))
                    message = pool.next(timeout=1.0)
                    if message is None:
                        continue
                    slot, news = message[0], cast(Any, message[1])
                    task = running[slot]
                    if isinstance(news, Epoch):
                        part[slot] += 1
                        pool.go_on(slot)
                        text = f"{task.name}: epoch {news.epoch} of {news.epochs}"
                    else:
                        del running[slot], part[slot]
                        done += task.effort
                        text = task.name
                        if isinstance(news, Failure):
                            failures.append({"piece": task.name, "reason": news.reason, "text": news.text})
                            text += f" failed: {news.text}"
                        else:
                            journal.add(task.name, news)
                    if progress is not None:
                        progress(Progress(min(total, done + sum(part.values())), total, text))
                if failures and isinstance(wave[0], DenseTask):
                    return False  # nothing to prune
    finally:
        pool.close()
    return True


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
    network = build(setting.candidate.architecture, data.classes, channels=data.input_shape[0], seed=setting.seed)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise SweepError(f"{path} does not fit the candidate: {str(error).splitlines()[-1].strip()}") from None
    task = DenseTask(setting, 0.0)
    if _todo(task, journal):
        keep_dense(network, setting, 0.0)
        journal.add(task.name, [dense_row(network, setting, 0.0)])
