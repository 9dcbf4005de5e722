"""What is read of a study: its front, its dashboard, its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from slimfront.search.commands.signatures import options as given
from slimfront.search.commands.signatures.options import DEFAULT_STORAGE, Allow, AsJson, Name, Storage
from slimfront.search.commands.signatures.output import print_json


def front(
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    bar: Annotated[float | None, typer.Option(help="Accuracy that the front demands; default: the study's.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all trials as a table.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the picture, as its ending says: .png, .svg or .pdf.")
    ] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="Show which parameters matter, for accuracy and for score.")
    ] = False,
    verbose: given.Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Show the front of a study: the cheapest networks that clear the bar."""
    from slimfront.search.commands.front import front_of, print_front

    summary, files = front_of(storage, name, bar, csv, plot, importance)
    if as_json:
        print_json(summary)
    else:
        print_front(summary, files, storage, verbose)


def studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Show what is in a storage: its studies, with their trials by state."""
    from slimfront.search.commands.looking import print_studies, studies_of

    told = studies_of(storage)
    if as_json:
        print_json(told)
    else:
        print_studies(told, storage)


def show(trial: given.Trial, storage: Storage = DEFAULT_STORAGE, name: Name = None, as_json: AsJson = False) -> None:
    """Show a trial whole: what was decided, layers, learning curve, costs, and why it was stopped."""
    from slimfront.search.commands.looking import print_trial, trial_of

    told, study, found = trial_of(storage, name, trial)
    if as_json:
        print_json(told)
    else:
        print_trial(study, found, storage)


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port that the browser asks for.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address or name to listen on, and to be asked for by; default: this machine alone.")
    ] = "127.0.0.1",
) -> None:
    """Open optuna-dashboard on the study, with our panels."""
    from slimfront.search.commands.dashboard import open_dashboard

    open_dashboard(storage, name, host, port)


def report(
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    bar: Annotated[float | None, typer.Option(help="Accuracy that the front demands; default: the study's.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page; default: NAME.html.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Write slides for a talk here; print them to get a PDF.")] = None,
    retrained: Annotated[
        list[Path] | None, typer.Option(help="A retraining's folder or summary.json; default: those in runs/final.")
    ] = None,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Write a study up as one self-contained HTML page, and as slides."""
    from slimfront.search.commands.reporting import print_written, write_report

    given.give(allow)
    written = write_report(storage, name, bar, out, slides, retrained or [])
    if as_json:
        print_json(written)
    else:
        print_written(written, storage)
