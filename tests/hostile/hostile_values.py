"""Values that mean something in the wrong place, and a way to put them anywhere into a JSON tree."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

ESCAPE = "\x1b[2J\x1b]0;owned\x07"
TEXTS = (
    "",
    " ",
    ESCAPE + "text",
    "\x9b31mred",
    "\u202egnp.exe",
    "two\nlines\r\nslimfront: all is well",
    "\x00nul",
    "\ud800half",
    "\U000e0041tag",
    "x" * 5000,
    "../../../private/secret.txt",
    "..",
    "/etc/passwd",
    "file:///etc/passwd",
    "~/.ssh/id_rsa",
    "C:\\Windows\\system32",
    "folder:../private",
    '=HYPERLINK("http://127.0.0.1:9/leak","click")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd",
    "@SUM(1,1)",
    "\t=1+1",
    "a;=1+1",
    "\uff1d1+1",
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<a href='javascript:window.pwned=1'>a</a>",
    '"><svg onload=window.pwned=1>',
    "[a](javascript:window.pwned=1) ![b](http://127.0.0.1:9/leak.png)",
    "`code` | cell | **bold** <b>",
    "[bold red]markup[/bold red] [/nothing]",
    ":boom: {0} {secret} {0.__class__} %s %(a)s %{x}",
    "$\\frac{1}{",
    "$(touch owned) `touch owned`; touch owned",
    "os.system",
    "nan",
    "-1.5",
    "None",
)
NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**64), 10**30, 10**400, 0.5, -0.5, 1e-320, 1e308, -1e308, 99.5)
NOT_NUMBERS = (float("nan"), float("inf"), float("-inf"))


def nested(depth: int, inside: Any = 1) -> Any:
    """Lists within lists."""
    for _ in range(depth):
        inside = [inside]
    return inside


def value(drawn: random.Random) -> Any:
    """Anything that JSON, as Python reads it, can hold."""
    kinds: list[Any] = [
        drawn.choice(TEXTS),
        drawn.choice(TEXTS),
        drawn.choice(NUMBERS),
        drawn.choice(NOT_NUMBERS),
        None,
        drawn.choice((True, False)),
        [drawn.choice(TEXTS)],
        [drawn.choice(NUMBERS)] * drawn.choice((1, 3, 500)),
        {drawn.choice(TEXTS): drawn.choice(TEXTS)},
        nested(drawn.choice((2, 50, 400))),
        {},
        [],
    ]
    return drawn.choice(kinds)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to everything in a tree of dictionaries and lists."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def changed(tree: Any, drawn: random.Random, times: int = 1) -> Any:
    """A copy in which some entries hold something else, are gone, or have another name."""
    tree = copy.deepcopy(tree)
    for _ in range(times):
        path = drawn.choice(list(places(tree)) or [()])
        if not path:
            return value(drawn)
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        what = drawn.random()
        if what < 0.1:
            parent.pop(path[-1])
        elif what < 0.2 and isinstance(parent, dict):
            parent[drawn.choice(TEXTS)] = parent.pop(path[-1])
        else:
            parent[path[-1]] = value(drawn)
    return tree
