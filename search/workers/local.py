"""Where evaluators run: in this process, or in processes of their own.

Both kinds speak the same way: `submit` gives a slot a job, `next` hands back what happened, and after every epoch the
evaluator waits for `go_on` or `stop`. So every decision sees everything, wherever the training is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import traceback
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from slimfront.evaluators.job import Failure, Job, Result
from slimfront.evaluators.training.loop import Epoch

Message = Epoch | Result | Failure


class Evaluate(Protocol):
    """A function that evaluates a job; importable by name, so that a new process finds it."""

    def __call__(self, job: Job) -> Generator[Epoch, None, Result]:
        """Yield after every epoch, return the result."""


class Workers(Protocol):
    """Some slots, each of which evaluates one job at a time."""

    slots: int

    def ready(self, slot: int) -> bool:
        """Whether a free slot can begin a job now; on a cluster it may have to wait for a node."""

    def submit(self, slot: int, job: Job) -> None:
        """Begin `job` in a free slot."""

    def next(self, timeout: float) -> tuple[int, Message] | None:
        """What happened next, and in which slot; None where nothing did for `timeout` seconds.

        A Result or a Failure frees the slot. After an Epoch the slot waits for `go_on` or `stop`.
        """

    def go_on(self, slot: int) -> None:
        """Let the slot train on."""

    def stop(self, slot: int) -> None:
        """End the slot's job; the slot is free at once."""

    def close(self) -> None:
        """End everything."""


def evaluate_job(job: Job) -> Generator[Epoch, None, Result]:
    """The real evaluator: loads the data set (once a process) and trains."""
    import torch
    from slimfront.evaluators.pipeline import evaluate
    from slimfront.evaluators.training.allocator import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(job.threads)
    result = yield from evaluate(job, _data(job))
    return result


def on_its_gpu(job: Job, slot: int) -> Job:
    """The job with its GPU: slots go round the GPUs of this machine, several to each where there are more slots."""
    # A sweep's tasks come through here, too, and say themselves where they run.
    if not isinstance(job, Job) or job.device != "cuda":
        return job
    import torch

    return dataclasses.replace(job, device=f"cuda:{slot % max(1, torch.cuda.device_count())}")


loaded_data: dict[tuple[object, ...], object] = {}
"""The data set that this process holds, by `data_key`."""


def data_key(dataset: str, data_dir: Path | None, image_size: int | None, digest: str) -> tuple[object, ...]:
    """What a data set is told apart by."""
    return dataset, str(data_dir), image_size, digest


def _data(job: Job):  # type: ignore[no-untyped-def]
    from slimfront.evaluators.data.splits import search_data
    from slimfront.evaluators.training.loop import TrainingError

    key = data_key(job.dataset, job.data_dir, job.image_size, job.data_digest)
    if key not in loaded_data:
        loaded_data.clear()  # one data set a process
        data = search_data(job.dataset, data_dir=job.data_dir, image_size=job.image_size)
        if job.data_digest and data.digest != job.data_digest:
            text = f"The data set {job.dataset} is not the one that the study was begun with: {data.digest}, not "
            raise TrainingError("files", f"{text}{job.data_digest}. Put its files back, or begin another study.")
        loaded_data[key] = data
    return loaded_data[key]


def advance(generator: Generator[Epoch, None, Result]) -> Message:
    """The next thing that a job does; whatever it raises becomes a Failure."""
    try:
        return next(generator)
    except StopIteration as finished:
        result: Result = finished.value
        return result
    except Exception as error:  # a bug in one candidate must not end the night
        return failure_of(error)


def failure_of(error: Exception) -> Failure:
    """An exception as a Failure, with a reason from the fixed set."""
    from slimfront.evaluators.training.loop import TrainingError

    if isinstance(error, TrainingError):
        return Failure(error.reason, str(error))
    text = f"{type(error).__name__}: {error}".split("\n")[0]
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return Failure("out_of_memory", text)
    if isinstance(error, OSError):
        return Failure("files", text)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Failure("error", f"{text} ({os.path.basename(where.filename)}:{where.lineno})")  # noqa: PTH119


class InProcess:
    """One slot, in this process: the job moves on whenever `next` is called."""

    slots = 1

    def __init__(self, evaluate: Evaluate = evaluate_job) -> None:
        self._evaluate = evaluate
        self._generator: Generator[Epoch, None, Result] | None = None

    def ready(self, slot: int) -> bool:
        """See Workers."""
        return True

    def submit(self, slot: int, job: Job) -> None:
        """See Workers."""
        self._generator = self._evaluate(job)

    def next(self, timeout: float) -> tuple[int, Message] | None:
        """See Workers."""
        if self._generator is None:
            return None
        message = advance(self._generator)
        if not isinstance(message, Epoch):
            self._generator = None
        return 0, message

    def go_on(self, slot: int) -> None:
        """See Workers."""

    def stop(self, slot: int) -> None:
        """See Workers."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    def close(self) -> None:
        """See Workers."""
        self.stop(0)


def _serve(connection: Connection, evaluate: Evaluate) -> None:
    """The life of a worker process: jobs in, messages out, one word after each epoch."""
    # Ctrl-C reaches the whole group, and so does the end that a service manager sends; the coordinator decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            job = connection.recv()
            if job is None:
                return
            generator = evaluate(job)
            while True:
                message = advance(generator)
                connection.send(message)
                if not isinstance(message, Epoch):
                    break
                if connection.recv() == "stop":
                    generator.close()
                    break
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the coordinator is gone


@dataclass
class _Slot:
    process: BaseProcess
    connection: Connection
    busy: bool = False


def _context() -> Any:
    """How worker processes are made: forked from a helper that has imported torch, which takes seconds, once.

    A plain fork of the coordinator would copy its threads' locks and its database connections; the helper has neither.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")  # Windows
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["slimfront.evaluators.pipeline", "slimfront.evaluators.data.splits"])
    return context


class LocalProcesses:
    """Several slots, each a process that lives as long as the search; one that dies is replaced.

    A death is told as Failure("worker_died"), so that the coordinator can start the job again.
    """

    def __init__(self, slots: int, evaluate: Evaluate = evaluate_job) -> None:
        self.slots = slots
        self._context = _context()
        self._evaluate = evaluate
        self._heard = slots - 1  # the slot that spoke last
        self._slots = [self._start() for _ in range(slots)]

    def _start(self) -> _Slot:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._evaluate), daemon=True)
        process.start()
        theirs.close()
        return _Slot(process, ours)

    @property
    def process_ids(self) -> list[int]:
        """Of the worker processes, by slot."""
        return [slot.process.pid or 0 for slot in self._slots]

    def ready(self, slot: int) -> bool:
        """See Workers."""
        return True

    def submit(self, slot: int, job: Job) -> None:
        """See Workers."""
        job = on_its_gpu(job, slot)
        try:
            self._slots[slot].connection.send(job)
        except OSError:  # it died while idle
            self._replace(slot)
            self._slots[slot].connection.send(job)
        self._slots[slot].busy = True

    def next(self, timeout: float) -> tuple[int, Message] | None:
        """See Workers."""
        busy = {slot.connection: number for number, slot in enumerate(self._slots) if slot.busy}
        ready = wait(list(busy), timeout)
        if not ready:
            return None
        # In turns: with many workers the first ones would always be ready again, and the last never heard.
        waiting = [busy[connection] for connection in ready]  # type: ignore[index]
        number = min(waiting, key=lambda slot: (slot - self._heard - 1) % self.slots)
        self._heard = number
        try:
            message: Message = self._slots[number].connection.recv()
        except (EOFError, OSError):
            process = self._slots[number].process
            process.join(1)
            text = f"worker process {process.pid} ended with code {process.exitcode}"
            if process.exitcode == -signal.SIGKILL:
                text += " (killed; the system does that when memory runs out)"
            self._replace(number)
            return number, Failure("worker_died", text)
        if not isinstance(message, Epoch):
            self._slots[number].busy = False
        return number, message

    def go_on(self, slot: int) -> None:
        """See Workers."""
        self._say(slot, "go on")

    def stop(self, slot: int) -> None:
        """See Workers."""
        self._say(slot, "stop")
        self._slots[slot].busy = False

    def _say(self, slot: int, word: str) -> None:
        with contextlib.suppress(OSError):  # it died: `next` will tell
            self._slots[slot].connection.send(word)

    def _replace(self, number: int) -> None:
        old = self._slots[number]
        old.connection.close()
        old.process.kill()
        old.process.join()
        self._slots[number] = self._start()

    def close(self) -> None:
        """See Workers."""
        for slot in self._slots:
            slot.connection.close()
            slot.process.kill()  # its state was saved at the end of its last epoch
        for slot in self._slots:
            slot.process.join()
