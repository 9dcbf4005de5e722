"""A user's own code is imported where the user names it, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slimfront.spaces import references
from slimfront.spaces.references import CodeReferenceError, give, given, handed_out, resolve, sources, take_in


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    before, path, modules = dict(references._given), list(sys.path), set(sys.modules)
    references._given.clear()
    yield
    references._given.clear()
    references._given.update(before)
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
        ("mine_alone.py:thing", "import not_there_at_all\n", "ModuleNotFoundError"),
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
