"""What the documentation tells people to type is understood, and what it links to exists."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from slimfront.spaces import references
from slimfront.spaces.family import FAMILIES
from slimfront.spaces.space import known_keys
from slimfront.studies.settings import Settings

import run_search

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("README.md")])


def blocks(kind: str) -> list[tuple[str, str]]:
    """(page, text) of every block of that language."""
    pattern = re.compile(rf"^```{kind}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, found) for page in PAGES for found in pattern.findall(page.read_text())]


def named_files(page: str) -> dict[str, str]:
    """Files that a page shows whole: blocks whose first line is "# NAME"."""
    shown = [text for kind in ("python", "toml") for found, text in blocks(kind) if found == page]
    names = [re.match(r"# (\w+\.(?:py|toml))\n", text) for text in shown]
    return {name[1]: text for name, text in zip(names, shown, strict=True) if name is not None}


def commands() -> list[tuple[str, str]]:
    lines = [(page, line) for page, text in blocks("sh") for line in text.replace("\\\n", " ").splitlines()]
    return [(page, line) for page, line in lines if "run_search.py" in line or line.startswith("slimfront ")]


def cells() -> list[dict[str, Any]]:
    """Cells of the notebook, with their sources as one text."""
    found = json.loads((ROOT / "docs" / "first_search.ipynb").read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in found]


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
def test_settings_can_be_read(page: str, text: str, tmp_path: Path) -> None:
    for name, content in named_files(page).items():
        (tmp_path / name).write_text(content)
    (tmp_path / "example.toml").write_text(text)
    if "space" in tomllib.loads(text):
        with references.only_here():
            Settings.from_toml(tmp_path / "example.toml")


def test_examples_of_own_code_are_short() -> None:
    found = named_files("extending.md")
    assert "plain.py" in found
    assert not {name: text.count("\n") for name, text in found.items() if text.count("\n") > 40}


def test_every_key_of_a_space_is_documented() -> None:
    page = (ROOT / "docs" / "study.md").read_text()
    for key in known_keys():
        table, *middle, last = key.split(".")
        family = len(middle) == 1 and middle[0] in FAMILIES.names
        spellings = (f"`{key}`", f"`.{last}`", f"`{table}.FAMILY.{last}`" if family else f"`{table}.POLICY.{last}`")
        assert any(spelling in page for spelling in spellings), key
    for name in Settings.model_fields:
        assert f"`{name}`" in page or f"[{name}]" in page or name == "space", name


def test_every_family_is_in_the_methods() -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    for family in FAMILIES:
        assert f"| {family.name} |" in page
        assert all(number in page for number in re.findall(r"arXiv:[\d.]+", family.paper)), family.name


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("docs/*.ipynb")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_notebook_was_run_from_its_beginning_and_shows_its_pictures() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not re.search(r"/(home|root|tmp)/", json.dumps(outputs))
