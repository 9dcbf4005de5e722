"""The rules of the house, by the syntax tree: which way imports go, how large a room is, who sees Optuna's inside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slimfront.evaluators.scoring.cost import COSTS
from slimfront.spaces.criteria import CRITERIA, METHODS
from slimfront.spaces.family import FAMILIES
from slimfront.spaces.optimizers import DECAYS, OPTIMIZERS
from slimfront.spaces.policies import POLICIES
from slimfront.spaces.registry import Registry
from slimfront.studies.sampling import SAMPLERS

ROOT = Path(__file__).resolve().parents[1]
DOWNWARDS = ("search", "studies", "evaluators", "models", "spaces")
FILES, LINES, FUNCTIONS, PRIVATE = 15, 400, 15, 5


def _files() -> Iterator[Path]:
    for package in DOWNWARDS:
        yield from sorted((ROOT / package).rglob("*.py"))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
        elif isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)


def test_imports_go_one_way() -> None:
    """search -> studies -> evaluators -> models -> spaces."""
    upwards = []
    for path in _files():
        own = DOWNWARDS.index(path.relative_to(ROOT).parts[0])
        for module, line in _imported(_tree(path)):
            parts = module.split(".")
            if parts[0] == "slimfront" and len(parts) > 1 and DOWNWARDS.index(parts[1]) < own:
                upwards.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not upwards


def test_rooms_are_small() -> None:
    folders = {path.parent for path in _files()}
    crowded = {str(folder): len([path for path in folder.iterdir() if path.is_file()]) for folder in folders}
    assert not {folder: count for folder, count in crowded.items() if count > FILES}
    assert not [path for path in _files() if path.read_text().count("\n") > LINES]


def test_classes_are_small() -> None:
    large = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in _files()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef)
        and sum(isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) for item in node.body) > FUNCTIONS
    ]
    assert not large


def _private_uses(path: Path) -> Iterator[str]:
    """Private parts of Optuna and its dashboard: imports of them, and private attributes of what is not one's own."""
    tree = _tree(path)
    found = list(_imported(tree))
    if not any(module.partition(".")[0] in ("optuna", "optuna_dashboard") for module, _ in found):
        return
    place = str(path.relative_to(ROOT))
    for module, line in found:
        if module.startswith("optuna") and any(part.startswith("_") for part in module.split(".")):
            yield f"{place}:{line} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
            yield from (f"{place}:{node.lineno} imports {item.name}" for item in node.names if item.name[0] == "_")
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            yield from () if own else (f"{place}:{node.lineno} uses {ast.unparse(node)}",)


def test_optuna_is_used_by_its_public_parts() -> None:
    uses = [use for path in _files() for use in _private_uses(path)]
    assert len(uses) <= PRIVATE, uses
    assert len({use.partition(":")[0] for use in uses}) <= 1, uses


REGISTRIES: tuple[Registry[Any], ...] = (FAMILIES, METHODS, CRITERIA, POLICIES, OPTIMIZERS, DECAYS, SAMPLERS, COSTS)
PRESETS = Path("spaces/presets.py")
COLUMNS = {"score", "strict_score"}  # of the score's JSON and of tables, which had these names before they were costs
OTHER_WORDS = {  # (file, word): what it means there
    ("spaces/candidate.py", "gradual"): "a schedule of pruning, which methods combine with other choices",
    ("spaces/candidate.py", "sgd"): "what a recipe that names no optimizer has had from the first digest on",
    ("spaces/candidate.py", "cosine"): "what a recipe that names no decay has had from the first digest on",
    ("spaces/candidate.py", "dense"): "the phase before any compression, in files from the first on",
    ("evaluators/scoring/strict.py", "dense"): "a coding of weights, in artifacts",
    ("evaluators/artifacts/onnx_exported.py", "batch_norm"): "an operation of torch's",
    ("evaluators/artifacts/onnx_exported.py", "linear"): "an operation of torch's",
    ("evaluators/scoring/score.py", "linear"): "a kind of layer, in the score's JSON",
}


def _own_files() -> dict[str, set[Path]]:
    """By name, the files of the members that have it."""
    found: dict[str, set[Path]] = {}
    for registry in REGISTRIES:
        folder = Path(*registry.package.split(".")[1:])
        for member in registry:
            (file,) = [
                path
                for path in (ROOT / folder).glob("*.py")
                if member.name in _words(path) and path.name != "__init__.py"
            ]
            found.setdefault(member.name, set()).add(file.relative_to(ROOT))
    return found


def _words(path: Path) -> set[str]:
    nodes = (node for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant))
    return {node.value for node in nodes if isinstance(node.value, str)}


def test_nothing_else_names_a_member() -> None:
    """No string literal equals a member's name outside of the member's own file and the presets."""
    owners = _own_files()
    found = {
        (str(file), word)
        for path in (*_files(), ROOT / "run_search.py")
        for word in (_words(path) & owners.keys()) - COLUMNS
        if (file := path.relative_to(ROOT)) not in owners[word] | {PRESETS}
    }
    assert found == OTHER_WORDS.keys()


@pytest.mark.parametrize("name", ["Coordinator", "Ledger", "WindowedTPE", "PatientStorage", "StudyStorage"])
def test_what_was_replaced_is_gone(name: str) -> None:
    assert not [path for path in _files() if f"class {name}" in path.read_text()]
