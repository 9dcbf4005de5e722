"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table


def layer_table(layers: Iterable[Mapping[str, Any]]) -> Table:
    """A row a layer: what it stores and computes, and at how many bits."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("layer", "kind", "weights", "stored", "MACs", "bits w/a"):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right", overflow="fold")
    for layer in layers:
        numbers = [layer.get(key) for key in ("weights", "stored_weights", "macs")]
        bits = "/".join(str(layer.get(key) or "") for key in ("weight_bits", "activation_bits"))
        shown = ["" if number is None else f"{number:,}" for number in numbers]
        table.add_row(layer.get("name") or "", layer.get("kind") or "", *shown, bits)
    return table
