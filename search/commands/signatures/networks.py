"""What is done with chosen networks: `score`, `retrain`, `sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from slimfront.search.commands.failures import FAILED, INTERRUPTED, fail, say
from slimfront.search.commands.signatures import options as given
from slimfront.search.commands.signatures.collection import uncollected
from slimfront.search.commands.signatures.options import (
    CANDIDATE,
    DEFAULT_STORAGE,
    Allow,
    Arguments,
    AsJson,
    DataDir,
    Device,
    Name,
    Storage,
)
from slimfront.search.commands.signatures.output import print_json


def score(
    candidate: Annotated[
        str,
        typer.Argument(help=CANDIDATE),
    ],
    weight_bits: Annotated[int | None, typer.Option(help="Of every layer, stem and classifier included.")] = None,
    activation_bits: Annotated[int | None, typer.Option(help="Of every layer's input.")] = None,
    structured: Annotated[
        float, typer.Option(help="p_s: share of the weights that structured pruning removes, in closed form.")
    ] = 0.0,
    unstructured: Annotated[
        float,
        typer.Option(help="p_u: share of the original weights that unstructured pruning removes, in closed form."),
    ] = 0.0,
    dataset: Annotated[str | None, typer.Option(help="Data set whose images it gets; default: cifar10.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of an image folder's pictures.")] = None,
    input_size: Annotated[
        str | None,
        typer.Option("--input", metavar="CxHxW", help="Instead of a data set: channels, height, width of an image."),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Instead of a data set: how many classes.")] = None,
    arg: Arguments = None,
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Score a network without training it."""
    from slimfront.search.commands.scoring import images_of, print_score, read_candidate, score_of

    given.give(allow)
    with uncollected():
        images = images_of(dataset, image_size, input_size, classes)
        chosen = read_candidate(candidate, storage, name, arg or ())
        result = score_of(chosen, weight_bits, activation_bits, structured, unstructured, images)
    if as_json:
        print_json(result)
    else:
        print_score(result, candidate, arg or (), dataset=dataset, image_size=image_size, storage=storage, name=name)


def retrain(
    trial: Annotated[
        str | None,
        typer.Option(metavar="N|DIGEST", help="The trial whose network it is: number or first digits of its digest."),
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="All networks on the study's front.")] = False,
    candidate: Annotated[
        str | None, typer.Option(metavar="FILE|DIGEST|PRESET", help=f"Instead of a trial: {CANDIDATE}")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each network, with seeds from 0 on.")] = 5,
    epochs: Annotated[int | None, typer.Option(help="Of dense training; default: three times the search's.")] = None,
    arg: Arguments = None,
    weights: given.StartingWeights = None,
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
    tensorboard: given.EventFiles = None,
    as_json: AsJson = False,
) -> None:
    """Train chosen networks on all training images with several seeds; read the test set once for each, at the end."""
    from slimfront.search.commands.next_steps import repeated
    from slimfront.search.launch import Options
    from slimfront.search.retrain.plan import make_plan
    from slimfront.search.retrain.run import retrain as run
    from slimfront.search.retrain.show import print_retrained

    given.give(allow)
    chosen: dict[str, Any] = {"trial": trial, "front": front, "candidate": candidate, "changed_code": changed_code}
    chosen |= {"arguments": arg or (), "weights": weights, "inherit": inherit}
    plan, folder = make_plan(storage, name, chosen, dataset=dataset, bar=bar, seeds=seeds, epochs=epochs, out=out)
    options = Options(
        storage=storage,
        workers=workers,
        data_dir=data_dir,
        device=device.value,
        out=folder,
        tensorboard=tensorboard,
    )
    how, summary = run(plan, options)
    if as_json:
        print_json(summary)
    else:
        print_retrained(summary, storage)
    if how == "interrupted":
        say(f"interrupted; everything is saved, and the same command goes on: {repeated()}")
        raise typer.Exit(INTERRUPTED)
    if how == "failures":
        fail(
            "some seeds failed, see above; the same command tries again those that have not read the test images",
            FAILED,
        )


def sweep(
    candidate: Annotated[
        str,
        typer.Option(help=CANDIDATE),
    ] = "resnet8",
    methods: given.Methods = None,
    ratios: Annotated[str | None, typer.Option(help="Comma-separated, each in (0, 1); default: 0.1 to 0.95.")] = None,
    arg: Arguments = None,
    weights: given.StartingWeights = None,
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
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy against pruning ratio for several methods on one network."""
    from slimfront.search.commands.next_steps import repeated
    from slimfront.search.commands.scoring import read_candidate
    from slimfront.search.sweep.show import print_sweep, run_sweep

    given.give(allow)
    names = [name.strip() for name in methods.split(",")] if methods is not None else None
    summary = run_sweep(
        read_candidate(candidate, storage, name, arg or ()),
        name=candidate,
        weights=weights,
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
        print_json(summary)
    else:
        told = [word for one in arg or () for word in ("--arg", one)]
        told += () if weights is None else ("--weights", str(weights))
        print_sweep(summary, out, (candidate, *told), dataset, storage, name)
    if not summary["complete"]:
        say(f"not complete; what is finished is kept, and the same command goes on: {repeated()}")
        raise typer.Exit(INTERRUPTED if not summary.get("failures") else FAILED)
