"""Event files that TensorBoard shows: the curve of every trial, or of every seed of a retraining, while it trains.

They are written by the engine's listener, for people to look at; nothing reads them again. The writer is torch's, and
needs the package `tensorboard` (`pip install 'slimfront[tensorboard]'`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from slimfront.evaluators import outputs
from slimfront.evaluators.job import Result
from slimfront.evaluators.training.loop import TEACHER, Epoch
from slimfront.search.engine import Listener, Task
from slimfront.studies.report.methods_used import describe

OPTION = "--tensorboard"
_SCORES = ("score", "strict_score")


class EventFilesError(ValueError):
    """Event files that cannot be written: the text says what to do."""


def check_event_files(folder: Path | None, dataset: str) -> None:
    """Refuse before any work what would end in no event files; None: none are asked for.

    Raises:
        EventFilesError: The package tensorboard is missing.
        OutputError: Nothing can be written in the folder.
    """
    if folder is None:
        return
    _writer()
    outputs.check_outside_data(OPTION, folder, dataset)
    outputs.check_folder(OPTION, folder, (), {})


@contextmanager
def event_files(folder: Path | None, name: str, say: Callable[[str], Any]) -> Iterator[tuple[Listener, ...]]:
    """The engine's listeners: one that writes in FOLDER/NAME, or none where no folder is given.

    Args:
        folder: As the user gave it.
        name: Of the study, or of the retraining.
        say: Told where nothing can be written any more.
    """
    if folder is None:
        yield ()
        return
    with closing(EventFiles(folder / name, say)) as listener:
        yield (listener,)


class EventFiles:
    """Writes what the engine's tasks tell, each in a folder of its own; see `slimfront.search.engine.Listener`.

    The steps are the epochs of all phases of a task, one after the other. A task that begins anew, or is replayed from
    its checkpoint, takes the place of what it had written before.

    A folder that can no longer be written in ends the event files, and not the search.
    """

    def __init__(self, folder: Path, say: Callable[[str], Any]) -> None:
        self._folder, self._say = folder, say
        self._runs: dict[int, _Run] = {}  # by the task's identity
        self._broken = False

    def started(self, task: Task) -> None:
        """See Listener."""
        self._try(self._begin, task)

    def epoch(self, task: Task, epoch: Epoch) -> None:
        """See Listener."""
        run = self._runs.get(id(task))
        if run is not None and epoch.stage != TEACHER:
            self._try(run.epoch, epoch)

    def ended(self, task: Task, result: Any) -> None:
        """See Listener."""
        run = self._runs.pop(id(task), None)
        if run is not None:
            self._try(run.end, result)

    def close(self) -> None:
        """Write what is left; of tasks that were interrupted, too."""
        for run in self._runs.values():
            self._try(run.end, None)
        self._runs.clear()

    def _begin(self, task: Task) -> None:
        name = re.sub(r"[^A-Za-z0-9]+", "-", task.row.name).strip("-")
        self._runs[id(task)] = _Run(self._folder / name, describe(task.job.candidate))

    def _try(self, write: Callable[..., None], *told: Any) -> None:
        if self._broken:
            return
        try:
            write(*told)
        except OSError as error:
            self._broken = True
            self._say(f"{OPTION}: nothing can be written in {self._folder} any more ({error.strerror or error})")


class _Run:
    """The event file of one task."""

    def __init__(self, folder: Path, network: str) -> None:
        self._writer = _writer()(str(folder), purge_step=0)  # TensorBoard drops what an earlier start has written
        self._epochs, self._phase = 0, ""
        self._writer.add_text("network", network, 0)

    def epoch(self, epoch: Epoch) -> None:
        """Loss, accuracy and seconds; a phase's first epoch says which it is."""
        if epoch.epoch > 0:  # else it is what pruning or rounding has left, before any fine-tuning
            self._epochs += 1
        if epoch.stage != self._phase:
            self._phase = epoch.stage
            self._writer.add_text("phase", epoch.stage, self._epochs)
        values = {"loss": epoch.loss, "accuracy": epoch.accuracy, "seconds an epoch": epoch.seconds}
        self._add(values)

    def end(self, result: Any) -> None:
        """What the task came to, where it has a result, and the last of the file."""
        if isinstance(result, Result):
            self._add({"result/accuracy": result.accuracy})
            self._add({f"result/{key}": result.score.get(key) for key in _SCORES})
        self._writer.close()

    def _add(self, values: dict[str, float | None]) -> None:
        for tag, value in values.items():
            if value is not None:
                self._writer.add_scalar(tag, value, self._epochs)
        self._writer.flush()


def _writer() -> Any:
    """torch's class of writers. Raises EventFilesError."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise EventFilesError(
            f"{OPTION}: the package tensorboard is missing: pip install 'slimfront[tensorboard]'."
        ) from None
    return SummaryWriter
