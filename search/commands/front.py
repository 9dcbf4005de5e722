"""What `front` and `search` show of a study: its front, and what there is to say beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from slimfront.evaluators import outputs
from slimfront.evaluators.scoring.cost import CostAxis, in_figures
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.status import STATUS
from slimfront.search.terminal import Console
from slimfront.studies.analysis.finding import SHOWN
from slimfront.studies.report.numbers import counted, percent_number  # never rounds up: 89.996 % must not pass for 90


def front_of(
    storage: str, name: str | None, bar: float | None, csv: Path | None, plot: Path | None, importance: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Summary of a study, and the files that were asked for; with `importance` also which parameters matter."""
    from slimfront.studies.analysis.summary import summary, to_csv
    from slimfront.studies.pictures.files import check_picture
    from slimfront.studies.store.identity import bar_of
    from slimfront.studies.store.read_only import open_for_reading
    from slimfront.studies.store.storage import storage_files
    from slimfront.studies.store.study import find_study, snapshot

    outputs.check({"--csv": csv, "--plot": plot}, storage_files(storage))
    outputs.check_ending("--csv", csv, (".csv", ".txt"), "comma-separated values")
    check_picture("--plot", plot)
    STATUS.doing("reading the study")
    study = snapshot(find_study(open_for_reading(storage), name))
    STATUS.doing("writing")
    bar = bar_of(study.name, study.identity, bar)
    files = {"storage": study.storage}
    if csv is not None:
        files["csv"] = str(to_csv(study.trials, csv, bar))
    if plot is not None:
        from slimfront.studies.pictures.plots import front_plot

        ladder = study.identity.get("dataset") == "cifar10"
        drawn = front_plot(study.trials, bar, plot, ladder=ladder, axis=study.cost, cloud=study.cloud)
        files["plot"] = str(drawn)
    told = summary(study, bar)
    if importance:
        from slimfront.studies.analysis.importance import importances

        found = importances(study.trials, bar)
        key = "cost" if "objective" in told else "score"
        told["importance"] = {
            "among": found.among,
            "parameters": {name: {"accuracy": a, key: b} for name, (a, b) in found.shares.items()},
        }
    return told, files


def print_front(summary: dict[str, Any], files: dict[str, str], storage: str, verbose: bool = False) -> None:
    """The front as a table, or where it is empty the nearest trials; what there is to say; the next command.

    Args:
        summary: As `slimfront.studies.analysis.summary.summary` makes it.
        files: What lies where, by what it is.
        storage: URL of the study's storage, as typed.
        verbose: Also what the score is made of, the strict score, the hypervolume, and how early stopping fared.
    """
    console = Console()
    networks = summary["front"] or summary["nearest"]
    bar = f"{percent_number(summary['bar'])}%"
    console.print()
    if summary["front"]:
        console.print(f"The front of {summary['study']}: {counted(len(networks), 'network')} at or above {bar}")
    elif networks:
        console.print(f"No trial of {summary['study']} reaches {bar}. The nearest:")
    else:
        console.print(f"No trial of {summary['study']} is complete yet.")
    if networks:
        console.print(_table(console, summary, networks, verbose))
    words = {"pruned": "stopped early", "running": "running or left for the next start"}
    counts = summary["trials"].items()
    told = ", ".join(f"{number} {words.get(state, state)}" for state, number in counts if number)
    console.print(f"trials: {told or 'none'}")
    for line in remarks(summary, verbose):
        console.print(line, soft_wrap=True)
    if "importance" in summary:
        objective = summary.get("objective")
        _print_importance(console, summary["importance"], "score" if objective is None else objective["title"])
    for what, where in files.items():
        console.print(f"{what}: {where}", soft_wrap=True, highlight=False)
    say_next(*_next(summary, storage))


def _table(console: Console, summary: dict[str, Any], networks: list[dict[str, Any]], verbose: bool) -> Table:
    """A row a network. In 80 columns its words may take several lines; numbers and digests are never cut."""
    objective = summary.get("objective")
    keys = {"score": "score"} if objective is None else {CostAxis(**objective).head: "cost", "score": "score"}
    if verbose:
        terms = {} if objective is not None else {"params term": "score_params", "ops term": "score_ops"}
        keys |= {**terms, "strict score": "strict_score"}
    beside = dict.fromkeys(name for row in networks for name in row.get("costs", ()) if name not in row)
    if not console.is_terminal:
        console.width = 1000  # a file or pipe has no width: a network is a line
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("trial", "accuracy", *keys, *beside, "digest"):
        table.add_column(column, justify="left" if column == "digest" else "right", no_wrap=True)
    table.add_column("network", overflow="fold", min_width=20)
    for row in networks:
        numbers = [row.get(key) for key in keys.values()] + [row.get("costs", {}).get(name) for name in beside]
        cells = ["" if number is None else in_figures(number) for number in numbers]
        digest = str(row["digest"] or "")[:SHOWN]
        table.add_row(
            str(row["trial"]), f"{percent_number(row['accuracy'])}%", *cells, digest, str(row["network"] or "")
        )
    return table


def _next(summary: dict[str, Any], storage: str) -> list[str]:
    """What is done with a front; without one, what is looked at."""
    place = {"storage": storage, "name": summary["study"]}
    if summary["front"]:
        cheapest = str(summary["front"][0]["trial"])
        return [
            command("retrain", "--trial", cheapest, "--seeds", "5", **place),
            command("show", "--trial", cheapest, **place),
            command("dashboard", **place),
        ]
    if summary["nearest"]:
        return [command("show", "--trial", str(summary["nearest"][0]["trial"]), **place), command("dashboard", **place)]
    return [command("dashboard", **place)]


def _print_importance(console: Console, importance: dict[str, Any], title: str) -> None:
    """Shares of the differences that each parameter explains, a column for each objective."""
    if not importance["parameters"]:
        console.print("Which parameters matter is known from ten complete trials on.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("parameter", no_wrap=True)
    for column in ("of accuracy", f"of {title}"):
        table.add_column(column, justify="right")
    for name, shares in importance["parameters"].items():
        table.add_row(name, *(f"{share:.0%}" for share in shares.values()))
    console.print(f"What explains the differences {importance['among']}:", soft_wrap=True)
    console.print(table)


def remarks(summary: dict[str, Any], verbose: bool) -> list[str]:
    """Where the front lies on bounds of the space; on request what it is worth, and how early stopping fared."""
    from slimfront.studies.analysis.bounds import Edge
    from slimfront.studies.analysis.false_stops import FalseStops

    lines = [str(Edge(**edge)) for edge in summary["edges"]]
    if verbose:
        told = summary["early_stopping"]
        stops = FalseStops(told["stopped"], told["spared"], told["false"], told["hypervolume_lost"])
        what = CostAxis(**summary["objective"]) if "objective" in summary else SCORE_AXIS
        lines += [
            f"hypervolume: {summary['hypervolume']:.4g} (points of accuracy above the bar, times powers of ten of the "
            f"{what.title} below {what.told(what.corner)}; more is better)",
            str(stops),
            "(a stop is false if the trial would have come onto the front; a few trials that would be stopped are "
            "spared and run to their end, to count that)",
        ]
    return lines
