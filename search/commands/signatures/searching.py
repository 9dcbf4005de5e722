"""`search`, and `import`, which gives it trials to begin from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from slimfront.search.commands.failures import FAILED, INTERRUPTED, fail, say
from slimfront.search.commands.signatures import options as given
from slimfront.search.commands.signatures.options import DEFAULT_STORAGE, AsJson, DataDir, Device, Storage
from slimfront.search.commands.signatures.output import print_json


def search(
    study: Annotated[Path, typer.Argument(help="The study's settings.", metavar="STUDY.toml")] = Path(
        "studies/quick.toml"
    ),
    storage: Storage = DEFAULT_STORAGE,
    name: given.OwnName = None,
    trials: Annotated[int | None, typer.Option(help="Trials of the whole study; default: its file's.")] = None,
    hours: Annotated[
        float | None,
        typer.Option(help="Hours of the whole study, across restarts; with neither, until Ctrl-C."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Trainings side by side; 0: one for each core or GPU. More than GPUs share them.")
    ] = 0,
    ray: Annotated[
        str | None, typer.Option(help="Train on a Ray cluster: auto, or its address.", metavar="auto|ADDRESS")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set, instead of the study's.")] = None,
    data_dir: DataDir = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling and training, instead of the study's.")] = None,
    device: Annotated[Device, typer.Option(help="Where trainings run.")] = Device.auto,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default: runs/NAME.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait where another search is using the same SQLite file, until it ends.")
    ] = False,
    changed_code: given.ChangedCode = False,
    tensorboard: given.EventFiles = None,
    dry_run: given.DryRun = False,
    verbose: given.Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run or resume a search; ends with the front, and where plot, table and database are."""
    from slimfront.search.commands.front import print_front
    from slimfront.search.commands.next_steps import repeated, say_next
    from slimfront.search.launch import Options, launch
    from slimfront.studies.settings import Settings

    settings = Settings.from_toml(study).changed(name=name, trials=trials, hours=hours, dataset=dataset, seed=seed)
    options = Options(
        storage,
        workers,
        data_dir,
        device.value,
        out=out,
        ray=ray,
        settings=study,
        changed_code=changed_code,
        wait=wait,
        tensorboard=tensorboard,
    )
    if dry_run:
        from slimfront.search.supernet.plan import lines
        from slimfront.search.supernet.planning import plan_only

        plan = plan_only(settings, options)
        if as_json:
            print_json(plan.to_dict())
        else:
            print("\n".join(lines(plan)))
            say_next(repeated(without="--dry-run"))
        return
    outcome, summary, files = launch(settings, options)
    if as_json:
        print_json(summary)
    else:
        print_front(summary, files, storage, verbose)
    if outcome.how == "failures":
        fail(f"stopped after repeated failures, the last: {outcome.failure}", FAILED)
    if outcome.how == "done" and summary["trials"]["failed"] and not summary["trials"]["complete"]:
        fail(f"no trial came to a result, the last failure: {outcome.failure}", FAILED)
    if outcome.how == "interrupted":
        say(f"interrupted; everything is saved, and the same command goes on: {repeated()}")
        raise typer.Exit(INTERRUPTED)


def init(
    file: Annotated[Path, typer.Argument(help="File to write; the study is named after it.", metavar="STUDY.toml")],
    dataset: Annotated[str, typer.Option(help="Data set: digits, cifar10 ..., or folder:PATH.")] = "cifar10",
    as_json: AsJson = False,
) -> None:
    """Write a study file to begin from, its keys explained; a search can run it as it is."""
    from slimfront.search.commands.next_steps import command, say_next
    from slimfront.search.terminal import Console
    from slimfront.studies.settings.template import write_template

    path = write_template(file, dataset)
    if as_json:
        print_json({"file": str(path), "study": path.stem, "dataset": dataset})
        return
    Console().say(f"study: {path}  (edit it as you like; {dataset} is its data set)")
    say_next(command("search", path), command("data", dataset))


def import_trials(
    study: Annotated[Path, typer.Argument(help="Settings of the study that takes them.", metavar="STUDY.toml")],
    source: Annotated[str, typer.Option(help="Where the other study lies, a URL like --storage.")],
    source_name: Annotated[str | None, typer.Option(help="Its name; may be left out where there is one.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    name: given.OwnName = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take finished trials of another study as a warm start; they count as trials of this one."""
    from slimfront.search.commands.importing import import_finished, print_imported, refuse_nothing
    from slimfront.studies.settings import Settings

    told = import_finished(Settings.from_toml(study).changed(name=name), storage, source, source_name, data_dir)
    refuse_nothing(told)
    if as_json:
        print_json(told)
    else:
        print_imported(told, study, storage)
