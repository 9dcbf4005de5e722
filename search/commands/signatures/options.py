"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from slimfront.search.sweep.methods import default_methods
from slimfront.spaces import references
from slimfront.spaces.criteria import METHODS

DEFAULT_STORAGE = "sqlite:///slimfront.db"

Storage = Annotated[str, typer.Option(help="Where the study lies: sqlite:///FILE or postgresql://USER@HOST/NAME.")]
Name = Annotated[str | None, typer.Option(help="The study's name; may be left out where there is only one.")]
OwnName = Annotated[str | None, typer.Option(help="Of this study in its storage; default: as its file says.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
DataDir = Annotated[
    Path | None, typer.Option(envvar="SLIMFRONT_DATA", help="Folder with the data set's files; default: the cache.")
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Also what the score is made of, the strict score, and how the search fared."),
]
Trial = Annotated[str, typer.Option(metavar="N|DIGEST", help="Its number, or the first digits of its digest.")]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help=f"Of {', '.join(METHODS.names)}, or FILE.py:NAME of your own; default: {', '.join(default_methods())}.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        references.OPTION,
        metavar="FILE.py:NAME",
        help="Import this code of your own, which a candidate names; may be given several times.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With [supernet]: print the plan of the hours, and end.")]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="NAME=VALUE",
        help="What the constructor of a network's class is told; may be given several times.",
    ),
]
EventFiles = Annotated[
    Path | None,
    typer.Option(
        "--tensorboard", metavar="FOLDER", help="Write event files for TensorBoard here, a curve for each training."
    ),
]
StartingWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",  # as `slimfront.evaluators.starting.OPTION`, which takes a moment to import
        help="Weights to begin with, which a candidate may name: a state dict, .safetensors or torch's own.",
    ),
]
ChangedCode = Annotated[
    bool, typer.Option("--changed-code", help="Go on although code of your own has changed since the study began.")
]


class Device(StrEnum):
    """Where trainings run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


PRESETS = "resnet18, resnet20, resnet8, small_residual, small_inverted, small_dense, wide_residual, digits"

CANDIDATE = (
    f"A candidate's JSON file, the first digits of a trial's digest, FILE.py:NAME of a network's class, or a preset: "
    f"{PRESETS}."
)


def give(allowed: list[str] | None) -> None:
    """Import what the user names with --allow. Raises CodeReferenceError."""
    references.give_all(allowed or (), Path())
