"""What `data` does: fetch and check a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slimfront.search.commands.next_steps import command, free, say_next
from slimfront.search.terminal import Console

_STUDIES = {"digits": ["search"], "cifar10": ["search", "studies/cifar10.toml", "--hours", "10"]}
"""Studies that come with slimfront, by their data."""


def source_of(name: str, data_dir: Path | None, image_size: int | None) -> dict[str, Any]:
    """What `data` prints: where a data set lies, where it came from, what was checked."""
    from dataclasses import asdict

    from slimfront.evaluators.data.splits import DataError, check_image_size, check_name, fetch

    if image_size is not None:
        check_name(name)
        try:
            check_image_size(name, image_size)
        except DataError as error:
            raise DataError(f"--image-size {image_size}: {error}") from None
    say = Console(stderr=True).say
    found = fetch(name, data_dir=data_dir, image_size=image_size, progress=say)
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(found).items()}


def print_source(found: dict[str, Any]) -> None:
    """One line a fact."""
    console = Console()
    for key, value in found.items():
        for line in value if key == "notes" else [value]:
            console.print(f"{key.replace('_', ' ')}: {line}", highlight=False, soft_wrap=True)
    say_next(command(*_STUDIES.get(found["name"], ["init", free("mine.toml"), "--dataset", found["name"]])))
