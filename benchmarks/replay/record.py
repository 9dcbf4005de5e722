"""Record the replay benchmark's table: train every candidate of the grid with the code that searches use.

    python -m benchmarks.replay.record            (20 core-minutes; the same command goes on where it was stopped)

Leaves benchmarks/replay/table.json.gz: for each candidate its scores and the accuracy after every epoch of every stage,
epoch 0 being what pruning or rounding left before any fine-tuning.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from slimfront.evaluators.data.splits import SearchData
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.pipeline import evaluate
from slimfront.evaluators.scoring.expected import expected_score
from slimfront.evaluators.training.allocator import keep_freed_memory
from slimfront.spaces import Candidate
from slimfront.studies.environment import commit, machine

from benchmarks.replay.grid import SEED, TRAINING, VALIDATION, WRITTEN, dense_networks, part_of_cifar10

TABLE = Path(__file__).with_name("table.json.gz")


def record_one(candidate: Candidate, data: SearchData, store: Path) -> dict[str, Any]:
    """Train a candidate, its dense network taken from `store` where it is there; returns its row of the table."""
    epochs = evaluate(Job(candidate, "cifar10", SEED, store=store), data)
    curve = []
    while True:
        try:
            epoch = next(epochs)
        except StopIteration as finished:
            result: Result = finished.value
            break
        curve.append([epoch.stage, epoch.epoch, epoch.epochs, epoch.accuracy])
    rated = expected_score(candidate, data.input_shape, data.classes)
    return {
        "digest": candidate.digest,
        "dense": candidate.uncompressed_digest,
        "candidate": candidate.to_dict(),
        "expected_score": rated.score,
        "score": result.score["score"],
        "accuracy": result.accuracy,
        "curve": curve,
    }


def main() -> None:
    """Record what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/replay"), help="Folder of rows and dense networks.")
    parser.add_argument("--table", type=Path, default=TABLE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = arguments.work / "rows.jsonl"
    rows.parent.mkdir(parents=True, exist_ok=True)
    done = {row["digest"]: row for row in map(json.loads, rows.read_text().splitlines())} if rows.exists() else {}
    data = part_of_cifar10()
    networks = dense_networks()
    total = sum(map(len, networks))
    for group in networks:
        for candidate in group:
            if candidate.digest in done:
                continue
            row = record_one(candidate, data, arguments.work / "dense")
            with rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
            done[candidate.digest] = row
            print(f"{len(done)} of {total}: {row['accuracy']:.2%} at {row['score']:.3g}", file=sys.stderr, flush=True)
    table = {
        "space": WRITTEN,
        "training_images": TRAINING,
        "validation_images": VALIDATION,
        "seed": SEED,
        "data": data.digest,
        "commit": commit(),
        "machine": machine(),
        "rows": [done[candidate.digest] for group in networks for candidate in group],
    }
    packed = gzip.compress(json.dumps(table, separators=(",", ":")).encode(), mtime=0)
    arguments.table.write_bytes(packed)
    print(f"{arguments.table}: {total} candidates, {len(packed):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
