"""Text from elsewhere means nothing but itself, wherever it goes; what is harmless stays as it is."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slimfront.search.terminal import Console
from slimfront.studies.foreign.text import LONGEST, csv_cell, markdown, plotly_label, visible


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_shown_controls_nothing_and_can_be_written(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u202e\u2028\u2066" for char in shown)
    assert visible(shown) == shown


@pytest.mark.parametrize("text", ["resnet20 (8×8), 90 %", "Größe 日本語 🙂", "a\u00a0b", "naïve – “x”"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_lines_stay_lines_where_that_is_wanted() -> None:
    assert visible("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"
    assert visible("a\nb") == r"a\nb"
    assert visible("x" * 500, most=10) == "x" * 9 + "…"


@given(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.none(), st.booleans()))
def test_a_cell_is_no_formula_and_numbers_come_back(value: object) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(value), "end"])
    ((cell, _),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    if isinstance(value, str):
        assert cell.lstrip()[:1] not in ("=", "@", "\t", "\r")
    else:
        assert cell == ("" if value is None else str(value))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        (" =1+1", " '=1+1"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("@a", "'@a"),
        ("\t=1", r"\t=1"),
        ("a;=1", "a;'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-1.5e-3", "-1.5e-3"),
        ("+7", "+7"),
        ("16-32-64", "16-32-64"),
        ("", ""),
    ],
)
def test_cells_by_hand(text: str, cell: str) -> None:
    assert csv_cell(text) == cell


def test_markdown_and_labels_by_hand() -> None:
    assert markdown("stages.0.conv1") == "stages.0.conv1"
    assert markdown("a|b`c`<i>") == "`a¦b'c'<i>`"
    assert markdown("www.example.org") == "`www.example.org`"
    assert markdown("x" * 500) == "`" + "x" * (LONGEST - 1) + "…`"
    assert plotly_label("<b>&") == "&lt;b&gt;&amp;"


def test_a_console_prints_text_as_text() -> None:
    from rich.table import Table

    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system="truecolor")
    table = Table("[b]head[/x]")
    table.add_row("[red]cell\x1b[2J :boom:")
    console.print("[bold]a[/nothing] \x1b]0;t\x07 \u202e", highlight=False)
    console.print(table)
    shown = file.getvalue()
    assert "[bold]a[/nothing]" in shown
    assert "[red]cell" in shown
    assert ":boom:" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b]0" not in shown
    assert "\u202e" not in shown
