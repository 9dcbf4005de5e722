"""Interrupts: search, retrain and sweep, stopped and killed at random moments, against undisturbed runs.

    python -m benchmarks.interrupts --kills 60

Each command runs as a user starts it, on digits, with two workers. It is pressed Ctrl-C once or twice, terminated, or
killed (kill -9), two in five times in its first five seconds, and started again until it ends by itself. No end may
show a traceback, and no interrupt may fail a trial. "Equal" means:

* A search has as many trials, all complete, no candidate twice, and every candidate that the undisturbed search tried,
  too, with the same accuracy and score. Which it tries follows from which trials have ended when it chooses, and with
  two workers that is never the same.
* A retraining has the same seeds and test accuracies.
* A sweep has the same points.

Kills are at most two in one search, because a third death of its worker is meant to fail a trial.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from slimfront.search.engine import STARTS
from slimfront.studies.environment import commit, machine
from slimfront.studies.requirements import write_requirements
from slimfront.studies.store.records import read_trials

ROOT = Path(__file__).parents[1]
EARLY = 5.0  # seconds: imports, and the helper that makes workers
KINDS = ("interrupt", "interrupt twice", "terminate", "kill")
STUDY = """
name = "storm"
dataset = "digits"
trials = 8
sampler = "random"
bar = 0.5
space.architecture.residual = {{ stem_width = [8, 12], stages = 2, width = [16, 24, 32], depth = 1 }}
space.augmentation = {{ flip = false, crop = 1 }}
space.bits = {{ weights = [4, 32], activations = [8, 32] }}
space.recipe = {{ optimizer = "sgd", epochs = {epochs}, batch_size = 32 }}
early_stopping = {{ spared = 1.0 }}
"""
BAD_ENDS = ("Traceback", "Exception ignored", "Fatal Python error", "core dumped")


@dataclass
class Storm:
    """What a command went through.

    Attributes:
        command: Arguments after `run_search.py`.
        folder: Where it runs.
        events: Of each start: what came, after how many seconds, and the exit code.
        bad: What ends said that they must not.
    """

    command: list[str]
    folder: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, in a process group of its own as a terminal does."""
        log = (self.folder / "log").open("ab")
        program = [sys.executable, str(ROOT / "run_search.py"), *self.command]
        return subprocess.Popen(program, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def disturb(self, kind: str, seconds: float) -> bool:
        """One start with one disturbance; False where the command had ended by itself before it came."""
        log = self.folder / "log"
        size = log.stat().st_size if log.exists() else 0
        process = self.start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            _send(process, kind)
        code = process.wait(600)
        said = log.read_bytes()[size:].decode(errors="replace")
        self.bad += [f"{kind} after {seconds:.2f} s: {line}" for line in said.splitlines() if _is_bad(line)]
        expected = {"kill": (-signal.SIGKILL,), "terminate": (130, -signal.SIGTERM)}.get(kind, (130, -signal.SIGINT))
        if code == 0:
            return False
        if code not in expected:
            self.bad.append(f"{kind} after {seconds:.2f} s: exit code {code}: {said.strip()[-300:]}")
        self.events.append({"kind": kind, "seconds": round(seconds, 2), "exit_code": code})
        return True

    def calm(self) -> None:
        """Let it run to its end."""
        process = self.start()
        if process.wait(1800):
            raise SystemExit(f"{self.command[0]} failed undisturbed; its log: {self.folder / 'log'}")


def _send(process: subprocess.Popen[bytes], kind: str) -> None:
    if kind == "kill":  # the coordinator alone: its workers have to notice
        process.kill()
    elif kind == "terminate":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
        if kind == "interrupt twice":
            time.sleep(0.3)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)


def _is_bad(line: str) -> bool:
    return any(text in line for text in BAD_ENDS)


class Searched:
    """What a search found; equal to another as the top of this file says."""

    def __init__(self, folder: Path) -> None:
        trials = read_trials(optuna.load_study(study_name="storm", storage=f"sqlite:///{folder}/slimfront.db"))
        self.states = [trial.state.name for trial in trials]
        self.results = {trial.digest: (trial.accuracy, trial.score) for trial in trials}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Searched):
            return NotImplemented
        shared = self.results.keys() & other.results.keys()
        whole = all(len(one.results) == len(one.states) and set(one.states) == {"COMPLETE"} for one in (self, other))
        return (
            whole
            and len(self.states) == len(other.states)
            and len(shared) >= len(self.states) // 2
            and all(self.results[digest] == other.results[digest] for digest in shared)
        )

    __hash__ = None  # type: ignore[assignment]


def retrained(folder: Path) -> Any:
    """What a retraining found: networks with their seeds and accuracies."""
    networks = json.loads((folder / "final" / "summary.json").read_text())["networks"]
    return [[network["digest"], network["seeds"], network["accuracies"]] for network in networks]


def swept(folder: Path) -> Any:
    """What a sweep found: its points."""
    summary = json.loads((folder / "swept" / "summary.json").read_text())
    points = ([p["method"], p["ratio"], p["retrained"], p["accuracy"], p["score"]] for p in summary["points"])
    return [summary["dense"][0]["accuracy"], sorted(points)]


def commands(epochs: int) -> dict[str, tuple[list[str], Callable[[Path], Any]]]:
    """The commands by name, with what reads their results."""
    common = ["--candidate", "digits", "--dataset", "digits", "--workers", "2", "--epochs", str(epochs)]
    ratios = ["--methods", "global_l1,li_filters", "--ratios", "0.3,0.6", "--retrain-epochs", "6"]
    return {
        "search": (["search", "study.toml", "--workers", "2"], Searched),
        "retrain": (["retrain", *common, "--seeds", "4", "--bar", "0.5", "--out", "final"], retrained),
        "sweep": (["sweep", *common, *ratios, "--out", "swept"], swept),
    }


def campaign(folder: Path, kills: int, seed: int, epochs: int) -> dict[str, Any]:
    """Disturb each command a third of the times, and compare what it found with an undisturbed run."""
    drawn = random.Random(seed)
    found: dict[str, Any] = {}
    for name, (command, read) in commands(epochs).items():
        calm = _new(folder / name / "calm", command, epochs)
        begun = time.monotonic()
        calm.calm()
        length = time.monotonic() - begun
        expected = read(calm.folder)
        storms: list[Storm] = []
        while (missing := -(-kills // 3) - sum(len(storm.events) for storm in storms)) > 0:
            storm = _new(folder / name / f"storm-{len(storms)}", command, epochs)
            storms.append(storm)
            for _ in range(missing):
                may_kill = sum(event["kind"] == "kill" for event in storm.events) < STARTS - 1
                kind = drawn.choice(KINDS if may_kill else KINDS[:-1])
                early = drawn.random() < 0.4
                if not storm.disturb(kind, drawn.uniform(0.1, EARLY) if early else drawn.uniform(EARLY, length)):
                    break
            storm.calm()
        events = [event for storm in storms for event in storm.events]
        found[name] = {
            "disturbed": len(events),
            "kinds": dict(sorted(Counter(event["kind"] for event in events).items())),
            "in_the_first_five_seconds": sum(event["seconds"] <= EARLY for event in events),
            "searches": len(storms),
            "equal": [read(storm.folder) == expected for storm in storms],
            "bad_ends": [text for storm in storms for text in storm.bad],
            "events": events,
        }
        sys.stderr.write(f"{name}: {json.dumps({k: v for k, v in found[name].items() if k != 'events'})}\n")
    return found


def _new(folder: Path, command: list[str], epochs: int) -> Storm:
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY.format(epochs=epochs))
    return Storm(command, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Interrupt and kill search, retrain and sweep; see what it costs.")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40, help="of a training")
    parser.add_argument("--out", type=Path, default=Path("results/chaos"))
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A shell starts what runs in its background deaf to Ctrl-C, and what we start would be, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), chosen.kills, chosen.seed, chosen.epochs)
    summary = {
        "command": shlex.join(["python", "-m", "benchmarks.interrupts", *sys.argv[1:]]),
        "commit": commit(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        "seed": chosen.seed,
        "disturbed": sum(entry["disturbed"] for entry in found.values()),
        "in_the_first_five_seconds": sum(entry["in_the_first_five_seconds"] for entry in found.values()),
        "commands": found,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "interrupts.json").write_text(json.dumps(summary, indent=1) + "\n")
    write_requirements(chosen.out)
    sound = all(all(entry["equal"]) and not entry["bad_ends"] for entry in found.values())
    sys.stdout.write(f"{summary['disturbed']} disturbances; {'nothing was lost' if sound else 'SOMETHING WAS LOST'}\n")
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
