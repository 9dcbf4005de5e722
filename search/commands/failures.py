"""What a command says and returns where it fails: one line for what a user can mend, a traceback for our own faults."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import typer
from slimfront.search.interrupt import Once
from slimfront.search.status import STATUS

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


def say(text: str) -> None:
    """A message on standard error. Names in it may come from a database or a file: they are text, not control."""
    from slimfront.studies.foreign.text import visible

    STATUS.take_away()
    typer.echo("\n".join(map(visible, text.splitlines())), err=True)


def fail(text: str, code: int) -> NoReturn:
    """End the command with a line on standard error."""
    say(f"slimfront: {' '.join(text.split())}")
    raise typer.Exit(code)


def _say_usage(error: Any) -> None:
    """A wrong command line in one line, where click takes four and lets pydantic speak."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    text = " ".join(error.format_message().split()).rstrip(".")
    text = re.sub(r", unable to parse string as an? \w+", "", text.replace("Input should be", "it must be"))
    place = context.command_path if context is not None else "run_search.py"
    say(f"slimfront: {text}. See: {place} --help")


def report_error(error: Exception) -> int:
    """Our own errors, and those of files, in one line; anything else is a bug and shows where."""
    # Click's usage errors, by what they can do: typer brings a click of its own.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        _say_usage(error)
        return WRONG_USAGE
    if isinstance(error, ValueError) and type(error) is not ValueError:  # CandidateError, DataError, StudyError, ...
        # One line, or one line for each source of a data set: those further in, so that none passes for the first.
        first, *others = [line.strip() for line in str(error).split("\n")]
        say("\n  ".join([f"slimfront: {first}", *others]))
        return WRONG_USAGE
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        say("slimfront: " + " ".join(what.split()))
        return FAILED
    if _is_known(error, _TRAINING_ERRORS):
        say("slimfront: " + " ".join(str(error).split()))
        return FAILED
    if _is_known(error, _DATABASE_ERRORS):
        from slimfront.studies.store.urls import one_line

        say(f"slimfront: the storage cannot be used: {one_line(error)}.")
        return FAILED
    raise error


def _is_known(error: Exception, kinds: tuple[tuple[str, str], ...]) -> bool:
    """Whether it is one of these, (module, name); modules that nobody has needed are not imported for that."""
    known = [getattr(sys.modules.get(module), name, ()) for module, name in kinds]
    return any(isinstance(error, kind) for kind in known)


_TRAINING_ERRORS = (("slimfront.evaluators.training.loop", "TrainingError"),)
_DATABASE_ERRORS = (("sqlalchemy.exc", "SQLAlchemyError"), ("optuna.exceptions", "StorageInternalError"))


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """For a process of its own: Ctrl-C ends it in one line, however often it is pressed."""
    # A connection that is being closed when Ctrl-C comes would be told of with a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        signal.signal(signal.SIGINT, Once())
        yield
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        say("slimfront: interrupted")
        sys.exit(INTERRUPTED)
