"""What it costs the default sampler to see a window of a study instead of all of it: nothing, or how much?

    python -m benchmarks.sampler_window

Searches the overnight study's space on a made-up landscape (no network is built: score from widths, depths and bits;
accuracy rising with size, and falling with the distance from a good recipe), with all trials and with windows, the
same seeds. Prints the median hypervolume of the front after each tenth of the trials.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

import optuna
from slimfront.spaces import Candidate
from slimfront.studies import window
from slimfront.studies.front import area
from slimfront.studies.samplers import make_sampler
from slimfront.studies.settings import Settings
from slimfront.studies.store.constraint import set_feasibility

BAR = 0.9


def landscape(candidate: Candidate) -> tuple[float, float]:
    """(accuracy, score), both made up."""
    architecture, bits, recipe = candidate.architecture, candidate.bits, candidate.recipe
    channels, side, weights, operations = architecture.stem_width, 32.0 / architecture.stem_stride, 0.0, 0.0
    for width, depth, stride in zip(architecture.widths, architecture.depths, architecture.strides, strict=True):
        side /= stride
        layer = {"residual": 18.0, "inverted": 6.0, "dense": 9.0}[architecture.family] * width * (channels + width) / 2
        weights += depth * layer
        operations += depth * layer * side**2
        channels = width
    kept = 1.0
    loss = 0.0
    for step in (candidate.pruning.filters, candidate.pruning.weights):
        if step is not None:
            kept *= 1 - step.ratio
            loss += 0.03 * step.ratio**2
    width_of = statistics.fmean(bits.weights)
    score = kept * width_of / 32 * (weights / 5.6e6 + operations / 2.8e8)
    best_rate = {"sgd": 0.1, "muon": 0.02}[recipe.optimizer]
    loss += 0.01 * math.log(recipe.learning_rate / best_rate) ** 2 + 0.002 * math.log(recipe.weight_decay / 1e-4) ** 2
    loss += 0.04 * 2.0 ** (2 - width_of) + 0.02 * (candidate.augmentation.policy in ("mixup", "none"))
    capacity = math.log10(1e4 * kept * (weights / 5.6e6 + 3 * operations / 2.8e8) + 1)
    return min(0.97, max(0.1, 0.98 - 0.35 * math.exp(-0.7 * capacity) - loss)), max(score, 1e-6)


def search(settings: Settings, trials: int, most: int, seed: int, steps: int = 10) -> list[float]:
    """Hypervolume after each share of the trials."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    space = settings.make_space()
    points, volumes = [], []
    window.MOST = most
    for number in range(trials):
        study.sampler = make_sampler("tpe", seed, startup=settings.startup_trials, known_trials=number)
        trial = study.ask()
        accuracy, score = landscape(space.sample(trial))
        set_feasibility(study, trial, accuracy, BAR)
        study.tell(trial, [accuracy, score])
        points.append((accuracy, score))
        if (number + 1) % (trials // steps) == 0:
            volumes.append(area(points, BAR))
    return volumes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--windows", default="250")
    parser.add_argument("--seeds", type=int, default=4)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = Settings.from_toml(Path(__file__).resolve().parents[1] / "studies" / "cifar10.toml")
    found = {}
    for most in (chosen.trials, *map(int, chosen.windows.split(","))):
        runs = [search(settings, chosen.trials, most, seed) for seed in range(chosen.seeds)]
        found[most] = {
            "median": [round(statistics.median(column), 4) for column in zip(*runs, strict=True)],
            "last": [round(run[-1], 4) for run in runs],
        }
        sys.stdout.write(json.dumps({most: found[most]}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
