"""What holds for every command, whatever it is given: the checks of the campaign."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import FrameType

import pytest

import run_search

CANARY = "the-users-own-secret-7f3a"
CPU_SECONDS = 10.0
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Elements of which none runs anything.
PASSIVE = re.compile(
    "a|b|body|br|caption|circle|clippath|code|dd|defs|div|dl|dt|figcaption|figure|footer|g|h[1-6]|head|header|html|i|"
    "image|li|line|main|meta|ol|p|path|pre|rect|section|small|span|strong|style|sub|sup|svg|symbol|table|tbody|td|text|"
    "tfoot|th|thead|title|tr|tspan|ul|use"
)


@dataclass
class Answer:
    """What a command came to."""

    code: int
    out: str
    err: str


class TooLongError(AssertionError):
    """A command that does not end."""


@contextmanager
def bounded() -> Iterator[None]:
    """Ten seconds of processor time, so that a busy machine is no failure; pytest's own limit ends what only waits."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError(f"more than {CPU_SECONDS:g} seconds of work")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Run a command in this process; an exception that comes out of it is the traceback that a user would see."""
    capsys.readouterr()
    with bounded():
        code = run_search.main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    answer = Answer(code, told.out, told.err)
    check_told(answer)
    return answer


def check_told(answer: Answer) -> None:
    """Nothing that moves a cursor, no code, nothing of the user's; what is refused is refused in one line."""
    told = answer.out + answer.err
    assert answer.code in (0, 1, 2), told
    assert not CONTROL.search(told), repr(told)
    assert "Traceback" not in told
    assert CANARY not in told
    if answer.code == 2:
        told = answer.err.strip()
        first, *others = told[told.index("slimfront: ") :].split("\n")  # behind what was said on the way
        assert len(first) < 3000
        assert all(line.startswith("  ") for line in others), answer.err


def snapshot(folder: Path) -> dict[str, object]:
    """Everything below a folder: what it is, and what it holds."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_file():
            found[name] = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        else:
            found[name] = "folder" if path.is_dir() else "other"
    return found


def check_made(folder: Path) -> None:
    """Files that a command has made: nothing of the user's in them, tables without formulas, pages without scripts."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        assert CANARY.encode() not in content, path
        if path.suffix == ".csv":
            check_table(content.decode())
        if path.suffix == ".html":
            check_page(content.decode())


def check_table(text: str) -> None:
    """No cell is a formula; what looks like one is a number."""
    for row in csv.reader(io.StringIO(text, newline="")):
        for cell in row:
            assert not CONTROL.search(cell), repr(cell)
            if cell.lstrip()[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20"):
                float(cell)


class _Page(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert PASSIVE.fullmatch(tag), tag
        for name, content in attrs:
            assert not name.startswith("on"), (tag, name, content)
            if name in ("href", "src", "xlink:href"):
                assert str(content).startswith(("#", "data:image/png")), (tag, name, content)


def check_page(text: str) -> None:
    """A page that runs nothing, and loads nothing from anywhere."""
    assert not CONTROL.search(text)
    assert "url(http" not in text
    _Page(convert_charrefs=True).feed(text)
