"""The exact versions that made a result, in a file beside it that pip and uv read: `requirements.txt`.

It names packages and versions only: no index, no folder, and none of what else is installed on the machine.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, canonicalize_version
from slimfront.studies.environment import PACKAGES, environment

NAME = "requirements.txt"
PROJECT = "slimfront"


def versions() -> dict[str, str]:
    """Installed version of everything that slimfront needs, and of what that needs in turn, by name.

    Extras of slimfront are left out: no result depends on them. What is declared for other systems is not installed
    here, and left out likewise.
    """
    found: dict[str, str] = {}
    waiting = [(name, "") for name in (PROJECT, *PACKAGES)]  # PACKAGES: slimfront may run without being installed
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[canonicalize_name(name)] = canonicalize_version(distribution.version, strip_trailing_zero=False)
        for line in distribution.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                more = {(str(canonicalize_name(needed.name)), wanted) for wanted in ("", *needed.extras)} - seen
                waiting += sorted(more)
                seen |= more
    found.pop(PROJECT, None)  # its commit says more
    return dict(sorted(found.items()))


def requirements(exact: Mapping[str, str], python: str, revision: str) -> str:
    """The file's text.

    >>> print(requirements({"numpy": "2.4.6", "torch": "2.14.1"}, "3.11.7", "0123abc"), end="")
    # Made with Python 3.11.7, slimfront at commit 0123abc, and:
    numpy==2.4.6
    torch==2.14.1
    """
    lines = [f"# Made with Python {python}, slimfront at commit {revision}, and:"]
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in exact.items())]) + "\n"


def continued(earlier: str, now: str) -> str:
    """The text for results that were begun with `earlier` and went on with `now`: what changed, as comments.

    >>> begun, now = "# Made with X, and:\\nnumpy==1\\ntorch==2\\n", "# Made with Y, and:\\nnumpy==1\\ntorch==3\\n"
    >>> print(continued(begun, now), end="")
    # Made with X, and:
    numpy==1
    torch==2
    # Made with Y, and:
    #   torch==3
    """
    first, *lines = now.splitlines()
    told = {line.lstrip("# ") for line in earlier.splitlines()}
    new = [f"#   {line}" for line in lines if line not in told]
    return earlier + "\n".join([first, *new]) + "\n" if new else earlier


def write_requirements(folder: Path, *, goes_on: bool = False) -> Path:
    """Write what is installed now; to be called by what computes the results in `folder`, not by who only joins them.

    Args:
        folder: Where the results are or will be.
        goes_on: They may have been begun in another run: where its versions were others, both are told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts, path = environment(), folder / NAME
    text = requirements(versions(), facts["python"], facts["commit"])
    path.write_text(continued(path.read_text(), text) if goes_on and path.exists() else text)
    return path


def copy_requirements(source: Path, path: Path) -> None:
    """Hand on what `write_requirements` left in the folder `source`, for results that are published beside `path`."""
    if (source / NAME).exists():  # results of before it was written have none
        shutil.copyfile(source / NAME, path)
