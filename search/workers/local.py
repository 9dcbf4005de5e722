"""Workers on this machine: in this process, or in processes of their own."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic

from slimfront.evaluators.job import Failure
from slimfront.evaluators.training.loop import Epoch
from slimfront.evaluators.training.progress import Progress, listening
from slimfront.search.interrupt import held_back
from slimfront.search.workers.base import Evaluate, Hear, Message, Result, Task, Workers, advance
from slimfront.spaces import references


def local_workers(slots: int, evaluate: Evaluate[Task, Result]) -> Workers[Task, Result]:
    """So many trainings side by side; a single one runs in this process."""
    return InProcess(evaluate) if slots == 1 else LocalProcesses(slots, evaluate)


def _nobody(slot: int, progress: Progress) -> None:
    """Who listens where nobody does."""


def on_its_gpu(task: Task, slot: int) -> Task:
    """The task with its GPU: slots go round the GPUs of this machine, several to each where there are more slots."""
    if task.device != "cuda":
        return task
    import torch

    return task.on(f"cuda:{slot % max(1, torch.cuda.device_count())}")


class InProcess(Generic[Task, Result]):
    """One slot, in this process: the task moves on whenever `next` is called."""

    slots = 1

    def __init__(self, evaluate: Evaluate[Task, Result]) -> None:
        self._evaluate = evaluate
        self._generator: Generator[Epoch, None, Result] | None = None
        self._hear: Hear = _nobody

    def listen(self, hear: Hear) -> None:
        """See Workers."""
        self._hear = hear

    def ready(self, slot: int) -> bool:
        """See Workers."""
        return True

    def submit(self, slot: int, task: Task) -> None:
        """See Workers."""
        self._generator = self._evaluate(task)

    def next(self, timeout: float) -> tuple[int, Message[Result]] | None:
        """See Workers."""
        if self._generator is None:
            return None
        with listening(lambda progress: self._hear(0, progress)):
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


def _serve(connection: Connection, evaluate: Evaluate[Any, Any], handed: tuple[references.Given, ...]) -> None:
    """The life of a worker process: tasks in, messages out, one word after each epoch.

    `handed` is what the user gave of code of her own: it is imported first, and where that fails, so does every task.
    """
    # Ctrl-C reaches the whole group, and so does the end that a service manager sends; the engine decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout = sys.stderr  # what a user's own code prints is no result of the command
    refused = _refused(handed)
    while True:
        try:
            task = connection.recv()
            if refused is not None:
                connection.send(refused)
                continue
            generator = evaluate(task)
            while True:
                with listening(connection.send):
                    message = advance(generator)
                connection.send(message)
                if not isinstance(message, Epoch):
                    break
                if connection.recv() == "stop":
                    generator.close()
                    break
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the engine is gone


def _refused(handed: tuple[references.Given, ...]) -> Failure | None:
    try:
        references.take_in(handed)
    except references.CodeReferenceError as error:
        return Failure("files", str(error))
    return None


SECOND_RUN = 79
"""Exit code of a process that was to be a worker, and found itself running its starter's script a second time."""


class SecondRunError(ValueError):
    """A script starts workers wherever it is imported, and so in its workers, too."""

    def __init__(self) -> None:
        super().__init__(
            "workers import the script that starts them, and this one would start a search in each: "
            'put what it does under `if __name__ == "__main__":`, or use one worker.'
        )


def refuse_second_run() -> None:
    """End this process where it is a worker to be that is importing its starter's script, which has come to here."""
    frame = sys._getframe()  # Python's own module `inspect` gives the same, and imports much
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__mp_main__":
            os._exit(SECOND_RUN)
        frame = frame.f_back  # type: ignore[assignment]


@dataclass
class _Slot:
    process: BaseProcess
    connection: Connection
    busy: bool = False


def start_forkserver() -> None:
    """Start the helper that workers are forked from, which imports torch, as that takes seconds, once.

    The helper looks for modules where an interpreter looks by default, and says nothing where it finds none. So it is
    given this process's path, which need not begin with the current folder.
    """
    multiprocessing.set_forkserver_preload(["slimfront.search.workers.preload"])
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    # Ctrl-C reaches it, too, and while it still imports it would end with a traceback. It starts a tracker of shared
    # memory, and that start lets all signals through again: so the tracker comes first.
    resource_tracker.ensure_running()
    with _environment(PYTHONPATH=path, PYTHONSAFEPATH="1"), held_back():
        forkserver.ensure_running()


_NAME = "slimfront worker"


@atexit.register
def _end_workers() -> None:
    """End workers that nobody closed, because an interrupt came while they were started.

    Python asks them to end when it does, by a signal to which they do not listen, and waits for them.
    """
    for process in multiprocessing.active_children():
        if process.name == _NAME:
            process.kill()


def _context() -> Any:
    """How worker processes are made.

    A plain fork of this process would copy its threads' locks and its database connections; the helper has neither.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")  # Windows
    start_forkserver()
    return multiprocessing.get_context("forkserver")


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class LocalProcesses(Generic[Task, Result]):
    """Several slots, each a process that lives until `close`; one that dies is replaced.

    A death is told as Failure("worker_died"), so that the engine can start the task again.
    """

    def __init__(self, slots: int, evaluate: Evaluate[Task, Result]) -> None:
        self.slots = slots
        self._evaluate = evaluate
        self._heard = slots - 1  # the slot that spoke last
        self._hear: Hear = _nobody
        self._slots = [self._start() for _ in range(slots)]

    def _start(self) -> _Slot:
        context = _context()  # whose helper may have died since
        ours, theirs = context.Pipe()
        given = (theirs, self._evaluate, references.handed_out())
        process = context.Process(target=_serve, args=given, name=_NAME, daemon=True)
        process.start()
        theirs.close()
        return _Slot(process, ours)

    def listen(self, hear: Hear) -> None:
        """See Workers."""
        self._hear = hear

    @property
    def process_ids(self) -> list[int]:
        """Of the worker processes, by slot."""
        return [slot.process.pid or 0 for slot in self._slots]

    def ready(self, slot: int) -> bool:
        """See Workers."""
        return True

    def submit(self, slot: int, task: Task) -> None:
        """See Workers."""
        task = on_its_gpu(task, slot)
        try:
            self._slots[slot].connection.send(task)
        except OSError:  # it died while idle
            self._replace(slot)
            self._slots[slot].connection.send(task)
        self._slots[slot].busy = True

    def next(self, timeout: float) -> tuple[int, Message[Result]] | None:
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
            message: Message[Result] | Progress = self._slots[number].connection.recv()
        except (EOFError, OSError):
            process = self._slots[number].process
            process.join(1)
            if process.exitcode == SECOND_RUN:
                raise SecondRunError from None
            text = f"worker process {process.pid} ended with code {process.exitcode}"
            if process.exitcode == -signal.SIGKILL:
                text += " (killed; the system does that when memory runs out)"
            self._replace(number)
            return number, Failure("worker_died", text)
        if isinstance(message, Progress):
            self._hear(number, message)
            return None  # nothing that anybody has to decide on
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
