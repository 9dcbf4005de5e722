"""Starts the command line, `slimfront.search.commands.cli`: `python run_search.py --help`."""

import sys

try:
    from slimfront.search.commands.cli import app, command, main
except ModuleNotFoundError as error:
    if error.name != "typer":
        raise
    sys.exit("slimfront: typer is not installed for this Python: use .venv/bin/python, which `make install` makes.")
except KeyboardInterrupt:
    sys.stderr.write("slimfront: interrupted\n")
    sys.exit(130)

__all__ = ["app", "command", "main"]

if __name__ == "__main__":
    command()
