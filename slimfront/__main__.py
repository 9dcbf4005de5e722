"""The command line as a program: `slimfront`, or `python -m slimfront`."""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED = 130


def command() -> NoReturn:
    """Run the command that `sys.argv` holds, and end the process. Ctrl-C ends it while it is still imported, too."""
    try:
        from slimfront.search.commands.cli import command as run
    except KeyboardInterrupt:
        sys.stderr.write("slimfront: interrupted\n")
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    command()
