"""slimfront: searches architecture, pruning and bit-widths together for the cheapest network that clears a bar.

The public names stand in `__all__` and are imported when they are first asked for, because torch takes seconds. All
else is in the packages `slimfront.search`, `slimfront.studies`, `slimfront.evaluators`, `slimfront.models` and
`slimfront.spaces`; each imports only those behind it in this list.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slimfront.evaluators.artifacts.files import load, verify
    from slimfront.evaluators.own_network import compress
    from slimfront.evaluators.scoring.score import formula, score
    from slimfront.models import build
    from slimfront.search.library import FinalNumbers, Front, front, retrain, run
    from slimfront.spaces import Candidate, Space, presets

# In a checkout the five packages stand beside this folder, at the top of the repository; installed, they lie in it.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "search" / "__init__.py").is_file() and (_ROOT / "run_search.py").is_file():
    __path__.append(str(_ROOT))

_PUBLIC = {
    "Candidate": "spaces",
    "FinalNumbers": "search.library",
    "Front": "search.library",
    "Space": "spaces",
    "presets": "spaces",
    "build": "models",
    "compress": "evaluators.own_network",
    "formula": "evaluators.scoring.score",
    "front": "search.library",
    "load": "evaluators.artifacts.files",
    "retrain": "search.library",
    "run": "search.library",
    "score": "evaluators.scoring.score",
    "verify": "evaluators.artifacts.files",
}

__all__ = [
    "Candidate",
    "FinalNumbers",
    "Front",
    "Space",
    "build",
    "compress",
    "formula",
    "front",
    "load",
    "presets",
    "retrain",
    "run",
    "score",
    "verify",
]


def _version() -> str:
    """Of the checkout that this is imported from, or else as it was installed."""
    import importlib.metadata
    import tomllib

    try:
        return str(tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, KeyError, ValueError):
        return importlib.metadata.version("slimfront")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
