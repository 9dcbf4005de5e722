"""What is printed: consoles to which all text is text.

rich reads markup and emoji names in strings unless told not to, and hands control characters on to the terminal. Much
of what slimfront prints has names in it that came out of a database or a file.
"""

from __future__ import annotations

import sys
from typing import Any

import rich.console
from rich.text import Text
from slimfront.search.status import STATUS
from slimfront.studies.foreign.text import visible


class Console(rich.console.Console):
    """rich's console with markup and emoji names switched off, and control characters spelt out.

    A notebook gets the plain lines of a pipe: rich would make a display of its own of each.

    Strings in tables are covered, too: all of them are rendered by `render_str`.
    """

    def __init__(self, **options: Any) -> None:
        if type(sys.stderr).__module__.startswith("ipykernel."):  # which says that it is a terminal
            options = {"force_terminal": False, "color_system": None} | options
        super().__init__(markup=False, emoji=False, force_jupyter=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """See rich.console.Console; the line that says what the command is doing makes room."""
        STATUS.take_away()
        super().print(*objects, **options)

    def say(self, text: str) -> None:
        """Print one line, however long: what takes a while, or what was found on the way."""
        self.print(text, soft_wrap=True, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich.console.Console."""
        return super().render_str(visible(text), **options)
