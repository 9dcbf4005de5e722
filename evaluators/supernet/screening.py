"""Screening: many cuts of a supernet measured on some validation images, kept beside it, and measured once.

What is kept can be made again from the supernet and the data at any time. Whoever asks for more shapes has those that
are known measured no second time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from slimfront.evaluators import outputs
from slimfront.evaluators.data.splits import SearchData
from slimfront.evaluators.scoring.counting import one_thread
from slimfront.evaluators.supernet.cutting import inherit
from slimfront.evaluators.supernet.measuring import (
    MEASURED_IMAGES,
    NORM_IMAGES,
    Measured,
    measure,
    norm_batches,
    part_of,
    settle,
)
from slimfront.evaluators.supernet.shapes import Shapes, numbers_of
from slimfront.evaluators.supernet.supernet import Supernet
from slimfront.evaluators.training.loop import Epoch

PHASE = "screening"
AT_ONCE = 20  # shapes between two times that the file is written
SCREENING_VERSION = 1  # raised whenever a change makes a measurement come to other numbers
Numbers = tuple[int, ...]
"""A shape by its numbers, see `shapes.numbers_of`."""


@dataclass(frozen=True)
class Screening:
    """What was measured of a supernet's cuts.

    Attributes:
        shapes: All that there are.
        measured: Some of them, or all.
        images: On how many validation images.
        core_seconds: What it cost.
    """

    shapes: Shapes
    measured: dict[Numbers, Measured]
    images: int
    core_seconds: float = 0.0


@dataclass
class _File:
    """Measurements on disk."""

    path: Path
    rows: dict[Numbers, Measured] = field(default_factory=dict)
    core_seconds: float = 0.0

    @classmethod
    def read(cls, path: Path, images: int) -> _File:
        """What lies there; nothing where it is of another version, or cannot be read."""
        try:
            written: dict[str, Any] = json.loads(path.read_text())
            if (written["version"], written["images"]) != (SCREENING_VERSION, images):
                return cls(path)
            rows = {tuple(map(int, row[:-2])): Measured(float(row[-2]), float(row[-1])) for row in written["rows"]}
            return cls(path, rows, float(written["core_seconds"]))
        except (OSError, ValueError, TypeError, KeyError, IndexError):
            return cls(path)

    def write(self, images: int) -> None:
        rows = [[*numbers, found.accuracy, found.loss] for numbers, found in self.rows.items()]
        written = {"version": SCREENING_VERSION, "images": images, "core_seconds": self.core_seconds, "rows": rows}
        outputs.write(self.path, json.dumps(written) + "\n")


def screening_file(supernet: Path) -> Path:
    """Where the measurements of a supernet's cuts lie, or will lie: beside it."""
    return supernet.with_name(f"{supernet.stem.replace('supernet', 'screening')}.json")


def chosen(shapes: Shapes, count: int) -> list[Numbers]:
    """So many shapes, each once, depths evenly; all where there are no more. The same ones for the same count."""
    if count >= len(shapes):
        return [numbers_of(shape) for shape in shapes]
    generator = torch.Generator().manual_seed(0)
    found: dict[Numbers, None] = {}
    while len(found) < count:
        for shape in shapes.draw(count, generator):
            if len(found) < count:
                found[numbers_of(shape)] = None
    return list(found)


def screen(
    supernet: Supernet, data: SearchData, count: int, path: Path, *, threads: int = 1, device: str = "cpu"
) -> Generator[Epoch, None, Screening]:
    """Measure `count` cuts, or go on with it; yields after every AT_ONCE of them, returns all.

    Args:
        supernet: Is moved to the device, and otherwise left as it is.
        data: That it was trained on: batch norm is estimated on training images, accuracy on validation images.
        count: How many shapes; all where there are fewer.
        path: The file of the measurements.
        threads: That take the shapes in turn, on a CPU; they change nothing but the speed.
        device: "cpu" or "cuda".
    """
    shapes, images = supernet.sharing.shapes, part_of(data.validation, MEASURED_IMAGES)
    wanted = chosen(shapes, count)
    file = _File.read(path, len(images))
    open_ones = [numbers for numbers in wanted if numbers not in file.rows]
    rounds, known = -(-len(wanted) // AT_ONCE), (len(wanted) - len(open_ones)) // AT_ONCE
    for number in range(1, known + 1):  # measured before
        yield Epoch(PHASE, number, rounds, None, None, 0.0)
    norms = norm_batches(data.train, NORM_IMAGES, 0, device) if open_ones else []
    supernet.network.to(device)
    weights, classes, channels = supernet.network.state_dict(), data.classes, data.input_shape[0]

    def measured(numbers: Numbers) -> Measured:
        network = inherit(weights, shapes.of_numbers(numbers), classes, channels)
        settle(network, norms)
        return next(measure([network], images, len(images)))

    for number, begin in enumerate(range(0, len(open_ones), AT_ONCE), known + 1):
        start, core_start = time.perf_counter(), time.process_time()
        some = open_ones[begin : begin + AT_ONCE]
        with one_thread() if device == "cpu" else nullcontext():
            found = list(_each(measured, some, threads if device == "cpu" else 1))
        file.rows.update(zip(some, found, strict=True))
        file.core_seconds += time.process_time() - core_start
        file.write(len(images))
        best = max(one.accuracy for one in found)
        yield Epoch(PHASE, number, max(rounds, number), None, best, time.perf_counter() - start)
    rows = {numbers: file.rows[numbers] for numbers in wanted}
    return Screening(shapes, rows, len(images), file.core_seconds)


def _each(measured: Any, some: Iterable[Numbers], threads: int) -> Iterator[Measured]:
    if threads == 1:
        yield from map(measured, some)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(measured, some)
