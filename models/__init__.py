"""Networks: families, blocks, building, bit-widths by layer, folding.

The public names are imported when they are first asked for: torch takes seconds, and a family's words need none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if __name__ != "slimfront.models":
    raise ImportError("slimfront's package models is imported as slimfront.models")

if TYPE_CHECKING:
    from slimfront.models.folding import fold_batch_norm
    from slimfront.models.network import Network, build, weight_layers
    from slimfront.models.quantization.precision import assign_bits, layer_bits

_PUBLIC = {
    "Network": "network",
    "assign_bits": "quantization.precision",
    "build": "network",
    "fold_batch_norm": "folding",
    "layer_bits": "quantization.precision",
    "weight_layers": "network",
}

__all__ = ["Network", "assign_bits", "build", "fold_batch_norm", "layer_bits", "weight_layers"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = found
    return found
