"""Setting up: what pyproject.toml asks for, and what `make` does where uv works, fails, or is told where to look."""

from __future__ import annotations

import ast
import doctest
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
OPTIONAL = [Requirement(line) for lines in EXTRAS.values() for line in lines if not line.startswith("slimfront[")]
FOLDERS = ("spaces", "models", "evaluators", "studies", "search")

sys.path.insert(0, str(ROOT / "tools"))
import install  # noqa: E402


@pytest.mark.parametrize("requirement", [*NEEDED, *OPTIONAL], ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_lower_bound_and_hardly_any_a_cap(requirement: Requirement) -> None:
    operators = sorted(specifier.operator for specifier in requirement.specifier)
    assert operators == (["<", ">="] if requirement.name in ("optuna", "torch") else [">="])


@pytest.mark.parametrize("requirement", NEEDED, ids=lambda requirement: requirement.name)
def test_these_tests_run_with_versions_within_the_bounds(requirement: Requirement) -> None:
    assert importlib.metadata.version(requirement.name) in requirement.specifier


def test_every_package_that_is_imported_is_asked_for() -> None:
    asked = {canonicalize_name(requirement.name) for requirement in [*NEEDED, *OPTIONAL]}
    brought = {"pillow", "sqlalchemy", "markupsafe"}  # by torchvision, optuna and jinja2, which need them
    owners = importlib.metadata.packages_distributions()
    for path in [ROOT / "run_search.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                names.append(node.module)
            for name in (name.split(".")[0] for name in names):
                found = {canonicalize_name(owner) for owner in owners.get(name, [])} - {"slimfront"}
                assert not found or found & (asked | brought), f"{path}: {name} is not in pyproject.toml"


def test_every_file_that_the_code_reads_is_in_the_wheel() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = {
        path
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.removeprefix("slimfront.").replace(".", "/")).glob(pattern)
    }
    listed = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in (ROOT / line for line in listed.splitlines() if not line.endswith(".py")):
        assert path in shipped, f"{path} is not in package-data of pyproject.toml"


def test_examples_of_pip_settings() -> None:
    assert doctest.testmod(install).failed == 0


class SetUp:
    """`make install` into an environment whose Python and uv only note what they are asked for."""

    def __init__(self, folder: Path, uv_fails: bool) -> None:
        self.venv, self.log = folder / "venv", folder / "log"
        (self.venv / "bin").mkdir(parents=True)
        self._script(
            "python", f'case "$1" in *install.py) exec {sys.executable} "$@";; esac\necho "python $*" >>{self.log}'
        )
        note = f'echo "uv $UV_DEFAULT_INDEX $*" >>{self.log}'
        self._script("uv", f"{note}\nexit {int(uv_fails)}")

    def _script(self, name: str, text: str) -> None:
        path = self.venv / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def make(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "MAKE"))}
        environment = kept | {"PIP_CONFIG_FILE": os.devnull} | variables
        command = ["make", f"VENV={self.venv}", *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@needs_make
def test_the_set_up_says_its_size_and_is_done_once(tmp_path: Path) -> None:
    up = SetUp(tmp_path, uv_fails=False)
    done = up.make("install")
    assert done.returncode == 0, done.stderr
    assert "to download" in done.stdout
    assert len(up.asked()) == 1
    assert up.asked()[0].endswith("--editable .")
    assert up.make("install").returncode == 0
    assert len(up.asked()) == 1
    assert up.make("dev").returncode == 0
    assert up.asked()[-1].endswith("--editable .[dev]")


@needs_make
def test_pip_does_it_where_uv_fails(tmp_path: Path) -> None:
    up = SetUp(tmp_path, uv_fails=True)
    done = up.make("install")
    assert done.returncode == 0, done.stderr
    assert "pip" in done.stderr
    assert [line.split()[0] for line in up.asked()] == ["uv", "python"]
    assert up.asked()[1] == "python -m pip install --disable-pip-version-check --editable ."
    assert up.make("install").returncode == 0
    assert len(up.asked()) == 2


@needs_make
def test_uv_looks_where_pip_was_told_to_look(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    up = SetUp(tmp_path, uv_fails=False)
    assert up.make("install", PIP_INDEX_URL="http://127.0.0.1:9/simple").returncode == 0
    assert up.asked()[-1].startswith("uv http://127.0.0.1:9/simple pip install")
    own = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/other"}
    assert up.make("dev", **own).returncode == 0
    assert up.asked()[-1].startswith("uv http://127.0.0.1:9/other pip install")


@needs_make
@pytest.mark.parametrize(
    ("build", "words"), [("cpu", "--torch-backend cpu"), ("http://127.0.0.1:9/cpu", "--index http://127.0.0.1:9/cpu")]
)
def test_another_build_of_torch_comes_first_and_once(tmp_path: Path, build: str, words: str) -> None:
    up = SetUp(tmp_path, uv_fails=False)
    for _ in range(2):
        assert up.make("install", f"TORCH={build}").returncode == 0
    assert ["torch>=" in line for line in up.asked()] == [True, False, False]
    assert words in up.asked()[0]


@needs_make
def test_a_build_that_is_not_there_is_not_replaced_by_another(tmp_path: Path) -> None:
    up = SetUp(tmp_path, uv_fails=True)
    done = up.make("install", "TORCH=cpu")
    assert done.returncode != 0
    assert "TORCH=cpu" in done.stderr
    assert [line.split()[0] for line in up.asked()] == ["uv"]


@needs_make
def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = ["make", f"VENV={tmp_path / 'venv'}", "install", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no-such-python" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_every_package_of_the_tree_is_installed() -> None:
    """A package that the list lacks is missing from a wheel, while a checkout has it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    inside = [path.parent.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    assert set(settings["packages"]) == {"slimfront", *(".".join(("slimfront", *path.parts)) for path in inside)}
    shipped = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    others = {path for path in shipped if path.suffix not in (".py", ".pyc")}
    data = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in (ROOT / Path(*package.split(".")[1:])).glob(pattern)
    }
    assert others == data
