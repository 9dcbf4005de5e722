"""Whether speed costs accuracy: the same network, optimizer and schedule in the ordinary loop and in ours.

    python benchmarks/accuracy_parity.py --loop ordinary --seed 0 --work DIR     one training; goes on where it stopped
    python benchmarks/accuracy_parity.py --join results/speed/accuracy_parity.json --work DIR

45,000 training images of CIFAR-10, accuracy on the 5,000 validation images after the last epoch; the test images stay
closed. Trainings are kept epoch by epoch in DIR, so that they can be stopped at any time.

Two loops as they are: ours also normalises otherwise ((pixel - 128) / 64 instead of mean and deviation of each channel)
and fills what a crop leaves open with grey instead of black. A seed gives both the same initial weights, not the same
batches. Ours trains in bfloat16 where the processor multiplies it, and in float32 with minimal filtering elsewhere:
"precision" in the result says which of them was compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.splits import SearchData, search_data
from slimfront.evaluators.training import checkpoint as files
from slimfront.evaluators.training.allocator import keep_freed_memory
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.learning_rate import learning_rate_factor
from slimfront.evaluators.training.loop import half_precision, train
from slimfront.models import build
from slimfront.spaces import Augmentation, presets
from slimfront.spaces.candidate import Recipe
from slimfront.spaces.optimizers import OPTIMIZERS
from torch import nn

NETWORK = "resnet20"
AUGMENTATION = Augmentation(flip=True, crop=4)


def recipe_of(epochs: int) -> Recipe:
    return Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, epochs=epochs, batch_size=128, decay="cosine")


def ours(data: SearchData, epochs: int, seed: int, work: Path) -> list[float]:
    network = build(presets[NETWORK].architecture, data.classes, seed=seed)
    curve = []
    context = TrainContext(
        images=data.train,
        validation=data.validation,
        recipe=recipe_of(epochs),
        augmentation=AUGMENTATION,
        classes=data.classes,
        seed=seed,
        checkpoint=work / f"ours-{seed}.safetensors",
    )
    for epoch in train(network, context):
        assert epoch.accuracy is not None
        curve.append(epoch.accuracy)
        print(f"ours, seed {seed}, epoch {epoch.epoch}: {epoch.accuracy:.2%}", file=sys.stderr, flush=True)
    return curve


def ordinary(data: SearchData, epochs: int, seed: int, work: Path) -> list[float]:
    from torch.utils.data import DataLoader

    from benchmarks.ordinary_loop import DEVIATION, MEAN, Pictures

    torch.manual_seed(seed)
    recipe = recipe_of(epochs)
    network = build(presets[NETWORK].architecture, data.classes, seed=seed)
    optimizer = OPTIMIZERS[recipe.optimizer].make(network, recipe)
    place = work / f"ordinary-{seed}.safetensors"
    curve: list[float] = []
    found = files.load(place)
    if found is not None:
        tensors, facts = found
        curve = facts["curve"]
        if facts.get("epochs", epochs) != epochs:
            raise SystemExit(f"{place} is of {facts['epochs']} epochs, not {epochs}.")
        network.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("network.")})
        state = {name[10:]: tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
        files.restore_optimizer(optimizer, state, facts["optimizer"])
        torch.manual_seed(seed + 1000 * len(curve))
    loader = DataLoader(Pictures(data.train), recipe.batch_size, shuffle=True, drop_last=True, num_workers=1)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    pictures = (data.validation.images / 255 - mean) / deviation
    batches = len(loader)
    while len(curve) < epochs:
        network.train()
        for index, (inputs, labels) in enumerate(loader):
            progress = (len(curve) * batches + index + 1) / (epochs * batches)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * learning_rate_factor(progress, recipe.warmup, recipe.decay)
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
        curve.append(_accuracy(network, pictures, data.validation.labels))
        print(f"ordinary, seed {seed}, epoch {len(curve)}: {curve[-1]:.2%}", file=sys.stderr, flush=True)
        kept = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        state, layout = files.flatten_optimizer(optimizer)
        kept |= {f"optimizer.{name}": tensor for name, tensor in state.items()}
        files.save(place, kept, {"curve": curve, "optimizer": layout, "epochs": epochs})
    return curve


@torch.inference_mode()
def _accuracy(network: nn.Module, pictures: torch.Tensor, labels: torch.Tensor) -> float:
    network.eval()
    right = sum(
        int((network(pictures[start : start + 500]).argmax(1) == labels[start : start + 500]).sum())
        for start in range(0, len(labels), 500)
    )
    return right / len(labels)


def join(work: Path, out: Path) -> None:
    """What every finished training came to, and the difference seed by seed."""
    from slimfront.studies.environment import environment

    found = [json.loads(path.read_text()) for path in sorted(work.glob("*.json"))]
    last = {loop: {one["seed"]: one["curve"][-1] for one in found if one["loop"] == loop} for loop in LOOPS}
    seeds = sorted(set(last["ours"]) & set(last["ordinary"]))
    if not seeds:
        raise SystemExit("No seed has finished in both loops yet.")
    facts: dict[str, Any] = environment()
    differences = [100 * (last["ours"][seed] - last["ordinary"][seed]) for seed in seeds]
    used = [one for one in found if one["seed"] in seeds]
    if len({one["epochs"] for one in used}) > 1 or len({one["precision"] for one in used if one["loop"] == "ours"}) > 1:
        raise SystemExit("Trainings with other epochs or another precision cannot be joined.")
    ours = next(one for one in used if one["loop"] == "ours")
    last_of_both = [[last[loop][seed] for seed in seeds] for loop in LOOPS]
    summary = {
        "command": f"python benchmarks/accuracy_parity.py --join {out}",
        "commit": facts["commit"],
        "machine": facts["machine"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": NETWORK,
        "epochs": ours["epochs"],
        "precision": ours["precision"],
        "seeds": len(seeds),
        "accuracy": {loop: [last[loop][seed] for seed in seeds] for loop in LOOPS},
        "difference_in_points": round(statistics.mean(differences), 2),
        "differences_in_points": [round(value, 2) for value in differences],
        # Of the mean, as far as it comes from which images were held out: two networks, each judged on so many.
        "standard_error_in_points": round(statistics.mean(map(_standard_error, *last_of_both)) / len(seeds) ** 0.5, 2),
        "curves": {f"{one['loop']}-{one['seed']}": one["curve"] for one in found},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps({key: summary[key] for key in ("accuracy", "difference_in_points", "seeds")}))


def _standard_error(one: float, other: float, images: int = 5000) -> float:
    return 100 * ((one * (1 - one) + other * (1 - other)) / images) ** 0.5


LOOPS = {"ours": ours, "ordinary": ordinary}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", choices=sorted(LOOPS))
    parser.add_argument("--join", type=Path, metavar="FILE", help="write what finished trainings came to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    if options.join:
        join(options.work, options.join)
        return
    if options.loop is None:
        parser.error("one of --loop and --join is needed")
    options.work.mkdir(parents=True, exist_ok=True)
    if options.loop == "ordinary":
        os.environ["SLIMFRONT_KERNELS"] = "0"
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    curve = LOOPS[options.loop](search_data("cifar10"), options.epochs, options.seed, options.work)
    result: dict[str, Any] = {"loop": options.loop, "seed": options.seed, "epochs": options.epochs, "curve": curve}
    if options.loop == "ours":
        result["precision"] = str(half_precision(torch.device("cpu")) or torch.float32).removeprefix("torch.")
    result["seconds"] = round(time.perf_counter() - start, 1)  # of this run, which may have taken up an earlier one
    (options.work / f"{options.loop}-{options.seed}.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
