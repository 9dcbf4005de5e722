"""Text from elsewhere, made fit for the place that it goes to: a terminal, a CSV cell, Markdown, a plotly label.

Names, reasons and labels come out of databases, records and files that anybody may have written. Each place gives some
characters a meaning of its own, and what comes from elsewhere must mean nothing there but itself. HTML is escaped by
the templates, `slimfront.studies.foreign.templates`, which use this module.
"""

from __future__ import annotations

import html
import re
from typing import Any

LONGEST = 200  # characters of a name or a reason that are shown
LONGEST_CELL = 32_767  # characters: what the common spreadsheets take in one cell

# Control characters (C0, DEL, C1), line and paragraph separators, what changes the direction of writing, byte-order
# marks, annotations and tags, which nobody sees, and halves of surrogate pairs, which no encoding takes.
_CONTROL = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
_ONE_LINE = re.compile(f"[\\x00-\\x1f{_CONTROL}]")
_LINES = re.compile(f"[\\x00-\\x08\\x0b-\\x1f{_CONTROL}]")  # the same but for tab and newline

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
# At the start of a cell, or behind what separates cells in some countries; the wide forms count in East Asian ones.
_FORMULA = re.compile(r"(^|;)(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_PLAIN_MARKDOWN = re.compile(r"(?!.*(www\.|://))[\w .,:'/%+×\u00a0-]*")  # nothing that becomes a link


def visible(text: object, *, most: int | None = None, lines: bool = False) -> str:
    r"""The text with control characters spelt out, so that it cannot move a cursor, hide or forge what stands near it.

    Args:
        text: What is to be shown.
        most: Characters after which it is cut, with an ellipsis; None: it is shown whole.
        lines: Whether tabs and newlines stay what they are.

    >>> print(visible("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    shown = str(text)
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "…"
    if shown.isprintable():
        return shown
    return (_LINES if lines else _ONE_LINE).sub(lambda found: found[0].encode("unicode_escape").decode(), shown)


def csv_cell(value: Any) -> Any:
    """A value for a cell of a table that may be opened in a spreadsheet: text never is a formula, numbers stay numbers.

    >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell(-0.5)
    ("'=1+1", '-0.5', -0.5)
    """
    if not isinstance(value, str):
        return value
    text = visible(value, most=LONGEST_CELL)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1\2'", text)


def markdown(text: object) -> str:
    """Text as Markdown shows it: as code where any of it could be a link, an image, a heading or a table's border.

    >>> markdown("stem.conv"), markdown("[a](http://b)")
    ('stem.conv', '`[a](http://b)`')
    """
    shown = visible(text, most=LONGEST)
    if _PLAIN_MARKDOWN.fullmatch(shown):
        return shown
    return "`" + shown.replace("`", "'").replace("|", "¦") + "`"


def plotly_label(text: object, most: int = 80) -> str:
    """Text for a label or title of a plotly figure, which reads some HTML.

    >>> plotly_label("<a href='http://b'>a</a>")
    "&lt;a href='http://b'&gt;a&lt;/a&gt;"
    """
    return html.escape(visible(text, most=most), quote=False)
