"""Measures how fast training is and writes results/speed/: a file of each benchmark, and summary.json of them all.

    python benchmarks/speed.py --out results/speed              measure and join; 20 minutes on two idle cores
    python benchmarks/speed.py --out results/speed --join       only join what is there

Three more files of the same folder are joined where they are there: engine_overhead.json, accuracy_parity.json and
start_up.json, each of the benchmark of that name. Without them their figures are null.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from slimfront.studies.environment import environment
from slimfront.studies.requirements import write_requirements

HERE = Path(__file__).parent
NETWORKS = ("resnet20", "small_residual", "small_inverted", "small_dense")
MEASURES = {
    "train_throughput": ("train_throughput.py", "--networks", *NETWORKS),
    "qat_step": ("qat_step.py", "--threads", "1", "--networks", *NETWORKS),
    "profile_step": ("profile_step.py", "--optimizers", "sgd", "muon", "--networks", *NETWORKS),
    "policies": (
        *("profile_step.py", "--optimizers", "sgd", "--networks", "small_residual", "--rows", "0"),
        *("--policies", "none", "cutout", "mixup", "cutmix", "light"),
    ),
}


def measure(out: Path, name: str) -> None:
    script, *arguments = MEASURES[name]
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    command, facts = shlex.join(["python", f"benchmarks/{script}", *arguments]), environment()
    found = {"command": command, **json.loads(done.stdout), "commit": facts["commit"], "machine": facts["machine"]}
    (out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    write_requirements(out, goes_on=True)  # measures of one folder may be taken on different days


def join(out: Path) -> dict[str, Any]:
    """What summary.json holds beside its origin."""
    throughput, qat, engine = (_read(out, name) for name in ("train_throughput", "qat_step", "engine_overhead"))
    profile, policies = _read(out, "profile_step"), _read(out, "policies")
    parity, start_up = _read(out, "accuracy_parity"), _read(out, "start_up")
    ratios = {row["network"]: row["ratio"] for row in qat.get("rows", [])}
    files = (*MEASURES, "engine_overhead", "accuracy_parity", "start_up")
    return {
        "machines": {name: _read(out, name).get("machine") for name in files},  # null: of before it was kept
        "train_throughput": {
            row["network"]: {key: row[key] for key in ("ratio", "share_of_peak", "share_of_best_convolution")}
            for row in throughput.get("rows", [])
        },
        "qat_step_ratio": max(ratios.values(), default=None),
        "qat_step_ratios": ratios,
        "seconds_per_trial": {key: engine.get(key) for key in ("sqlite_10000", "postgresql_10000")},
        "accuracy_parity": {
            key: parity.get(key)
            for key in ("difference_in_points", "standard_error_in_points", "seeds", "epochs", "precision")
        },
        "start_up_seconds": {row["command"]: row["seconds"] for row in start_up.get("rows", [])},
        "evaluation_share_of_epoch": {
            row["network"]: row["evaluation_share_of_epoch"]
            for row in profile.get("rows", [])
            if row["optimizer"] == "sgd"
        },
        "augmentation_share_of_step": {row["policy"]: row["parts"]["augmentation"] for row in policies.get("rows", [])},
    }


def _read(out: Path, name: str) -> dict[str, Any]:
    path = out / f"{name}.json"
    if name in MEASURES and not path.exists():
        print(f"{path} is not there: the summary is without it (--only {name} measures it).", file=sys.stderr)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--join", action="store_true", help="measure nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in () if options.join else options.only:
        measure(options.out, name)
    found = environment()
    summary = {
        "command": "python " + shlex.join(["benchmarks/speed.py", *sys.argv[1:]]),
        "commit": found["commit"],
        "machine": found["machine"],
        "torch": found["torch"],
        "date": datetime.now(UTC).date().isoformat(),
        **join(options.out),
    }
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
