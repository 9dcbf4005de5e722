"""What the documentation tells people to type is understood, and what it links to exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
from slimfront.studies.settings import Settings

import run_search

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("README.md")])


def blocks(kind: str) -> list[tuple[str, str]]:
    """(page, text) of every block of that language."""
    pattern = re.compile(rf"^```{kind}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, found) for page in PAGES for found in pattern.findall(page.read_text())]


def commands() -> list[tuple[str, str]]:
    lines = [(page, line) for page, text in blocks("sh") for line in text.replace("\\\n", " ").splitlines()]
    return [(page, line) for page, line in lines if "run_search.py" in line or line.startswith("slimfront ")]


def test_there_is_something_to_test() -> None:
    assert len(commands()) > 10
    assert blocks("toml")


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_understood(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    start = next(i for i, word in enumerate(words) if word.endswith("run_search.py") or word == "slimfront")
    name, *arguments = words[start + 1 :]
    group = typer.main.get_command(run_search.app)
    command = group.commands[name] if not name.startswith("-") else group  # type: ignore[attr-defined]
    if "--help" not in arguments and command is not group:
        command.make_context(name, arguments)  # raises for an option or argument that does not exist


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_settings_can_be_read(page: str, text: str) -> None:
    written = tomllib.loads(text)
    if "space" in written:
        Settings.from_dict(written, "example")


def test_every_key_of_a_space_is_documented() -> None:
    from slimfront.spaces.space import known_keys

    page = (ROOT / "docs" / "study.md").read_text()
    for key in known_keys():
        table, *middle, last = key.split(".")
        family = table == "architecture" and len(middle) == 1
        spellings = (f"`{key}`", f"`.{last}`", f"`{table}.FAMILY.{last}`" if family else f"`{table}.POLICY.{last}`")
        assert any(spelling in page for spelling in spellings), key
    for name in Settings.model_fields:
        assert f"`{name}`" in page or f"[{name}]" in page or name == "space", name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
