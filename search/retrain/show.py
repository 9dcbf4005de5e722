"""What retraining shows at its end: the final numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from slimfront.evaluators.scoring.cost import CostAxis, in_figures
from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.terminal import Console
from slimfront.studies.report.numbers import counted, percent_number

_SCORES = {"score": "score", "strict score": "strict_score"}  # column and key


def print_retrained(summary: dict[str, Any], storage: str) -> None:
    """The final numbers as a table, each network's verdict in words, how often the test set was read, what is next.

    `storage` is the URL of the study that the networks come from, as typed.
    """
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a file or pipe has no width to cut numbers at
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    objective = summary.get("objective")
    own = [] if objective is None else [CostAxis(**objective)]
    for column in ("network", "seeds", "accuracy", "lower limit", *(axis.head for axis in own), *_SCORES, "gap"):
        table.add_column(column, justify="left" if column == "network" else "right", no_wrap=True)
    for row in summary["networks"]:
        deviation = "" if row["std"] is None else f" ± {100 * row['std']:.2f}"
        table.add_row(
            _name(row),
            str(len(row["seeds"])),
            "–" if row["mean"] is None else percent_number(row["mean"]) + deviation,
            "–" if row["lower"] is None else percent_number(row["lower"]),
            *("–" if row[key] is None else in_figures(row[key]) for key in [*("cost" for _ in own), *_SCORES.values()]),
            "–" if row["gap"] is None else f"{100 * row['gap']:+.2f}",
        )
    console.print()
    console.print(f"Retrained on all training images, judged on the test images; the bar is {_percent(summary['bar'])}")
    console.print(table)
    console.print("accuracy, its deviation and lower 95 % limit of the mean in percent;", style="dim")
    console.print("gap: validation accuracy in the search minus mean test accuracy, in points", style="dim")
    if any(row["lower"] is None or row["gap"] is None for row in summary["networks"]):
        console.print(
            "–: not known; a lower limit takes two seeds, a gap a trial that the search trained to its end", style="dim"
        )
    for row in summary["networks"]:
        console.print(f"{_name(row)}: {row['verdict']}")
    if summary["rank_correlation"] is not None:
        console.print(f"rank correlation of the two (Spearman): {summary['rank_correlation']:.2f}")
    for row in summary["networks"]:
        for failed in row["failed"]:
            console.print(f"{row['digest'][:8]}, seed {failed['seed']} failed: {failed['text']}")
        for note in row["notes"]:
            console.print(f"{_name(row)}: {note}")
        if row["verified"]:
            console.print(f"{_name(row)}: every artifact holds the network that was measured")
        for path in row["artifacts"]:
            console.print(f"artifact: {path}", soft_wrap=True, highlight=False)
    console.print(
        f"test set read {counted(summary['test_evaluations'], 'time')}, by the receipts in the seeds' folders"
    )
    console.print(f"summary: {Path(summary['out']) / 'summary.json'}", soft_wrap=True, highlight=False)
    artifacts = [path for row in summary["networks"] for path in row["artifacts"]]
    steps = [command("verify", artifacts[0])] if artifacts else []
    if summary["study"] is not None:
        steps.append(command("report", "--retrained", summary["out"], storage=storage, name=summary["study"]))
    say_next(*steps)


def _name(row: dict[str, Any]) -> str:
    return f"trial {row['trial']}" if row["trial"] is not None else str(row["digest"])[:8]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
