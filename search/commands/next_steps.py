"""The command that comes next, ready to paste: every command ends with it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from slimfront.search.commands.signatures.options import DEFAULT_STORAGE
from slimfront.search.terminal import Console


def program() -> str:
    """How this program was started, as far as that can be typed again: "python run_search.py", or "slimfront"."""
    python, *words = sys.orig_argv
    script = Path(sys.argv[0])
    if words[:2] == ["-m", "slimfront"]:
        return shlex.join([python, *words[:2]])
    if script.name == "run_search.py":
        return shlex.join([python, sys.argv[0]])
    return script.stem if script.stem == "slimfront" else "python run_search.py"


def command(*words: str | Path, storage: str | None = None, name: str | None = None) -> str:
    """A command line; of a study with its name, and with its storage where that is not the default.

    A password in the storage's URL is not shown.
    """
    given = [str(word) for word in words]
    if name is not None:
        given += ["--name", name]
    if storage not in (None, DEFAULT_STORAGE):
        from slimfront.studies.store.urls import safe_url

        given += ["--storage", safe_url(str(storage))]
    return f"{program()} {shlex.join(given)}"


def say_next(*commands: str) -> None:
    """Say what may be typed next, in the order in which it is likely."""
    console = Console()
    for number, text in enumerate(commands):
        console.say(f"{'or' if number else 'next'}: {text}")


def repeated() -> str:
    """The command that was typed, for one that goes on where it was interrupted."""
    from slimfront.studies.store.urls import safe_url

    return f"{program()} {shlex.join(map(safe_url, sys.argv[1:]))}"
