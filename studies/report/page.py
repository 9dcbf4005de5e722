"""Pieces of HTML. Everything that comes from a study is text and is escaped here, nowhere else.

`Markup` marks what is HTML already; plain strings are escaped when they enter an element.
"""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Iterable, Sequence
from typing import Any

from slimfront.studies.foreign.text import visible


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """Escaped, unless it is Markup; characters that control a terminal, or the direction of writing, are spelt out."""
    return value if isinstance(value, Markup) else Markup(html.escape(visible(value, lines=True)))


def element(name: str, *children: Any, **attributes: str) -> Markup:
    """`element("p", "a < b", class_="lead")`; an underscore at the end of an attribute's name is dropped."""
    written = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{''.join(text(child) for child in children)}</{name}>")


def join(parts: Iterable[Any], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(between.join(text(part) for part in parts))


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    words: Sequence[int] = (0,),
    foot: Sequence[Any] | None = None,
) -> Markup:
    """A table; columns in `words` are text, the others numbers: set to the right, digits of one width.

    Numbers of a column should come with the same number of decimals, so that their points stand in one line.
    """
    kind = ["word" if index in words else "number" for index in range(len(head))]

    def line(cells: Sequence[Any], name: str) -> Markup:
        return element("tr", *(element(name, cell, class_=kind[index]) for index, cell in enumerate(cells)))

    body = element("tbody", *(line(row, "td") for row in rows))
    end = element("tfoot", line(foot, "td")) if foot is not None else ""
    return element("div", element("table", element("thead", line(head, "th")), body, end), class_="scroll")


def facts(rows: Iterable[tuple[str, Any]]) -> Markup:
    """Names and values, one pair a line."""
    pairs = (join([element("dt", name), element("dd", value)]) for name, value in rows)
    return element("dl", *pairs, class_="facts")


def empty(what: str) -> Markup:
    """A section that has no data says so."""
    return element("p", what, class_="empty")


def document(title: str, style: str, body: Markup, *, language: str = "en") -> str:
    """A whole page that needs no other file; `style` names a CSS file of this package."""
    css = importlib.resources.files("slimfront.studies.report").joinpath(style).read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def decimals(values: Iterable[float | None], digits: int = 4) -> int:
    """How many decimals a column needs so that its smallest number shows `digits` significant ones, at most 8."""
    from math import floor, log10

    smallest = min((abs(value) for value in values if value), default=1.0)
    return max(0, min(8, digits - 1 - floor(log10(smallest))))


def number(value: float | None, places: int) -> str:
    """With so many decimals and without the leading zero's noise; a dash where there is none."""
    return "–" if value is None else f"{value:,.{places}f}"


def counted(number: int, word: str) -> str:
    """The number with its noun.

    >>> counted(1, "network"), counted(3, "network")
    ('1 network', '3 networks')
    """
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def percent_number(share: float | None, places: int = 2) -> str:
    """A share in percent without the sign, never rounded up; a dash where there is none."""
    import math

    if share is None:
        return "–"
    scale = 10**places
    return f"{math.floor(share * 100 * scale + 1e-7) / scale:.{places}f}"
