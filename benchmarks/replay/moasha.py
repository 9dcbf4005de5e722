"""Syne Tune's MO-ASHA on the replay table. Runs in an environment of its own; imports nothing of this project.

    python moasha.py TABLE.json.gz BUDGET SEEDS OUT.json

One worker, so what is asynchronous comes in order. Each trial is drawn at random from the table, as MO-ASHA does, and
pays for its own dense training. Objectives: accuracy (negated) and score; rungs at 3, 9 and 27 epochs.
"""

from __future__ import annotations

import datetime
import gzip
import json
import random
import sys
from pathlib import Path

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA


def play(rows: list[dict], budget: int, seed: int) -> list[tuple[int, float, float]]:
    """(epochs paid, accuracy, score) of each training that came to its end."""
    np.random.seed(seed)
    random.seed(seed)
    longest = max(sum(epoch > 0 for _, epoch, _, _ in row["curve"]) for row in rows)
    scheduler = MOASHA(
        {"row": choice(list(range(len(rows))))},
        metrics=["loss", "score"],
        time_attr="epoch",
        max_t=longest,
        grace_period=3,
        reduction_factor=3,
        random_seed=seed,
    )
    paid, found, number = 0, [], 0
    while paid < budget:
        config = scheduler.suggest().config
        trial = Trial(number, config, datetime.datetime.now())
        number += 1
        scheduler.on_trial_add(trial)
        row = rows[config["row"]]
        accuracies = [accuracy for _, epoch, _, accuracy in row["curve"] if epoch > 0]
        for epoch, accuracy in enumerate(accuracies, 1):
            paid += 1
            result = {"epoch": epoch, "loss": -accuracy, "score": row["score"]}
            if epoch == len(accuracies):
                scheduler.on_trial_complete(trial, result)
                found.append((paid, row["accuracy"], row["score"]))
            elif scheduler.on_trial_result(trial, result) == SchedulerDecision.STOP:
                scheduler.on_trial_remove(trial)
                break
    return found


if __name__ == "__main__":
    with gzip.open(sys.argv[1]) as file:
        table = json.load(file)["rows"]
    played = [play(table, int(sys.argv[2]), seed) for seed in range(int(sys.argv[3]))]
    Path(sys.argv[4]).write_text(json.dumps(played))
