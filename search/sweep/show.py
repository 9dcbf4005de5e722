"""What `sweep` does with its options, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from slimfront.evaluators import outputs
from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.commands.scoring import candidate_file, is_of_a_trial
from slimfront.search.terminal import Console
from slimfront.spaces import Candidate, CandidateError, references
from slimfront.studies.report.numbers import percent_number


def run_sweep(candidate: Candidate, *, methods: list[str] | None, ratios: str | None, **other: Any) -> dict[str, Any]:
    """Run `slimfront.search.sweep.run.sweep`; `ratios` as the command line gives them."""
    from slimfront.evaluators.data.splits import notes_of
    from slimfront.search.launch import Options, resources
    from slimfront.search.sweep import run as sweeps
    from slimfront.search.sweep.journal import JOURNAL
    from slimfront.search.sweep.results import FILES
    from slimfront.studies.store.storage import typed_command

    inputs = {"the candidate": candidate_file(other["name"]), "the weights": other.get("weights")}
    outputs.check_outside_data("--out", other["out"], other["dataset"])
    outputs.check_folder("--out", other["out"], (*FILES, JOURNAL), inputs)

    references.give_all(references.named_in(methods), Path())  # named here, and so allowed
    try:
        numbers = sweeps.DEFAULT_RATIOS if ratios is None else tuple(float(word) for word in ratios.split(","))
    except ValueError:
        raise CandidateError(f"--ratios must be numbers with commas between, but got {ratios!r}.") from None
    if not all(0 < number < 1 for number in numbers):
        raise CandidateError(f"--ratios must be shares between 0 and 1, such as 0.5, but got {ratios!r}.")
    other["device"] = resources(Options(storage="", workers=1, device=other["device"]))[0]
    for note in notes_of(other["dataset"]):
        Console(stderr=True).say(f"{other['dataset']}: {note}")
    return sweeps.sweep(candidate, methods=methods, ratios=numbers, command=typed_command(), **other)


def print_sweep(
    summary: dict[str, Any], out: Path, candidate: Sequence[str], dataset: str, storage: str, name: str | None
) -> None:
    """Accuracy by method and ratio, after retraining where there was any; the next command. All others are as typed.

    `candidate` are its words on a command line, its name first.
    """
    console = Console()
    points = [point for point in summary["points"] if point["retrained"]] or summary["points"]
    ratios = sorted({point["ratio"] for point in points})
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method")
    for ratio in ratios:
        table.add_column(f"{ratio:g}", justify="right")
    for method in dict.fromkeys(point["method"] for point in points):
        found = {point["ratio"]: point["accuracy"] for point in points if point["method"] == method}
        table.add_row(method, *(f"{percent_number(found[ratio])}%" if ratio in found else "" for ratio in ratios))
    console.print(table)
    console.print(f"tables and pictures: {out}", soft_wrap=True, highlight=False)
    place = {"storage": storage, "name": name} if is_of_a_trial(candidate[0]) else {}
    say_next(command("retrain", "--candidate", *candidate, "--dataset", dataset, "--seeds", "5", **place))
