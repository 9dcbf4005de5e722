"""The command that comes next, ready to paste: every command ends with it."""

from __future__ import annotations

import inspect
import itertools
import shlex
import sys
from pathlib import Path

from slimfront.search.commands.signatures.options import DEFAULT_STORAGE
from slimfront.search.terminal import Console
from slimfront.spaces import references


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

    Code of the user's own that was given to this command is given to the next one, too, where that takes any. A
    password in the storage's URL is not shown.
    """
    given = [str(word) for word in words]
    if _allows(given[0]):
        given += [word for one in references.typed() if one not in given for word in (references.OPTION, one)]
    if name is not None:
        given += ["--name", name]
    if storage not in (None, DEFAULT_STORAGE):
        from slimfront.studies.store.urls import safe_url

        given += ["--storage", safe_url(str(storage))]
    return f"{program()} {shlex.join(given)}"


def _allows(name: str) -> bool:
    from slimfront.search.commands.cli import COMMANDS

    return "allow" in inspect.signature(COMMANDS[name][0]).parameters


def classifying(artifact: str | Path, dataset: object) -> list[str]:
    """The command that classifies a data set's pictures, where they lie in a folder of this machine; none otherwise."""
    if not isinstance(dataset, str) or not dataset.startswith("folder:"):
        return []
    folder = dataset.removeprefix("folder:")
    return [command("predict", artifact, folder)] if Path(folder).is_dir() and not folder.startswith("-") else []


def free(name: str) -> str:
    """A file that is not there yet: "mine.toml", "mine-2.toml" ..."""
    path = Path(name)
    others = (f"{path.stem}-{number}{path.suffix}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], others) if not Path(one).exists())


def say_next(*commands: str) -> None:
    """Say what may be typed next, in the order in which it is likely."""
    console = Console()
    for number, text in enumerate(commands):
        console.say(f"{'or' if number else 'next'}: {text}")


def repeated(without: str = "") -> str:
    """The command that was typed, for one that goes on where it was interrupted; without one of its options."""
    from slimfront.studies.store.urls import safe_url

    return f"{program()} {shlex.join(safe_url(word) for word in sys.argv[1:] if word != without)}"
