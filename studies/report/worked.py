"""The score of one network worked out, layer by layer, so that anybody can check it with a pocket calculator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimfront.studies.analysis.ladder import MACS_UNIT, WEIGHTS_UNIT
from slimfront.studies.report.story import Network


@dataclass(frozen=True)
class Row:
    """A layer, or the sum of all.

    Attributes:
        name: Of the layer.
        stored: Weights that are stored.
        macs: Multiply-adds for one image.
        bits: Of weights and of inputs, "4 / 8".
        params: The params term, in millionths: terms of single layers are tiny, and a column of zeros helps nobody.
        ops: The ops term, in millionths.
    """

    name: str
    stored: int
    macs: int
    bits: str
    params: float
    ops: float


def terms(layer: Mapping[str, Any]) -> tuple[float, float]:
    """A layer's (params term, ops term): stored weights and multiply-adds at its own bits."""
    weight_bits, activation_bits = int(layer["weight_bits"]), int(layer["activation_bits"])
    stored = int(layer.get("stored_weights", layer["weights"]))
    macs = int(layer["macs"])
    return stored * weight_bits / 32 / WEIGHTS_UNIT, macs * max(weight_bits, activation_bits) / 32 / MACS_UNIT


def worked_rows(layers: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each layer, and one for the sum."""
    rows = []
    for layer in layers:
        params, ops = terms(layer)
        bits = f"{layer['weight_bits']} / {layer['activation_bits']}"
        rows.append(Row(str(layer["name"]), _stored([layer]), int(layer["macs"]), bits, 1e6 * params, 1e6 * ops))
    total = Row(
        "sum",
        sum(row.stored for row in rows),
        sum(row.macs for row in rows),
        "",
        sum(row.params for row in rows),
        sum(row.ops for row in rows),
    )
    return [*rows, total]


def _stored(layers: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(layer.get("stored_weights", layer["weights"])) for layer in layers)


def worked_sum(network: Network) -> str:
    """The sum in three lines of plain text; with one width everywhere the formula itself, else the sums of layers."""
    layers = network.layers
    weight_bits = {int(layer["weight_bits"]) for layer in layers}
    widest = {max(int(layer["weight_bits"]), int(layer["activation_bits"])) for layer in layers}
    macs = sum(int(layer["macs"]) for layer in layers)
    every = [terms(layer) for layer in layers]
    params, ops = (sum(values) for values in zip(*every, strict=True))
    stored = _stored(layers)
    if len(weight_bits) == 1:
        left = f"{weight_bits.pop()}/32 × {stored:,} / 5,600,000"
    else:
        bits = sum(int(layer.get("stored_weights", layer["weights"])) * int(layer["weight_bits"]) for layer in layers)
        left = f"{bits:,} bits / 32 / 5,600,000"
    if len(widest) == 1:
        right = f"{widest.pop()}/32 × {macs:,} / 280,000,000"
    else:
        work = sum(
            int(layer["macs"]) * max(int(layer["weight_bits"]), int(layer["activation_bits"])) for layer in layers
        )
        right = f"{work:,} bit-operations / 32 / 280,000,000"
    wide = max(len(left), len(right))
    # One digit more than in the tables, so that the two terms add up to what is written below them.
    lines = [f"params term  {left:<{wide}}  = {params:.8f}", f"ops term     {right:<{wide}}  = {ops:.8f}"]
    return "\n".join([*lines, f"score        {'':<{wide}}  = {params + ops:.8f}"])
