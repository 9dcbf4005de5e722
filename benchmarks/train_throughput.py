"""Images per second that this machine trains: our loop against the ordinary one, and against what it could multiply.

Ours is `evaluators.training.loop.train` as a search's workers run it, as many trainings side by side as there are
cores, one thread each. The other is benchmarks/ordinary_loop.py, one training with all cores. They take turns, round by
round, and the ratio is the median of the rounds' ratios. Both stand still while the other runs.

    python benchmarks/train_throughput.py --networks resnet20 small_residual small_inverted small_dense
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.scoring.counting import count_macs
from slimfront.evaluators.training.allocator import keep_freed_memory
from slimfront.evaluators.training.augmentation import normalise
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import half_precision, train
from slimfront.models import build
from slimfront.spaces import Augmentation, presets
from slimfront.spaces.candidate import Recipe
from slimfront.spaces.optimizers import OPTIMIZERS

CLASSES = 10
SHAPE = (3, 32, 32)
AUGMENTATION = Augmentation(flip=True, crop=4)
CPU = torch.device("cpu")


def random_images(count: int) -> Images:
    """Random pixels: how fast a network trains does not depend on what it sees."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(CLASSES, (count,), generator=generator))


def our_rounds(name: str, recipe: Recipe, images: Images, threads: int) -> Iterator[None]:
    """One epoch of our loop at every turn, without end."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    network = build(presets[name].architecture, CLASSES, seed=0)
    recipe = dataclasses.replace(recipe, epochs=10_000)
    for _ in train(network, TrainContext(images, None, recipe, AUGMENTATION, CLASSES, seed=0)):
        yield


def ordinary_rounds(name: str, recipe: Recipe, images: Images, threads: int) -> Iterator[None]:
    """As many steps of the ordinary loop at every turn."""
    from benchmarks import ordinary_loop

    torch.set_num_threads(threads)
    network = build(presets[name].architecture, CLASSES, seed=0)
    loop = ordinary_loop.steps(network, OPTIMIZERS[recipe.optimizer].make(network, recipe), images, recipe.batch_size)
    while True:
        for _ in range(len(images) // recipe.batch_size):
            next(loop)
        yield


def limits(name: str, batch: int) -> Iterator[dict[str, Any]]:
    from benchmarks.limits import convolutions, matrix_product

    keep_freed_memory()
    torch.set_num_threads(1)
    dtype = half_precision(CPU) or torch.float32
    network = build(presets[name].architecture, CLASSES, seed=0).to(memory_format=torch.channels_last)
    images = normalise(random_images(batch).images)
    while True:
        yield {"convolutions": convolutions(network, images, dtype), "matrix_product": matrix_product(dtype)}


def serve(pipe: Connection, kind: str, arguments: tuple[Any, ...]) -> None:
    """A process of its own: does a round whenever it is told to, and says what it found."""
    if kind == "ordinary":
        os.environ["SLIMFRONT_KERNELS"] = "0"
    rounds: Iterator[Any] = {"ours": our_rounds, "ordinary": ordinary_rounds, "limits": limits}[kind](*arguments)
    while pipe.recv():
        pipe.send(next(rounds))


class Team:
    """Processes of one kind that do their rounds at the same time."""

    def __init__(self, kind: str, count: int, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._members = []
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, kind, arguments))
            process.start()
            self._members.append((process, here))

    def round(self) -> tuple[float, list[Any]]:
        """Seconds until the last one is through, and what each says."""
        start = time.perf_counter()
        for _, pipe in self._members:
            pipe.send(True)
        said = [pipe.recv() for _, pipe in self._members]
        return time.perf_counter() - start, said

    def close(self) -> None:
        for process, pipe in self._members:
            pipe.send(False)
            process.join()


def measure(name: str, recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    cores = options.cores
    images = random_images(options.steps * recipe.batch_size)
    ours = Team("ours", cores, name, recipe, images, 1)
    ordinary = Team("ordinary", 1, name, recipe, images, cores)
    teams = {"ours": (ours, cores), "ordinary": (ordinary, 1)}
    rates: dict[str, list[float]] = {kind: [] for kind in teams}
    for number in range(options.rounds + 1):
        for kind, (team, count) in teams.items():
            seconds, _ = team.round()
            if number:  # the first round warms up
                rates[kind].append(count * len(images) / seconds)
    for team, _ in teams.values():
        team.close()
    asked = Team("limits", cores, name, recipe.batch_size)
    asked.round()
    _, found = asked.round()
    asked.close()
    product = sum(one["matrix_product"] for one in found)
    convolution = sum(max(one["convolutions"].values()) for one in found)
    achieved = statistics.median(rates["ours"]) * operations(name)
    return {
        "network": name,
        "ratio": round(statistics.median(a / b for a, b in zip(rates["ours"], rates["ordinary"], strict=True)), 3),
        "share_of_peak": round(achieved / product, 3),
        "share_of_best_convolution": round(achieved / convolution, 3),
        "images_per_second": {kind: round(statistics.median(values), 1) for kind, values in rates.items()},
        "ratios": [round(a / b, 3) for a, b in zip(rates["ours"], rates["ordinary"], strict=True)],
        "gflops": {
            "achieved": round(achieved / 1e9, 1),
            "matrix_product": round(product / 1e9, 1),
            "best_convolution": round(convolution / 1e9, 1),
            "convolutions_one_core": {layer: round(rate / 1e9, 1) for layer, rate in found[0]["convolutions"].items()},
        },
        "optimizer": recipe.optimizer,
        "batch": recipe.batch_size,
        "trainings_side_by_side": cores,
    }


def operations(name: str) -> float:
    """FLOP of one image's training: two for a multiply-add, once forward, twice back; the image needs no gradient."""
    macs = count_macs(build(presets[name].architecture, CLASSES, seed=0), SHAPE)
    return 6 * sum(macs.values()) - 2 * macs["stem.conv"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", default=["resnet20", "small_residual", "small_inverted", "small_dense"]
    )
    parser.add_argument("--optimizer", default="sgd", choices=["sgd", "adamw", "muon"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=25, help="of every training in a round")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    recipe = Recipe(optimizer=options.optimizer, learning_rate=0.01, batch_size=128)
    rows = []
    for name in options.networks:
        rows.append(measure(name, recipe, options))
        shown = {key: rows[-1][key] for key in ("network", "ratio", "ratios", "share_of_peak", "images_per_second")}
        print(json.dumps(shown), file=sys.stderr, flush=True)
    precision = str(half_precision(CPU) or torch.float32).removeprefix("torch.")
    print(json.dumps({"torch": torch.__version__, "precision": precision, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
