"""What is done with files: artifacts are verified and exported, data sets fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from slimfront.search.commands.failures import FAILED, WRONG_USAGE, say
from slimfront.search.commands.signatures import options as given
from slimfront.search.commands.signatures.options import Allow, AsJson, DataDir
from slimfront.search.commands.signatures.output import print_json


def verify(
    artifact: Annotated[Path, typer.Argument(help="A .slim file.", metavar="ARTIFACT")],
    dataset: Annotated[str | None, typer.Option(help="Data set of the accuracy; default: what the file names.")] = None,
    data_dir: DataDir = None,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Recompute score, strict score and test accuracy from the file alone; exit code 1 where its claims are false."""
    from slimfront.evaluators.artifacts import files
    from slimfront.search.commands.artifacts import partly_verified, print_verified

    given.give(allow)
    facts = partly_verified(artifact) or files.verify(artifact, dataset, data_dir=data_dir, say=say).to_dict()
    if as_json:
        print_json(facts)
    else:
        print_verified(facts)
    if not facts["ok"]:
        part = bool(facts.get("unchecked")) and not facts["problems"]  # --allow is missing
        raise typer.Exit(WRONG_USAGE if part else FAILED)


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
        print_json(facts)
    else:
        print_exported(facts)


def data(
    name: Annotated[str, typer.Argument(help="digits, cifar10, cifar100, fashion-mnist or folder:PATH.")],
    data_dir: DataDir = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side that an image folder's pictures get: of each the middle square.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch and check a data set; say where it lies and where it came from."""
    from slimfront.search.commands.data import print_source, source_of

    found = source_of(name, data_dir, image_size)
    if as_json:
        print_json(found)
    else:
        print_source(found)
