"""The data set that this process holds: read once, however many trainings follow; another one takes its place."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from slimfront.evaluators.data import splits
from slimfront.evaluators.data.splits import FinalData, SearchData

Key = tuple[object, ...]

_held: dict[Key, object] = {}


def search_key(dataset: str, data_dir: Path | None, image_size: int | None, digest: str) -> Key:
    """What the images of a search are told apart by; `digest` is of the data that it was begun with, or ""."""
    return "search", dataset, str(data_dir), image_size, digest


def hold(key: Key, data: object) -> None:
    """Keep `data` instead of what was held: one data set a process, as it may take most of its memory."""
    _held.clear()
    _held[key] = data


def search_data(
    dataset: str, data_dir: Path | None = None, image_size: int | None = None, digest: str = ""
) -> SearchData:
    """Training and validation images, as `splits.search_data` reads them.

    Raises:
        DataError: They cannot be had.
        TrainingError: They are not those with `digest` that the study was begun with.
    """
    from slimfront.evaluators.training.loop import TrainingError

    key = search_key(dataset, data_dir, image_size, digest)
    if key not in _held:
        data = splits.search_data(dataset, data_dir=data_dir, image_size=image_size)
        if digest and data.digest != digest:
            text = f"The data set {dataset} is not the one that the study was begun with: {data.digest}, not "
            raise TrainingError("files", f"{text}{digest}. Put its files back, or begin another study.")
        hold(key, data)
    return cast(SearchData, _held[key])


def final_data(dataset: str, data_dir: Path | None = None, image_size: int | None = None) -> FinalData:
    """All training images, and the test images on demand, as `splits.final_data` reads them. Raises DataError."""
    key = ("final", dataset, str(data_dir), image_size)
    if key not in _held:
        hold(key, splits.final_data(dataset, data_dir=data_dir, image_size=image_size))
    return cast(FinalData, _held[key])
