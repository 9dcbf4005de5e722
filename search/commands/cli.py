"""The command line of slimfront: parses, calls, prints. `python run_search.py --help`."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from slimfront.search.commands import options as given
from slimfront.search.commands.collection import uncollected
from slimfront.search.commands.failures import DONE, FAILED, INTERRUPTED, interrupted_once, report_error, say
from slimfront.search.commands.options import DEFAULT_STORAGE, PRESETS, Allow, AsJson, DataDir, Device, Name, Storage
from typer.core import TyperGroup

# Nothing is imported up here that needs torch: it takes seconds, and `--help` must not.


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupted:  # typer itself would end without a word
            from slimfront.search.interrupt import AtOnce

            if isinstance(interrupted, AtOnce):
                raise typer.Exit(INTERRUPTED) from None
            _fail("interrupted", INTERRUPTED)


app = typer.Typer(
    cls=_Commands,
    name="run_search.py",
    help="Searches architecture, pruning and bit-widths together for the cheapest network that clears an accuracy bar.",
    no_args_is_help=True,
    epilog="Example: python run_search.py search studies/quick.toml, then: python run_search.py front",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


@app.command(
    epilog="Example: python run_search.py search studies/cifar10.toml --hours 10 --workers 2",
)
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
    changed_code: given.ChangedCode = False,
    dry_run: given.DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Run or resume a search; ends with the front, and where plot, table and database are."""
    from slimfront.search.commands.show import print_front, print_plan
    from slimfront.search.launch import Options, launch
    from slimfront.studies.settings import Settings

    settings = Settings.from_toml(study).changed(name=name, trials=trials, hours=hours, dataset=dataset, seed=seed)
    options = Options(
        storage, workers, data_dir, device.value, out=out, ray=ray, settings=study, changed_code=changed_code
    )
    if dry_run:
        print_plan(settings, options, as_json)
        return
    outcome, summary, files = launch(settings, options)
    if as_json:
        _print_json(summary)
    else:
        print_front(summary, files)
    if outcome.how == "failures":
        _fail(f"stopped after repeated failures, the last: {outcome.failure}", FAILED)
    if outcome.how == "done" and summary["trials"]["failed"] and not summary["trials"]["complete"]:
        _fail(f"no trial came to a result, the last failure: {outcome.failure}", FAILED)
    if outcome.how == "interrupted":
        typer.echo("interrupted; everything is saved, and the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED)


@app.command("import", epilog="Example: python run_search.py import studies/cifar10.toml --source sqlite:///old.db")
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
        _print_json(told)
    else:
        print_imported(told)


@app.command(epilog="Example: python run_search.py front --csv trials.csv --plot front.png")
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
    as_json: AsJson = False,
) -> None:
    """Show the front of a study: the cheapest networks that clear the bar."""
    from slimfront.search.commands.show import front_of, print_front

    summary, files = front_of(storage, name, bar, csv, plot, importance)
    if as_json:
        _print_json(summary)
    else:
        print_front(summary, files)


@app.command(epilog="Example: python run_search.py dashboard --port 8080")
def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port that the browser asks for.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address or name to listen on, and to be asked for by; default: this machine alone.")
    ] = "127.0.0.1",
) -> None:
    """Open optuna-dashboard on the study, with our panels."""
    from slimfront.search.commands.show import open_dashboard

    open_dashboard(storage, name, host, port)


@app.command(epilog="Example: python run_search.py score resnet20 --weight-bits 4 --activation-bits 4")
def score(
    candidate: Annotated[str, typer.Argument(help=f"A candidate's JSON file, or a preset: {PRESETS}.")],
    weight_bits: Annotated[int | None, typer.Option(help="Of every layer, stem and classifier included.")] = None,
    activation_bits: Annotated[int | None, typer.Option(help="Of every layer's input.")] = None,
    structured: Annotated[
        float, typer.Option(help="p_s: share of the weights that structured pruning removes, in closed form.")
    ] = 0.0,
    unstructured: Annotated[
        float,
        typer.Option(help="p_u: share of the original weights that unstructured pruning removes, in closed form."),
    ] = 0.0,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Score a network without training it."""
    from slimfront.search.commands.show import print_score, score_of

    given.give(allow)
    with uncollected():
        result = score_of(candidate, weight_bits, activation_bits, structured, unstructured)
    if as_json:
        _print_json(result)
    else:
        print_score(result)


@app.command(epilog="Example: python run_search.py retrain --trial 17 --seeds 5")
def retrain(
    trial: Annotated[int | None, typer.Option(help="Number of the trial whose network it is.")] = None,
    front: Annotated[bool, typer.Option("--front", help="All networks on the study's front.")] = False,
    candidate: Annotated[
        str | None, typer.Option(help=f"A candidate's JSON file, or a preset, instead of a trial: {PRESETS}.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each network, with seeds from 0 on.")] = 5,
    epochs: Annotated[int | None, typer.Option(help="Of dense training; default: three times the search's.")] = None,
    inherit: Annotated[
        bool, typer.Option("--inherit", help="Start from the search's supernet, as the trial did, not from scratch.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of results and checkpoints; default: runs/final/....")
    ] = None,
    workers: Annotated[int, typer.Option(help="Trainings side by side; 0: one for each core or GPU.")] = 0,
    dataset: Annotated[str | None, typer.Option(help="Data set; default: the study's, without one cifar10.")] = None,
    data_dir: DataDir = None,
    bar: Annotated[float | None, typer.Option(help="Accuracy to clear; default: the study's, without one 0.9.")] = None,
    device: Annotated[Device, typer.Option(help="Where trainings run.")] = Device.auto,
    allow: Allow = None,
    changed_code: given.ChangedCode = False,
    as_json: AsJson = False,
) -> None:
    """Train chosen networks on all training images with several seeds; read the test set once for each, at the end."""
    from slimfront.search.launch import Options
    from slimfront.search.retrain.plan import make_plan
    from slimfront.search.retrain.run import retrain as run
    from slimfront.search.retrain.show import print_retrained

    given.give(allow)
    chosen = {"trial": trial, "front": front, "candidate": candidate, "changed_code": changed_code}
    chosen["inherit"] = inherit
    plan, folder = make_plan(storage, name, chosen, dataset=dataset, bar=bar, seeds=seeds, epochs=epochs, out=out)
    options = Options(storage=storage, workers=workers, data_dir=data_dir, device=device.value, out=folder)
    how, summary = run(plan, options)
    if as_json:
        _print_json(summary)
    else:
        print_retrained(summary)
    if how == "interrupted":
        typer.echo("interrupted; everything is saved, and the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED)
    if how == "failures":
        _fail(
            "some seeds failed, see above; the same command tries again those that have not read the test images",
            FAILED,
        )


@app.command(epilog="Example: python run_search.py data cifar10 --data-dir ~/data")
def data(
    name: Annotated[str, typer.Argument(help="digits, cifar10, cifar100, fashion-mnist or folder:PATH.")],
    data_dir: DataDir = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side that an image folder's pictures get: of each the middle square.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch and check a data set; say where it lies and where it came from."""
    from slimfront.search.commands.show import print_source, source_of

    found = source_of(name, data_dir, image_size)
    if as_json:
        _print_json(found)
    else:
        print_source(found)


@app.command(epilog="Example: python run_search.py sweep --candidate resnet8 --methods han,thinet --ratios 0.5,0.7")
def sweep(
    candidate: Annotated[str, typer.Option(help=f"A candidate's JSON file, or a preset: {PRESETS}.")] = "resnet8",
    methods: given.Methods = None,
    ratios: Annotated[str | None, typer.Option(help="Comma-separated, each in (0, 1); default: 0.1 to 0.95.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of the dense training; default: the candidate's.")] = None,
    retrain_epochs: Annotated[int, typer.Option(help="After pruning, the same for every method.")] = 3,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    dataset: Annotated[str, typer.Option(help="Data set; its validation part is what accuracy is measured on.")] = (
        "cifar10"
    ),
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(help="Trainings side by side.")] = 1,
    device: Annotated[Device, typer.Option(help="Where trainings run.")] = Device.auto,
    out: Annotated[Path, typer.Option(help="Folder of everything; the same command goes on where it stopped.")] = Path(
        "runs/sweep"
    ),
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy against pruning ratio for several methods on one network."""
    from slimfront.search.commands.show import print_sweep, read_candidate, run_sweep

    given.give(allow)
    names = [name.strip() for name in methods.split(",")] if methods is not None else None
    summary = run_sweep(
        read_candidate(candidate),
        name=candidate,
        methods=names,
        ratios=ratios,
        epochs=epochs,
        retrain_epochs=retrain_epochs,
        seed=seed,
        dataset=dataset,
        data_dir=data_dir,
        workers=workers,
        device=device.value,
        out=out,
    )
    if as_json:
        _print_json(summary)
    else:
        print_sweep(summary, out)
    if not summary["complete"]:
        typer.echo("not complete; what is finished is kept, and the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED if not summary.get("failures") else FAILED)


@app.command(epilog="Example: python run_search.py report --out quick.html --slides quick-slides.html")
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
        _print_json(written)
    else:
        print_written(written)


@app.command(epilog="Example: python run_search.py verify runs/final/quick-front/DIGEST/seed-0/network.slim")
def verify(
    artifact: Annotated[Path, typer.Argument(help="A .slim file.", metavar="ARTIFACT")],
    dataset: Annotated[str | None, typer.Option(help="Data set of the accuracy; default: what the file names.")] = None,
    data_dir: DataDir = None,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Recompute score, strict score and test accuracy from the file alone; exit code 1 where its claims are false."""
    from slimfront.search.commands.artifacts import print_verified, verify_file

    given.give(allow)
    facts = verify_file(artifact, dataset, data_dir, say=say)
    if as_json:
        _print_json(facts)
    else:
        print_verified(facts)
    if not facts["ok"]:
        raise typer.Exit(FAILED)


@app.command(epilog="Example: python run_search.py export network.slim --onnx network.onnx")
def export(
    artifact: Annotated[Path, typer.Argument(help="A .slim file.", metavar="ARTIFACT")],
    onnx: Annotated[Path, typer.Option(help="File to write; it runs without slimfront.")],
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Write an artifact as ONNX and time it in onnxruntime."""
    from slimfront.search.commands.artifacts import export_file, print_exported

    given.give(allow)
    facts = export_file(artifact, onnx)
    if as_json:
        _print_json(facts)
    else:
        print_exported(facts)


def _fail(text: str, code: int) -> NoReturn:
    one_line = " ".join(text.split())
    say(f"slimfront: {one_line}")
    raise typer.Exit(code)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code. Errors that a user can cause end in one line, without a traceback."""
    try:
        with given.fresh():
            result = app(args=arguments, standalone_mode=False)
    except typer.Exit as end:
        return int(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):  # outside of any command: while words are read, or where input ends
        say("slimfront: interrupted")
        return INTERRUPTED
    except Exception as error:
        return report_error(error)
    return result if isinstance(result, int) else DONE


def command() -> NoReturn:
    """The process of one command."""
    with interrupted_once():
        code = main()
    gc.freeze()  # what is left goes with the process: Python would look through all of torch's objects once more
    sys.exit(code)
