"""What `predict` does: pictures go through an artifact's network as an image folder's pictures would."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slimfront.search.commands.artifacts import class_names_of
from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.commands.signatures.output import results
from slimfront.search.terminal import Console
from slimfront.studies.foreign.text import visible

BATCH = 64


def predict_files(path: Path, pictures: Sequence[Path], top: int) -> dict[str, Any]:
    """The likeliest classes of every picture, with probabilities.

    Args:
        path: The artifact.
        pictures: Files, and folders of them.
        top: Classes a picture.

    Raises:
        ArtifactError, DataError: No artifact, or a picture that cannot be read.
    """
    import torch
    from slimfront.evaluators.artifacts.artifact import load
    from slimfront.evaluators.data.image_folder import read_pictures
    from slimfront.evaluators.training.augmentation import normalise

    artifact = load(path)
    files = _listed(pictures)
    images = read_pictures(files, artifact.input_shape)
    names = class_names_of(artifact.provenance, artifact.classes) or [*map(str, range(artifact.classes))]
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            shares = artifact.network(normalise(images[start : start + BATCH])).softmax(1)
            best = shares.topk(min(top, artifact.classes), 1)
            for file, values, indices in zip(files[start : start + BATCH], best.values, best.indices, strict=True):
                found = [
                    {"class": names[int(index)], "probability": float(value)}
                    for value, index in zip(values, indices, strict=True)
                ]
                rows.append({"picture": str(file), **found[0], "classes": found})
    return {"artifact": str(path), "predictions": rows}


def print_predicted(facts: dict[str, Any], *, as_csv: bool) -> None:
    """A line a picture, or comma-separated values."""
    if as_csv:
        writer = csv.writer(results(), lineterminator="\n")
        writer.writerow(("picture", "class", "probability"))
        writer.writerows((row["picture"], row["class"], row["probability"]) for row in facts["predictions"])
        return
    console = Console()
    for row in facts["predictions"]:
        others = ", ".join(f"{visible(one['class'])} {one['probability']:.1%}" for one in row["classes"])
        console.print(f"{visible(row['picture'])}: {others}", soft_wrap=True, highlight=False, markup=False)
    say_next(command("verify", facts["artifact"]))


def _listed(pictures: Sequence[Path]) -> list[Path]:
    from slimfront.evaluators.data.folder_layout import is_picture
    from slimfront.evaluators.data.images import DataError

    files: list[Path] = []
    for place in pictures:
        found = sorted(file for file in place.rglob("*") if is_picture(file)) if place.is_dir() else [place]
        if not found:
            raise DataError(f"{place} has no pictures.")
        files += found
    return files
