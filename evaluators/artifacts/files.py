"""Artifacts by their paths, with the data set that they name themselves; imported from `slimfront` itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slimfront.evaluators.artifacts import artifact as artifacts
from slimfront.evaluators.artifacts import verify as verification
from slimfront.evaluators.artifacts.artifact import Artifact, ArtifactError
from slimfront.evaluators.artifacts.own import OwnNetwork
from slimfront.evaluators.artifacts.verify import Verification
from slimfront.evaluators.data.splits import final_data

AnyPath = str | os.PathLike[str]


def load(path: AnyPath, network: OwnNetwork | None = None) -> Artifact:
    """Read an artifact: the network in evaluation mode, its input shape, classes, claims and provenance.

    The network takes (B, C, H, W) images as (pixel - 128) / 64 and gives logits.

    Args:
        path: The file.
        network: Of a file of a network of your own: its class, what makes it, or one that was made.

    Raises:
        ArtifactError: The file is none, or was changed.
        CodeReferenceError: It is of a class of your own, and that is not given.
    """
    return artifacts.load(Path(path), network)


def verify(
    path: AnyPath,
    dataset: str | None = None,
    *,
    data_dir: AnyPath | None = None,
    say: Callable[[str], Any] = lambda _: None,
) -> Verification:
    """Work out from an artifact's file alone what it is, and compare that with what it claims.

    Args:
        path: The file.
        dataset: Name of the data set on whose test images the accuracy is measured; None: the one that the file names,
            unless that is a folder.
        data_dir: Where the data set's files are looked for first.
        say: Told what takes a while.

    Raises:
        ArtifactError, DataError: No artifact, or no such data set.
    """
    path, test = Path(path), None
    try:
        artifact = artifacts.load(path)
        provenance, side = artifact.provenance, artifact.input_shape[1]
    except ArtifactError:
        provenance, side = {}, None  # changed, or no artifact at all: `verify` tells the two apart
    source = provenance.get("data")
    noted = source.get("name") if isinstance(source, dict) else None
    name = noted if dataset is None else dataset
    if isinstance(name, str) and (dataset is not None or not name.startswith("folder:")):
        # A folder that a file from elsewhere names is not opened unless the user names it, too.
        size = side if name.startswith("folder:") else None
        test = final_data(name, data_dir=data_dir, image_size=size, progress=say).test()
        say(f"classifying the {len(test.labels):,} test images of {name}")
    found = verification.verify(path, test)
    if found.ok and found.accuracy is None and found.claims.get("accuracy") is not None:
        # A file could leave out what its claim would be measured on.
        problem = "it claims an accuracy that was not measured: name its data set with --dataset."
        return dataclasses.replace(found, ok=False, problems=(problem,))
    return found
