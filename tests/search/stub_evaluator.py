"""An evaluator that trains nothing: accuracies follow from the candidate, so a whole search takes a second."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.scoring.cost import measure
from slimfront.evaluators.scoring.expected import expected
from slimfront.evaluators.training.loop import Epoch, TrainingError

EPOCHS = 3


def final_accuracy(job: Job) -> float:
    """Wider networks are better, up to 0.96; deterministic."""
    widths = sum(job.candidate.architecture.widths)
    return round(0.96 - 2.0 / (widths + 10), 4)


def evaluate(job: Job) -> Generator[Epoch, None, Result]:
    curve = []
    for epoch in range(1, EPOCHS + 1):
        curve.append(Epoch("dense", epoch, EPOCHS, 1.0 / epoch, final_accuracy(job) * epoch / EPOCHS, 0.0))
        yield curve[-1]
    subject = expected(job.candidate, (1, 12, 12), 10)
    score, costs = subject.score.to_dict(), measure(job.costs, subject)
    return Result(final_accuracy(job), score, tuple(curve), {"dense": final_accuracy(job)}, 0.01, costs=costs)


def always_fails(job: Job) -> Generator[Epoch, None, Result]:
    yield Epoch("dense", 1, 2, 1.0, 0.1, 0.0)
    raise TrainingError("loss_not_finite", "The loss of epoch 2 is nan.")


def fails_but_the_first(job: Job) -> Generator[Epoch, None, Result]:
    """Trial 0 takes two seconds and ends well, all others fail at once."""
    if job.folder is None or job.folder.name != "trial-0":
        yield from always_fails(job)
    time.sleep(2)
    return (yield from evaluate(job))


def takes_a_second(job: Job) -> Generator[Epoch, None, Result]:
    time.sleep(1)
    return (yield from evaluate(job))


def dies_once(job: Job) -> Generator[Epoch, None, Result]:
    """Ends its process without a word in the first trial's first start."""
    assert job.folder is not None
    mark = Path(job.folder) / "died"
    yield Epoch("dense", 1, EPOCHS, 1.0, 0.5, 0.0)
    if job.folder.name == "trial-1" and not mark.exists():
        mark.parent.mkdir(parents=True)
        mark.touch()
        os._exit(9)
    return (yield from evaluate(job))


def slow(job: Job) -> Generator[Epoch, None, Result]:
    for epoch in range(1, 1000):
        time.sleep(0.05)
        yield Epoch("dense", epoch, 1000, 1.0, 0.5, 0.05)
    raise AssertionError("nobody waits that long")


def always_dies(job: Job) -> Generator[Epoch, None, Result]:
    """Ends its process in every start of trial 1."""
    yield Epoch("dense", 1, EPOCHS, 1.0, 0.5, 0.0)
    if job.folder is not None and job.folder.name == "trial-1":
        os._exit(9)
    return (yield from evaluate(job))


def stuck(job: Job) -> Generator[Epoch, None, Result]:
    """An epoch that takes a minute."""
    time.sleep(60)
    yield Epoch("dense", 1, 2, 1.0, 0.5, 60.0)
    raise AssertionError("nobody waits that long")


def kills_the_search(job: Job) -> Generator[Epoch, None, Result]:
    """Trial 1 takes the coordinator with it, in whose process it runs."""
    yield Epoch("dense", 1, EPOCHS, 1.0, 0.5, 0.0)
    if job.folder is not None and job.folder.name == "trial-1":
        os.kill(os.getpid(), signal.SIGKILL)
    return (yield from evaluate(job))


def with_books(job: Job) -> Generator[Epoch, None, Result]:
    """As `evaluate`, with an account of pruning."""
    result = yield from evaluate(job)
    return dataclasses.replace(result, facts={"account": {"p_s": 0.25}}, notes=("one filter too few",))
