"""Accuracy by bit-width on real CIFAR-10: rounding after training, and quantization-aware training of equal length.

    python benchmarks/quantization_table.py --candidate small_residual --epochs 10 --aware-epochs 5 --out DIR

One dense network is trained once; every row starts from it. Half precision is trained on for as many epochs as the
quantized networks, so that they are not compared with a network that had less training. Accuracy is that of the 5,000
validation images; the test images are not opened. Run again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from slimfront.evaluators.job import Job, Result  # noqa: E402
from slimfront.search.commands.scoring import read_candidate  # noqa: E402
from slimfront.search.job import evaluate_job  # noqa: E402
from slimfront.search.workers.local import InProcess  # noqa: E402
from slimfront.spaces import Bits, Candidate  # noqa: E402
from slimfront.studies.environment import environment  # noqa: E402
from slimfront.studies.requirements import write_requirements  # noqa: E402

WIDTHS = (8, 4, 3, 2)


def rows_of(candidate: Candidate, aware_epochs: int) -> dict[tuple[int, str], Candidate]:
    """The candidates of the table by (bits, method)."""
    rows = {(32, "float"): Bits(), (16, "aware"): Bits.uniform(16, 16, epochs=aware_epochs)}
    for width in WIDTHS:
        path = tuple(higher for higher in WIDTHS if higher > width) if width < 4 else ()
        rows[(width, "rounding")] = Bits.uniform(width, width, outer=8)
        rows[(width, "aware")] = Bits.uniform(width, width, outer=8, epochs=aware_epochs, path=path)
    return {key: dataclasses.replace(candidate, bits=bits) for key, bits in rows.items()}


def run(job: Job) -> Result:
    """Evaluate one row, telling every epoch."""
    worker = InProcess(evaluate_job)
    worker.submit(0, job)
    while True:
        event = worker.next(1.0)
        assert event is not None
        message = event[1]
        if isinstance(message, Result):
            return message
        print(message, file=sys.stderr, flush=True)
        if not hasattr(message, "epoch"):
            raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidate", default="small_residual")
    parser.add_argument("--epochs", type=int, default=10, help="of the dense training")
    parser.add_argument("--aware-epochs", type=int, default=5, help="of every quantization-aware training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    base = read_candidate(arguments.candidate)
    base = dataclasses.replace(base, recipe=dataclasses.replace(base.recipe, epochs=arguments.epochs))
    write_requirements(arguments.out, goes_on=True)
    table: list[dict[str, Any]] = []
    for (width, method), candidate in rows_of(base, arguments.aware_epochs).items():
        job = Job(
            candidate=candidate,
            dataset="cifar10",
            seed=arguments.seed,
            data_dir=arguments.data_dir,
            folder=arguments.out / "work" / f"{width}-{method}",
            store=arguments.out / "work",
        )
        result = run(job)
        table.append(
            {
                "weight_bits": width,
                "activation_bits": width,
                "method": method,
                "accuracy": result.accuracy,
                "score": result.score["score"],
                "strict_score": result.score["strict_score"],
                "macs": result.score["macs"],
                "weights": result.score["weights"],
                "seconds": round(result.seconds, 1),
            }
        )
        print(json.dumps(table[-1]), file=sys.stderr, flush=True)
    found = environment()
    summary = {
        "command": "python " + shlex.join([str(Path(sys.argv[0])), *sys.argv[1:]]),
        "commit": found["commit"],
        "machine": found["machine"],
        "date": date.today().isoformat(),
        "network": arguments.candidate,
        "digest": base.digest,
        "epochs": arguments.epochs,
        "aware_epochs": arguments.aware_epochs,
        "seed": arguments.seed,
        "images": "45,000 to train on, 5,000 to validate; edges (stem, classifier) at 8 bits below 8",
        "rows": table,
        "brevitas_w4a4": None,
    }
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
