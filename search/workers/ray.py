"""Workers on a Ray cluster: one actor for each slot, on whatever node has a GPU or enough CPUs free.

The engine stays where it is and speaks to actors as it does to local processes. An actor that dies, with its process or
with its node, is told as a death and replaced; the new one waits until a node has room, so nodes may join and leave.
The data set travels through Ray's object store, once a node. Checkpoints stay in the job's folder where the node sees
this machine's files (a shared file system); elsewhere they travel, too: back after every epoch, and out again with a
job that is taken up.

Ray moves Python objects by pickle: whoever reaches the cluster's ports can run code on it. Keep them in a network of
your own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Generic

from slimfront.evaluators import outputs
from slimfront.evaluators.data import loaded
from slimfront.evaluators.job import Failure, Job
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.workers.base import Evaluate, Hear, Message, Result, advance
from slimfront.spaces import references
from slimfront.studies.errors import StudyError

import slimfront

_STILLBORN_IN_A_ROW = 10  # then the code is not there, say, and no further attempt will help
_MARK = ".coordinator"  # a file whose content says whether two paths are the same folder
Files = Mapping[str, bytes]


def connect(address: str) -> Any:
    """Join the cluster as its driver; "auto" finds the one that runs on this machine.

    Raises:
        StudyError: There is no address, Ray is not installed, or no cluster answers there.
    """
    if not address.strip():  # Ray would take it for none, and start a cluster of its own
        raise StudyError(f"--ray must be auto or a cluster's address, but got {address!r}.")
    try:
        import ray
    except ImportError:
        raise StudyError("--ray needs Ray, which is not installed: pip install 'slimfront[ray]'.") from None
    try:
        if not ray.is_initialized():
            environment = {"env_vars": {"PYTHONPATH": _path()}}
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StudyError(
            f"--ray {address}: no Ray cluster answers there ({reason}); start one with `ray start --head`."
        ) from None
    return ray


def _path() -> str:
    """Where an actor looks for modules first: where this process does, but for what an interpreter finds by itself.

    So a user's own files are found on every node that sees them, and slimfront in a checkout, too.
    """
    own = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    given = [Path(entry).resolve() for entry in sys.path]
    kept = [path for path in given if not any(path.is_relative_to(prefix) for prefix in own)]
    checkout = Path(str(slimfront.__file__)).resolve().parents[1]
    return os.pathsep.join(map(str, dict.fromkeys([*kept, checkout])))


def cluster_slots(ray: Any, device: str, threads: int) -> int:
    """How many evaluators the cluster can run at once as it stands."""
    has = ray.cluster_resources()
    return max(1, int(has.get("GPU", 0)) if device == "cuda" else int(has.get("CPU", 0)) // threads)


def needs_of(slots: int, gpus: float, threads: int) -> dict[str, float]:
    """What Ray is asked to reserve for each slot.

    A GPU is shared by as many slots as are needed to find room for all of them.

    >>> needs_of(slots=8, gpus=3, threads=1)
    {'num_gpus': 0.3333}
    """
    if not gpus:
        return {"num_cpus": threads}
    return {"num_gpus": math.floor(1e4 / max(1, math.ceil(slots / gpus))) / 1e4}


class Evaluator(Generic[Result]):
    """What runs in an actor: one job at a time, an epoch for each call."""

    def __init__(
        self,
        evaluate: Evaluate[Job, Result],
        data: Any,
        key: loaded.Key | None,
        handed: tuple[references.Given, ...] = (),
    ) -> None:
        references.take_in(handed)  # what the user gave of code of her own, from files that this node sees
        if key is not None:
            loaded.hold(key, data)
        self._evaluate = evaluate
        self._generator: Generator[Epoch, None, Result] | None = None
        self._own: Path | None = None
        self._sent: dict[str, tuple[int, int]] = {}

    def begin(self, job: Job, mark: str, files: Files) -> None:
        """Get ready for a job; `mark` is what the mark in its folder says where this node sees that folder."""
        self.stop()
        if job.folder is not None and not _sees(job.folder, mark):
            self._own = Path(tempfile.mkdtemp(prefix="slimfront-"))
            _write(self._own, files)
            self._sent = _state(self._own)
            job = dataclasses.replace(job, folder=self._own, store=None)
        self._generator = self._evaluate(job)

    def advance(self) -> tuple[Message[Result], dict[str, bytes]]:
        """The next that happens, and the files that have changed."""
        if self._generator is None:
            return Failure("error", "no job was begun"), {}
        message = advance(self._generator)
        changed: dict[str, bytes] = {}
        if not isinstance(message, Epoch):
            self.stop()
        elif self._own is not None:
            state = _state(self._own)
            changed = {name: (self._own / name).read_bytes() for name in state if state[name] != self._sent.get(name)}
            self._sent = state
        return message, changed

    def stop(self) -> None:
        """End the job."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = None


def _sees(folder: Path, mark: str) -> bool:
    try:
        return (folder / _MARK).read_text() == mark
    except OSError:
        return False


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise OSError(f"{name} would leave its folder")
        outputs.write(path, content)


class RayWorkers(Generic[Result]):
    """Slots on a Ray cluster; see `slimfront.search.workers.base.Workers`.

    Args:
        ray: The module, connected.
        slots: Evaluators at once.
        evaluate: Importable on every node.
        data: Handed to every evaluator, with the key that it is looked up by; None: each loads its own.
        device: "cpu": `threads` CPUs each; "cuda": a GPU each, or an equal part of one where slots outnumber GPUs.
        threads: Of each training.
    """

    def __init__(
        self,
        ray: Any,
        slots: int,
        evaluate: Evaluate[Job, Result],
        *,
        data: Any = None,
        key: loaded.Key | None = None,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        self.slots = slots
        self._ray = ray
        gpus = ray.cluster_resources().get("GPU", 1.0) if device == "cuda" else 0.0
        self._class = ray.remote(**needs_of(slots, gpus, threads))(Evaluator)
        self._arguments = (evaluate, ray.put(data), key, references.handed_out())
        self._actors: dict[int, Any] = {}
        self._stillborn = 0
        self._awaited: dict[int, Any] = {}  # the first sign of life of actors that may still wait for a node
        for slot in range(slots):
            self._make(slot)
        self._next: dict[int, Any] = {}
        self._folders: dict[int, Path | None] = {}

    def _make(self, slot: int) -> None:
        self._actors[slot] = self._class.remote(*self._arguments)
        self._awaited[slot] = self._actors[slot].stop.remote()

    def listen(self, hear: Hear) -> None:
        """See Workers: an actor is asked for whole epochs, and tells of nothing in between."""

    def ready(self, slot: int) -> bool:
        """See Workers."""
        awaited = self._awaited.get(slot)
        if awaited is None:
            return True
        if not self._ray.wait([awaited], timeout=0)[0]:
            return False
        try:
            self._ray.get(awaited)
        except self._ray.exceptions.RayError as error:  # it died before it lived
            self._stillborn += 1
            if self._stillborn >= _STILLBORN_IN_A_ROW:
                reason = " ".join(str(error).split())[-300:]
                raise StudyError(f"No evaluator starts on the Ray cluster: {reason}") from None
            self._replace(slot)
            return False
        self._stillborn = 0
        del self._awaited[slot]
        return True

    def submit(self, slot: int, task: Job) -> None:
        """See Workers."""
        mark, files = secrets.token_hex(8), dict[str, bytes]()
        if task.folder is not None:
            task.folder.mkdir(parents=True, exist_ok=True)
            (task.folder / _MARK).write_text(mark)
            files = {name: (task.folder / name).read_bytes() for name in _state(task.folder)}
        self._folders[slot] = task.folder
        self._actors[slot].begin.remote(task, mark, files)
        self._next[slot] = self._actors[slot].advance.remote()

    def next(self, timeout: float) -> tuple[int, Message[Result]] | None:
        """See Workers."""
        if not self._next:
            time.sleep(timeout)
            return None
        slots = {reference: slot for slot, reference in self._next.items()}
        ready, _ = self._ray.wait(list(slots), num_returns=1, timeout=timeout)
        if not ready:
            return None
        slot = slots[ready[0]]
        del self._next[slot]
        try:
            message, files = self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:
            return slot, Failure("error", " ".join(str(error).split())[-300:])
        except self._ray.exceptions.RayError as error:  # its process, or its node, is gone
            self._replace(slot)
            return slot, Failure("worker_died", f"an evaluator on the cluster ended ({type(error).__name__})")
        folder = self._folders.get(slot)
        if folder is not None:
            _write(folder, files)
        return slot, message

    def go_on(self, slot: int) -> None:
        """See Workers."""
        self._next[slot] = self._actors[slot].advance.remote()

    def stop(self, slot: int) -> None:
        """See Workers."""
        self._actors[slot].stop.remote()

    def _replace(self, slot: int) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(self._actors[slot])
        self._make(slot)

    def close(self) -> None:
        """See Workers."""
        for actor in self._actors.values():
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
