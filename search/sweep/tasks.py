"""What a sweep computes, piece by piece: the dense network, one method at one ratio, one sensitivity analysis.

Each piece is a generator of epochs that any of the search's workers can run, and is resumable by itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from slimfront.evaluators.data import loaded
from slimfront.evaluators.data.splits import SearchData
from slimfront.evaluators.pipeline import UncompressedPhase
from slimfront.evaluators.pruning.accounting import account
from slimfront.evaluators.pruning.criteria.magnitude import L1
from slimfront.evaluators.pruning.phase import PruningPhase
from slimfront.evaluators.pruning.sensitivity import sensitivity
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.starting import first_network
from slimfront.evaluators.training import checkpoint as files
from slimfront.evaluators.training.allocator import keep_freed_memory
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch, accuracy
from slimfront.models.layout import layout_of
from slimfront.spaces import Candidate, Pruning, Recipe, Sparsity, references, sparsity
from slimfront.spaces.criteria import METHODS
from torch import nn

Row = dict[str, Any]

SENSITIVITY_RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Setting:
    """What all pieces of a sweep share.

    Attributes:
        candidate: Architecture, augmentation and recipe; its pruning, bits and teacher are left aside.
        dataset: Name of the data set; accuracy is measured on its validation part.
        seed: Of everything.
        epochs: Of the dense training.
        retrain_epochs: Of retraining after pruning, in all; 0: none.
        out: Folder of the sweep.
        data_dir: Where the data set's files are looked for first.
        device: "cpu" or "cuda".
        threads: Of one training.
        weights: Files of starting weights, by what recipes call them.
    """

    candidate: Candidate
    dataset: str
    seed: int
    epochs: int
    retrain_epochs: int
    out: Path
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int = 1
    weights: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The candidate's, without a teacher: the sweep is about pruning alone."""
        return dataclasses.replace(self.candidate.recipe, epochs=self.epochs, teacher=None, distillation=0.0)

    def context(self, data: SearchData, checkpoint: Path) -> TrainContext:
        """What every training of the sweep is given, with its state in `checkpoint`."""
        return TrainContext(
            images=data.train,
            validation=data.validation,
            recipe=self.recipe,
            augmentation=self.candidate.augmentation,
            classes=data.classes,
            seed=self.seed,
            device=torch.device(self.device),
            checkpoint=checkpoint,
        )

    def dense_file(self, penalty: float) -> Path:
        """Where the dense network lies that was trained with this L1 penalty on batch-norm scales."""
        return self.out / (f"dense-{penalty:g}.safetensors" if penalty else "dense.safetensors")


@dataclass(frozen=True)
class _Placed:
    """What all pieces have in common."""

    setting: Setting

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.setting.device

    def on(self, device: str) -> Self:
        """The same piece on another device."""
        return dataclasses.replace(self, setting=dataclasses.replace(self.setting, device=device))


@dataclass(frozen=True)
class DenseTask(_Placed):
    """Train a dense network; gives one row: what the networks that are pruned start from."""

    penalty: float

    @property
    def name(self) -> str:
        """For people."""
        return f"dense network with penalty {self.penalty:g}" if self.penalty else "dense network"

    @property
    def effort(self) -> int:
        """About how many epochs it takes."""
        return self.setting.epochs

    def run(self) -> Generator[Epoch, None, list[Row]]:
        """Train, and keep the network."""
        setting, data = self.setting, load_data(self.setting)
        network = _fresh(setting, data, setting.recipe)
        running = setting.out / f"running-dense-{self.penalty:g}.safetensors"
        yield from UncompressedPhase(self.penalty).run(network, setting.context(data, running))
        keep_dense(network, setting, self.penalty)
        running.unlink(missing_ok=True)
        return [dense_row(network, setting, self.penalty)]


@dataclass(frozen=True)
class PointTask(_Placed):
    """One method at one ratio; gives the row before retraining and, where there is any, the one after it."""

    method: str
    ratio: float

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.method} at {self.ratio:g}"

    @property
    def effort(self) -> int:
        """About how many epochs it takes."""
        return 1 + self.setting.retrain_epochs

    def run(self) -> Generator[Epoch, None, list[Row]]:
        """Prune two copies, one without and one with retraining."""
        rows = []
        for epochs in (0, self.setting.retrain_epochs)[: 2 if self.setting.retrain_epochs else 1]:
            rows.append((yield from self._prune(sparsity(self.method, self.ratio, epochs))))
        return rows

    def _prune(self, step: Sparsity) -> Generator[Epoch, None, Row]:
        setting, data = self.setting, load_data(self.setting)
        start = time.perf_counter()
        network = load_dense(setting, step.penalty)
        dense = score(network, data.input_shape)
        running = setting.out / f"running-{_file_word(self.method)}-{self.ratio:g}.safetensors"
        report = yield from PruningPhase(step).run(network, setting.context(data, running))
        counted = score(network, data.input_shape)
        booked = account(dense, counted, Pruning(**{step.granularity: step}))
        row = {
            "method": self.method,
            "granularity": step.granularity,
            "code": references.sources([self.method]),
            "ratio": self.ratio,
            "retrained": step.epochs > 0,
            "accuracy": accuracy(network, data.validation, setting.device),
            **_counts(counted),
            "reached": report.ratio,
            "met": report.met,
            "nominal_formula": booked.nominal_formula,
            "epochs": step.epochs,
            "seconds": round(time.perf_counter() - start, 1),
        }
        for leftover in setting.out.glob(f"{running.stem}*.safetensors"):
            leftover.unlink(missing_ok=True)
        return row


@dataclass(frozen=True)
class SensitivityTask(_Placed):
    """Accuracy when only one layer is pruned, for every layer; gives a row for each layer and ratio."""

    granularity: str

    @property
    def name(self) -> str:
        """For people."""
        return f"sensitivity to the removal of {self.granularity}"

    @property
    def effort(self) -> int:
        """About how many epochs it takes."""
        return 2

    def run(self) -> Generator[Epoch, None, list[Row]]:
        """Prune every layer of a copy; there is no training in it, so it yields nothing."""
        setting, data = self.setting, load_data(self.setting)
        step = Sparsity(self.granularity, L1.name, "layer", "once", 0.5)
        rows = sensitivity(
            load_dense(setting, 0.0),
            step,
            SENSITIVITY_RATIOS,
            data.train,
            data.validation,
            seed=setting.seed,
            device=setting.device,
        )
        return [{"granularity": self.granularity, **asdict(row)} for row in rows]
        yield


Task = DenseTask | PointTask | SensitivityTask


def run_task(task: Task) -> Generator[Epoch, None, list[Row]]:
    """What a worker does with a task."""
    keep_freed_memory()
    torch.set_num_threads(task.setting.threads)
    return (yield from task.run())


def keep_dense(network: nn.Module, setting: Setting, penalty: float) -> None:
    """Keep a trained dense network in the sweep's folder."""
    files.save(setting.dense_file(penalty), network.state_dict(), {"penalty": penalty})


def dense_row(network: nn.Module, setting: Setting, penalty: float) -> Row:
    """What a dense network reaches and costs."""
    data = load_data(setting)
    found = accuracy(network, data.validation, setting.device)
    return {"penalty": penalty, "accuracy": found, **_counts(score(network, data.input_shape))}


def load_dense(setting: Setting, penalty: float) -> nn.Module:
    """The dense network that a sweep keeps. Raises FileNotFoundError where there is none, or a broken one."""
    path = setting.dense_file(penalty)
    found = files.load(path)
    if found is None:
        raise FileNotFoundError(2, "No dense network, or a broken one; start the sweep again", str(path))
    data = load_data(setting)
    network = _fresh(setting, data)
    network.load_state_dict(found[0])
    network.to(device=torch.device(setting.device), memory_format=layout_of(network))  # type: ignore[call-overload]
    return network


def _file_word(method: str) -> str:
    """A method's name as a part of a file's name: a user's own is a path."""
    if not references.is_reference(method):
        return method
    return f"{METHODS[method].name}-{hashlib.sha256(method.encode()).hexdigest()[:8]}"


def _fresh(setting: Setting, data: SearchData, recipe: Recipe | None = None) -> nn.Module:
    return first_network(
        setting.candidate.architecture,
        data.input_shape,
        data.classes,
        seed=setting.seed,
        recipe=recipe,
        files=setting.weights,
    )


def _counts(counted: Any) -> Row:
    return {key: getattr(counted, key) for key in ("weights", "stored_weights", "macs", "score", "strict_score")}


def load_data(setting: Setting) -> SearchData:
    """The data set, read once a process. Raises DataError where it cannot be had."""
    return loaded.search_data(setting.dataset, setting.data_dir)
