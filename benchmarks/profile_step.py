"""Where the time of a training step goes: parts of the loop, and operators.

The parts (augmentation, forward, backward, update, moving average) are timed one after the other over many steps
with one thread, as a worker trains, and the fastest of each counts; evaluation of 5,000 images is given as a share of
an epoch of 45,000. The operators are torch.profiler's, by their own time.

    python benchmarks/profile_step.py --networks resnet20 small_residual small_inverted small_dense
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.training.allocator import keep_freed_memory
from slimfront.evaluators.training.augmentation import augment
from slimfront.evaluators.training.averaging import Averaging
from slimfront.evaluators.training.loop import half_precision, judge
from slimfront.models import build
from slimfront.spaces import Augmentation, presets
from slimfront.spaces.optimizers import OPTIMIZERS
from torch.profiler import ProfilerActivity, profile

CLASSES = 10
EPOCH_IMAGES, VALIDATION_IMAGES = 45_000, 5_000


def random_images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(CLASSES, (count,), generator=generator))


def fastest_calls(step: Callable[[], None], steps: int) -> dict[str, tuple[float, int]]:
    """Own time (microseconds) and number of calls of every operator in a step: of each call its fastest in `steps`
    steps, because on a busy machine any single one may be interrupted."""
    fastest: dict[tuple[str, int], float] = {}
    for _ in range(steps):
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            step()
        calls: Counter[str] = Counter()
        for event in sorted(recorded.events(), key=lambda event: event.time_range.start):
            key = (event.name, calls[event.name])
            calls[event.name] += 1
            fastest[key] = min(fastest.get(key, float("inf")), event.self_cpu_time_total)
    found: dict[str, tuple[float, int]] = {}
    for (operator, _), spent in fastest.items():
        before, count = found.get(operator, (0.0, 0))
        found[operator] = (before + spent, count + 1)
    return found


def measure(
    name: str, optimizer_name: str, batch: int, steps: int, augmentation: Augmentation, rows: int, profiled_steps: int
) -> dict[str, Any]:
    torch.manual_seed(0)
    device = torch.device("cpu")
    network = build(presets[name].architecture, CLASSES, seed=0).to(memory_format=torch.channels_last).train()
    recipe = dataclasses.replace(presets[name].recipe, optimizer=optimizer_name, learning_rate=0.01)
    optimizer = OPTIMIZERS[recipe.optimizer].make(network, recipe)
    averaging = Averaging(network, 0.999)
    images = random_images(2048)
    generator = torch.Generator().manual_seed(0)
    half = half_precision(device)
    seconds: dict[str, list[float]] = defaultdict(list)

    def step() -> None:
        marks = [time.perf_counter()]
        chosen = torch.randint(len(images.labels), (batch,), generator=generator)
        inputs, targets = augment(images.images[chosen], images.labels[chosen], augmentation, CLASSES, generator)
        marks.append(time.perf_counter())
        with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
            loss = F.cross_entropy(network(inputs), targets)
        marks.append(time.perf_counter())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        marks.append(time.perf_counter())
        optimizer.step()
        marks.append(time.perf_counter())
        averaging.update()
        marks.append(time.perf_counter())
        parts = ("augmentation", "forward", "backward", "update", "averaging")
        for part, start, end in zip(parts, marks[:-1], marks[1:], strict=True):
            seconds[part].append(end - start)

    for _ in range(3):
        step()
    seconds.clear()
    for _ in range(steps):
        step()
    validation = random_images(VALIDATION_IMAGES)
    evaluations = []
    for _ in range(8):
        start = time.perf_counter()
        judge(network, validation, device, last=False)
        evaluations.append(time.perf_counter() - start)
    evaluation = min(evaluations)
    parts = {part: min(values) for part, values in seconds.items()}
    operators = fastest_calls(step, profiled_steps)
    whole = sum(spent for spent, _ in operators.values())
    total = sum(parts.values())
    return {
        "network": name,
        "optimizer": optimizer_name,
        "policy": augmentation.policy,
        "batch": batch,
        "precision": str(half or torch.float32).removeprefix("torch."),
        "step_seconds": round(total, 5),
        "parts": {part: round(value / total, 4) for part, value in parts.items()},
        "evaluation_share_of_epoch": round(evaluation / (total * (EPOCH_IMAGES // batch)), 4),
        "operators": [
            {"operator": key, "share": round(spent / whole, 4), "milliseconds": round(spent / 1e3, 3), "calls": calls}
            for key, (spent, calls) in sorted(operators.items(), key=lambda item: -item[1][0])[:rows]
        ],
    }


def show(row: dict[str, Any]) -> None:
    print(
        f"\n{row['network']}, {row['optimizer']}, {row['policy']}, {row['precision']}: "
        f"{row['step_seconds'] * 1e3:.1f} ms a step, evaluation {row['evaluation_share_of_epoch']:.1%} of an epoch",
        file=sys.stderr,
    )
    print("  " + ", ".join(f"{part} {share:.1%}" for part, share in row["parts"].items()), file=sys.stderr)
    for one in row["operators"]:
        print(
            f"  {one['share']:6.1%} {one['milliseconds']:8.2f} ms {one['calls']:5}  {one['operator']}", file=sys.stderr
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", default=["resnet20", "small_residual", "small_inverted", "small_dense"]
    )
    parser.add_argument("--optimizers", nargs="+", default=["sgd", "muon"])
    parser.add_argument("--policies", nargs="+", default=["none"])
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--profiled", type=int, default=10, help="steps under the profiler")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    rows = []
    for name in options.networks:
        for optimizer in options.optimizers:
            for policy in options.policies:
                augmentation = Augmentation(
                    flip=True, crop=4, policy=policy, strength=options.strength if policy != "none" else 0.0
                )
                rows.append(
                    measure(name, optimizer, options.batch, options.steps, augmentation, options.rows, options.profiled)
                )
                show(rows[-1])
    print(json.dumps({"torch": torch.__version__, "threads": 1, "rows": rows}))


if __name__ == "__main__":
    main()
