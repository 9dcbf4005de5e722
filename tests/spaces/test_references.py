"""A user's own code is imported where the user names it, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slimfront.spaces import references
from slimfront.spaces.references import (
    CodeReferenceError,
    give,
    given,
    handed_out,
    is_reference,
    named_in,
    only_here,
    resolve,
    sources,
    take_in,
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    with only_here():
        yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def _write(folder: Path, text: str, name: str = "mine_alone.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_nothing_is_imported_that_was_not_given(tmp_path: Path) -> None:
    _write(tmp_path, f"open({str(tmp_path / 'mark')!r}, 'w')\nthing = 1\n")
    sys.path.insert(0, str(tmp_path))
    for reference in ("mine_alone.py:thing", "mine_alone:thing", f"{tmp_path}/mine_alone.py:thing"):
        assert given(reference) is None
        with pytest.raises(CodeReferenceError, match="add --allow"):
            resolve(reference)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("reference", ["mine_alone.py:thing", "mine_alone:thing"])
def test_what_is_given_is_found(tmp_path: Path, reference: str) -> None:
    _write(tmp_path, "thing = [1]\n")
    sys.path.insert(0, str(tmp_path))
    found = give(reference, tmp_path)
    assert resolve(reference) == [1]
    assert Path(found.file) == tmp_path / "mine_alone.py"
    assert sources() == {reference: found.source}


def test_a_file_finds_the_modules_beside_it(tmp_path: Path) -> None:
    _write(tmp_path, "value = 7\n", "beside_mine.py")
    _write(tmp_path, "from beside_mine import value as thing\n")
    give("mine_alone.py:thing", tmp_path)
    assert resolve("mine_alone.py:thing") == 7


def test_a_file_whose_name_another_module_has_is_itself(tmp_path: Path) -> None:
    _write(tmp_path, "thing = 'hers'\n", "json.py")
    give("json.py:thing", tmp_path)
    assert resolve("json.py:thing") == "hers"


@pytest.mark.parametrize(
    ("reference", "text", "said"),
    [
        ("mine_alone.py:other", "thing = 1\n", "mine_alone.py has no other"),
        ("mine_alone.py:thing", "1 / 0\n", "ZeroDivisionError: division by zero"),
        ("mine_alone.py:thing", "1 / 0\n", r"\(mine_alone.py, line 1\)"),
        ("mine_alone.py:thing", "import not_there_at_all\n", "ModuleNotFoundError"),
        ("mine_alone.py:thing", "raise SystemExit(3)\n", "SystemExit: 3"),
        ("mine_alone.py:thing", "def (\n", r"SyntaxError: .*\(mine_alone.py, line 1\)"),
        ("not_there.py:thing", "", "there is no file"),
        ("mine_alone.py:", "", "must be FILE.py:NAME"),
        (":thing", "", "must be FILE.py:NAME"),
    ],
)
def test_what_cannot_be_followed_is_said(tmp_path: Path, reference: str, text: str, said: str) -> None:
    _write(tmp_path, text)
    with pytest.raises(CodeReferenceError, match=said):
        give(reference, tmp_path)
    assert given(reference) is None


def test_a_worker_takes_what_was_handed_out_and_refuses_another_source(tmp_path: Path) -> None:
    path = _write(tmp_path, "thing = 1\n")
    give("mine_alone.py:thing", tmp_path)
    handed = handed_out()
    references._given.clear()
    del sys.modules["mine_alone"]
    take_in(handed)
    assert resolve("mine_alone.py:thing") == 1

    references._given.clear()
    path.write_text("thing = 2\n")
    with pytest.raises(CodeReferenceError, match="has changed"):
        take_in(handed)


def test_a_worker_finds_a_package_where_its_coordinator_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "hers_alone").mkdir(parents=True)
    _write(tmp_path / "mine" / "hers_alone", "thing = 1\n", "inside.py")
    monkeypatch.chdir(tmp_path)
    with only_here():
        give("hers_alone.inside:thing", Path("mine"))
        handed = handed_out()
    assert not {"hers_alone", "hers_alone.inside"} & sys.modules.keys()
    take_in(handed)
    assert resolve("hers_alone.inside:thing") == 1


@pytest.mark.parametrize("written", ["mine/mine_alone.py:thing", "mine_alone.py:thing", "../x/mine_alone.py:thing"])
def test_a_file_is_known_by_its_own_name_wherever_it_is_named_from(tmp_path: Path, written: str) -> None:
    (tmp_path / "mine").mkdir()
    _write(tmp_path / "mine", "thing = 1\n")
    give("mine/mine_alone.py:thing", tmp_path)
    assert given(written) == 1
    assert given("mine_alone.py:other") is None


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _write(tmp_path / folder, "thing = 1\n")
    give("a/mine_alone.py:thing", tmp_path)
    with pytest.raises(CodeReferenceError, match="is in two files"):
        give("b/mine_alone.py:thing", tmp_path)


@pytest.mark.parametrize("reference", ["mine_alone.py:thing", "mine_alone:thing"])
def test_what_is_hashed_is_what_runs(tmp_path: Path, reference: str) -> None:
    path = _write(tmp_path, "thing = 1\n")
    first = give(reference, tmp_path)
    # As long, and within the same second: bytecode in a cache would pass for the file (of a package it may).
    path.write_text("thing = 2\n" if ".py" in reference else "thing = 1 + 1\n")
    second = give(reference, tmp_path)
    assert resolve(reference) == 2
    assert first.source != second.source


def test_modules_beside_a_file_take_no_name_of_pythons_own(tmp_path: Path) -> None:
    _write(tmp_path, "raise SystemExit('shadowed')\n", "colorsys.py")
    _write(tmp_path, "import colorsys\nthing = colorsys.rgb_to_hsv\n")
    give("mine_alone.py:thing", tmp_path)
    assert resolve("mine_alone.py:thing")(0, 0, 0) == (0, 0, 0)


def test_a_command_forgets_what_it_was_given(tmp_path: Path) -> None:
    _write(tmp_path, "thing = 1\n")
    with only_here():
        give("mine_alone.py:thing", tmp_path)
        with only_here():
            assert given("mine_alone.py:thing") is None
        assert given("mine_alone.py:thing") == 1
    assert given("mine_alone.py:thing") is None


def test_only_what_was_given_and_is_named_has_a_source(tmp_path: Path) -> None:
    _write(tmp_path, "thing = 1\nother = 2\n")
    one = give("mine_alone.py:thing", tmp_path)
    give("mine_alone.py:other", tmp_path)
    candidate = {"architecture": {"family": "mine_alone.py:thing"}, "teacher": ["not_given.py:x", "plain"]}
    assert named_in(candidate) == ["mine_alone.py:thing", "not_given.py:x"]
    assert sources(candidate) == {"mine_alone.py:thing": one.source}
    assert set(sources()) == {"mine_alone.py:thing", "mine_alone.py:other"}


@pytest.mark.parametrize(
    "word",
    ["residual", "folder:/data", "a.py:b c", "a.py:b\n", ":b", "a.py:", f"{'a' * 400}.py:b", "https://a.b/c.py"],
)
def test_other_words_are_no_references(word: str) -> None:
    assert not is_reference(word)
    assert given(word) is None


@pytest.mark.parametrize("word", ["<b>.py:x", "=1+1.py:x", "-x.py:y", "a.py:<b>", "`a`.py:b", "[a](b).py:c"])
def test_references_are_plain_where_they_are_shown(word: str) -> None:
    assert not is_reference(word)


def _with_a_package(folder: Path) -> Path:
    """Her folder: a file that imports a module of her package, which imports another one in a function."""
    (folder / "models_of_hers").mkdir()
    _write(folder / "models_of_hers", "", "__init__.py")
    _write(folder / "models_of_hers", "from . import layers\nvalue = 7\n", "small.py")
    _write(folder / "models_of_hers", "def f():\n    import helps_mine\n    return helps_mine.x\n", "layers.py")
    _write(folder, "x = 1\n", "helps_mine.py")
    _write(folder, "x = 1\n", "not_imported.py")
    return _write(folder, "import json\nfrom models_of_hers.small import value as thing\n")


def test_the_modules_of_hers_that_a_file_imports_are_hashed_by_their_names(tmp_path: Path) -> None:
    _with_a_package(tmp_path)
    give("mine_alone.py:thing", tmp_path)
    hers = ["helps_mine.py", *(f"models_of_hers/{name}.py" for name in ("__init__", "layers", "small"))]
    assert list(sources()) == ["mine_alone.py:thing", *(f"{path} of mine_alone.py" for path in hers)]
    assert sources(["mine_alone.py:thing"]) == sources()
    assert sources(["other.py:thing"]) == {}


@pytest.mark.parametrize("changed", ["helps_mine.py", "models_of_hers/layers.py", "mine_alone.py"])
def test_a_worker_refuses_a_module_of_hers_that_has_changed(tmp_path: Path, changed: str) -> None:
    _with_a_package(tmp_path)
    give("mine_alone.py:thing", tmp_path)
    handed, before = handed_out(), sources()
    (tmp_path / changed).write_text((tmp_path / changed).read_text() + "# another\n")
    with only_here(), pytest.raises(CodeReferenceError, match=f"{changed} has changed"):
        take_in(handed)
    with only_here():
        give("mine_alone.py:thing", tmp_path)
        different = {name for name, source in sources().items() if before[name] != source}
    assert different == {"mine_alone.py:thing" if changed == "mine_alone.py" else f"{changed} of mine_alone.py"}


def test_a_module_of_hers_runs_as_it_is_written(tmp_path: Path) -> None:
    """Also where it was changed within a second, which a cache of bytecode does not notice."""
    package = tmp_path / "models_of_hers"
    _with_a_package(tmp_path)
    for value in (7, 8):
        (package / "small.py").write_text(f"from . import layers\nvalue = {value}\n")
        with only_here():
            give("mine_alone.py:thing", tmp_path)
            assert resolve("mine_alone.py:thing") == value
