"""How long a command takes before it does anything: `--help`, and a score, beside importing torch alone.

    python benchmarks/start_up.py

Whole processes in turns, round by round, seconds by the clock and of the processor; the first round only fills the
file cache. Prints JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from slimfront.studies.environment import commit, environment, machine

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "help": ("run_search.py", "--help"),
    "score_resnet18": ("run_search.py", "score", "resnet18"),
    "import_torch": ("-c", "import torch"),
}


def seconds(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Of one process: by the clock, of the processor."""
    start, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    after = os.times()
    processor = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - start, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for number in range(options.rounds + 1):
        for name, arguments in COMMANDS.items():
            found = seconds(arguments)
            if number:
                taken[name].append(found)
    rows: list[dict[str, Any]] = [
        {
            "command": name,
            "seconds": round(statistics.median(clock for clock, _ in found), 3),
            "processor": round(statistics.median(processor for _, processor in found), 3),
            "rounds": [round(clock, 3) for clock, _ in found],
        }
        for name, found in taken.items()
    ]
    origin = {
        "command": shlex.join(["python", "benchmarks/start_up.py", *sys.argv[1:]]),
        "torch": environment()["torch"],
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }
    print(json.dumps({"rows": rows, **origin}, indent=1))


if __name__ == "__main__":
    main()
