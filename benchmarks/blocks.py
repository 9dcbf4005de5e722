"""Which block wins: basic and inverted residual blocks at equal multiply-adds, in float and at 3 bits.

    python -m benchmarks.blocks --out runs/blocks --rows basic-12-0,inverted-12-0        trains them, or goes on
    python -m benchmarks.blocks --out runs/blocks --publish results/blocks               what has ended so far

A row is BLOCK-SIZE-SEED: a shape of the table below at about SIZE million multiply-adds. It is trained for 40 epochs in
float and 12 at 3-bit weights and layer inputs (stem and classifier 8), by the recipe of the most accurate published
network, its teacher included, on the training part of CIFAR-10. Accuracy is that of the validation part after the last
epoch of each; the test images stay closed.

BLOCK-SIZE-SEED@OTHER is the same at equal core-hours: trained for as many epochs, in float and at 3 bits in the same
proportion, as take the core-seconds that OTHER-SIZE-SEED took for its 40 and 12. Both of these rows have to be in the
folder before, as they tell what an epoch costs.

kill -9 at any time costs the running epochs; the same command goes on. Writes journal.jsonl, summary.json and the
versions that trained, and table.md where it publishes. What the whole comparison is and takes: benchmarks/NOTES.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from slimfront.evaluators import outputs
from slimfront.evaluators.data.images import DataError
from slimfront.evaluators.outputs import OutputError
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.training.loop import TEACHER
from slimfront.models import build
from slimfront.search.retrain.job import lengthened, write_json
from slimfront.spaces import Architecture, Bits, Candidate
from slimfront.spaces.candidate import CandidateError
from slimfront.studies.environment import environment
from slimfront.studies.requirements import NAME as REQUIREMENTS
from slimfront.studies.requirements import copy_requirements

from benchmarks.blocks_table import table
from benchmarks.rows import TEACHER_ROW, FailedRowsError, Setting, run
from benchmarks.rows_journal import JOURNAL, Journal, Line, Row, RowsError

RECIPE = Path(__file__).resolve().parents[1] / "results" / "record" / "8d6580c7a3981e9f" / "candidate.json"
FLOAT_EPOCHS, LOW_BIT_EPOCHS = 40, 12
LOW_BITS = "W3A3"
SUMMARY, TABLE = "summary.json", "table.md"
INPUT = (3, 32, 32)  # that the shapes are counted for


def _basic(widths: tuple[int, ...], depths: tuple[int, ...]) -> Architecture:
    shape = {"stem_width": widths[0], "stem_stride": 1, "strides": (1, 2, 2), "shortcut": "padding"}
    return Architecture("residual", widths=widths, depths=depths, **shape)  # type: ignore[arg-type]


def _inverted(widths: tuple[int, ...], depths: tuple[int, ...], expansions: tuple[int, ...]) -> Architecture:
    shape = {"stem_width": widths[0], "stem_stride": 1, "strides": (1, 2, 2), "kernels": (3, 3, 3)}
    return Architecture("inverted", widths=widths, depths=depths, expansions=expansions, **shape)  # type: ignore[arg-type]


# By hand: multiply-adds within 3 % of each other at each size, weights within 3 %, width doubled or more where the
# resolution halves. A further kind of block gets its line here, and nothing else.
SHAPES: dict[tuple[str, int], Architecture] = {
    ("basic", 12): _basic((12, 24, 48), (1, 2, 2)),  # 12.28 M multiply-adds, 94,116 weights
    ("inverted", 12): _inverted((12, 24, 64), (2, 3, 3), (3, 4, 4)),  # 12.09 M, 95,900
    ("basic", 26): _basic((16, 32, 64), (1, 3, 2)),  # 26.40 M, 185,392: the most accurate published network
    ("inverted", 26): _inverted((16, 40, 80), (2, 4, 3), (3, 4, 4)),  # 26.73 M, 180,848
}


@dataclass(frozen=True)
class Name:
    """A row's name in its parts; `equal_to` is the block whose core-hours it is given, None at equal epochs."""

    block: str
    size: int
    seed: int
    equal_to: str | None = None

    @classmethod
    def parse(cls, text: str) -> Name:
        """Raises RowsError for a row that cannot be."""
        found = re.fullmatch(r"([a-z]\w*)-(\d+)-(\d+)(?:@([a-z]\w*))?", text)
        if found is None:
            raise RowsError(f"--rows {text!r} is no row: write BLOCK-SIZE-SEED or BLOCK-SIZE-SEED@OTHER.")
        name = cls(found[1], int(found[2]), int(found[3]), found[4])
        for block in (name.block, name.equal_to or name.block):
            if (block, name.size) not in SHAPES:
                known = ", ".join(f"{kind}-{size}" for kind, size in SHAPES)
                raise RowsError(f"--rows {text}: there is no {block}-{name.size}; choose of {known}.")
        if name.equal_to == name.block:
            raise RowsError(f"--rows {text}: a row at equal core-hours needs another block after the @.")
        return name

    @property
    def measured(self) -> tuple[Name, ...]:
        """The rows at equal epochs that tell what this one costs, and what it may cost."""
        if self.equal_to is None:
            return ()
        own = dataclasses.replace(self, equal_to=None)
        return own, dataclasses.replace(own, block=self.equal_to)

    def __str__(self) -> str:
        return f"{self.block}-{self.size}-{self.seed}" + (f"@{self.equal_to}" if self.equal_to else "")


def equal_epochs(name: Name, recipe: Candidate, epochs: int, low_bit_epochs: int) -> Candidate:
    """What a row at equal epochs trains: its shape by the recipe, in float and then at 3 bits."""
    return dataclasses.replace(
        recipe,
        architecture=SHAPES[name.block, name.size],
        recipe=dataclasses.replace(recipe.recipe, epochs=epochs),
        bits=Bits.uniform(3, 3, outer=8, epochs=low_bit_epochs),
    )


def core_seconds(journal: Journal, name: Name) -> float:
    """What a row took in all, without its teacher."""
    return journal.core_seconds(str(name), "dense") + journal.core_seconds(str(name), "bits")


def equal_core_hours(name: Name, candidate: Candidate, journal: Journal) -> Candidate:
    """The candidate of equal epochs with as many as the other block's core-seconds buy; at least one of each.

    Raises RowsError where one of the two rows that tell the cost has not ended.
    """
    for other in name.measured:
        if journal.result(str(other)) is None:
            raise RowsError(f"{name} needs {other} to have ended: add it to --rows.")
    own, reference = (core_seconds(journal, other) for other in name.measured)
    return lengthened(candidate, max(1, round(candidate.recipe.epochs * reference / own)))


def rows_of(journal: Journal, name: Name, finished: Line | None) -> list[Line]:
    """The summary's lines of one row: the float network once it is trained, and the one at 3 bits."""
    start = journal.start(str(name))
    floats = journal.curve(str(name), "dense")
    if start is None or not floats or floats[-1]["epoch"] < floats[-1]["epochs"]:
        return []
    counted = score(build(SHAPES[name.block, name.size], 10, channels=INPUT[0], seed=0), INPUT)
    shared = {"block": name.block, "size": name.size, "macs": counted.macs, "weights": counted.weights}
    shared |= {"epochs": floats[-1]["epochs"], "seed": name.seed, "equal_core_hours": name.equal_to}
    reached = floats[-1]["accuracy"]
    cost = round(journal.core_seconds(str(name), "dense"), 1)
    lines = [{**shared, "bits": "float", "accuracy": reached, "core_seconds": cost}]
    if finished is not None:
        cost = round(journal.core_seconds(str(name), "bits"), 1)
        low = {"bits": LOW_BITS, "accuracy": finished["accuracy"], "core_seconds": cost}
        low |= {"low_bit_epochs": start["candidate"]["bits"]["epochs"], "score": finished["score"]}
        lines.append({**shared, **low, "gap_points": round(100 * (reached - finished["accuracy"]), 2)})
    return lines


def command(rows: Sequence[str], options: argparse.Namespace) -> str:
    """What trains and publishes `rows` from nothing, wherever these ones lie."""
    words = ["--out", "runs/blocks", "--rows", ",".join(rows)]
    for name, default in (("dataset", "cifar10"), ("epochs", FLOAT_EPOCHS), ("low_bit_epochs", LOW_BIT_EPOCHS)):
        if getattr(options, name) != default:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return shlex.join(["python", "-m", "benchmarks.blocks", *words, "--publish", "results/blocks"])


def summarise(journal: Journal, options: argparse.Namespace) -> Line:
    """The content of summary.json."""
    found = environment()
    names = [Name.parse(row) for row in journal.rows if row != TEACHER_ROW]
    names.sort(key=lambda name: (name.size, name.equal_to or "", name.block, name.seed))
    results = {name: journal.result(str(name)) for name in names}
    commits = sorted({commit for row in journal.rows for commit in journal.commits(row)})
    return {
        "command": command([str(name) for name in names], options),
        "commit": found["commit"],
        "machine": found["machine"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": options.dataset,
        "split": "validation",
        "trained_at_commits": commits,
        "teacher": _teacher(journal),
        "rows": [line for name in names for line in rows_of(journal, name, results[name])],
        "open": [_open(journal, str(name)) for name in names if results[name] is None],
    }


def _teacher(journal: Journal) -> Line | None:
    start = journal.start(TEACHER_ROW)
    if start is None:
        return None
    rounds = journal.curve(TEACHER_ROW, TEACHER)
    return {
        "preset": start["candidate"]["recipe"]["teacher"],
        **{key: (journal.result(TEACHER_ROW) or {}).get(key) for key in ("accuracy", "macs", "weights")},
        "rounds": len(rounds),
        "core_seconds": round(journal.core_seconds(TEACHER_ROW, TEACHER), 1),
    }


def _open(journal: Journal, row: str) -> Line:
    done = {stage: [line["epoch"] for line in journal.curve(row, stage)] for stage in ("dense", "bits")}
    return {"row": row, "epochs_done": {stage: max(found, default=0) for stage, found in done.items()}}


def train(options: argparse.Namespace, names: Sequence[Name], recipe: Candidate) -> bool:
    """All rows that were asked for, those at equal core-hours last; False where it was interrupted."""
    setting = Setting(options.out, options.dataset, options.data_dir, options.workers)
    journal = Journal(options.out, options.dataset)

    def changed() -> None:
        write_json(options.out / SUMMARY, summarise(journal, options))

    plain = {name: equal_epochs(name, recipe, options.epochs, options.low_bit_epochs) for name in names}
    try:
        first = [Row(str(name), plain[name], name.seed) for name in names if name.equal_to is None]
        if not run(first, setting, journal, changed):
            return False
        costed = {name: equal_core_hours(name, plain[name], journal) for name in names if name.equal_to}
        second = [Row(str(name), candidate, name.seed) for name, candidate in costed.items()]
        return run(second, setting, journal, changed)
    finally:
        changed()


def publish(options: argparse.Namespace) -> None:
    """Write what has ended so far: summary, table, and the journal, which has everything but the checkpoints.

    The rows may be in training meanwhile. Raises RowsError where nothing was trained yet.
    """
    source, place = options.out / JOURNAL, options.publish
    if not source.exists():
        raise RowsError(f"--out {options.out} holds no {JOURNAL}: train rows there first.")
    summary = summarise(Journal(options.out, options.dataset), options)
    write_json(place / SUMMARY, summary)
    outputs.write(place / TABLE, table(summary["rows"]))
    outputs.write(place / JOURNAL, source.read_bytes())
    copy_requirements(options.out, place / REQUIREMENTS)


def _check_folders(options: argparse.Namespace) -> None:
    outputs.check_outside_data("--out", options.out, options.dataset)
    outputs.check_folder("--out", options.out, (JOURNAL, SUMMARY, REQUIREMENTS), {})
    if options.publish is not None:
        read = {f"{name} of --out": options.out / name for name in (JOURNAL, SUMMARY, REQUIREMENTS)}
        outputs.check_folder("--publish", options.publish, (JOURNAL, SUMMARY, TABLE, REQUIREMENTS), read)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.blocks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of journal, summary and checkpoints")
    parser.add_argument("--rows", default="", help="rows, separated by commas, in order of their turn")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="copy summary and journal there, with a table")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side, of one thread each")
    parser.add_argument("--epochs", type=int, default=FLOAT_EPOCHS, help="in float, at equal epochs")
    parser.add_argument("--low-bit-epochs", type=int, default=LOW_BIT_EPOCHS)
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="candidate whose recipe and augmentation are taken")
    options = parser.parse_args(arguments)
    for name in ("workers", "epochs", "low_bit_epochs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, but got {getattr(options, name)}.")
    if not options.rows and options.publish is None:
        parser.error("one of --rows and --publish is needed.")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 done, 1 a row failed, 2 wrong input, 130 interrupted."""
    options = _options(arguments)
    try:
        _check_folders(options)
        names = [Name.parse(text.strip()) for text in options.rows.split(",") if text.strip()]
        recipe = Candidate.from_json(options.recipe.read_text())
        if names and not train(options, names, recipe):
            print("interrupted; the same command goes on", file=sys.stderr)
            return 130
        if options.publish is not None:
            publish(options)
    except KeyboardInterrupt:
        return 130
    except FailedRowsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (RowsError, DataError, CandidateError, OutputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
