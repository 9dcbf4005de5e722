"""A picture of the terminal: a command is run as a user types it, and what it prints is drawn as SVG.

    python -m benchmarks.terminal --out docs/img/front.svg -- front --name quick

It is run in the current folder, with the colours of a terminal, at 92 columns.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 92
TYPED = ".venv/bin/python run_search.py"  # as README says it
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # fetched from elsewhere; the system's monospace does


def drawn(words: list[str]) -> str:
    """The SVG of what `run_search.py` prints for these arguments. Raises CalledProcessError where it fails."""
    program = [sys.executable, str(ROOT / "run_search.py")]
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    done = subprocess.run([*program, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    printed = done.stdout.strip("\n").replace(" ".join(program), TYPED)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(f"$ {TYPED} {' '.join(words)}", style="bold")
    console.print(Text.from_ansi(printed + "\n "))  # the last line's underscores would be cut off
    return _FONT.sub("", console.export_svg(title="slimfront"))


def main() -> None:
    """Entry point of `python -m benchmarks.terminal`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the SVG file")
    parser.add_argument("words", nargs="+", help="the command, after `run_search.py`")
    chosen = parser.parse_args()
    chosen.out.write_text(drawn(chosen.words))


if __name__ == "__main__":
    main()
