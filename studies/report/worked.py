"""The score of one network worked out, layer by layer, so that anybody can check it with a pocket calculator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slimfront.studies.analysis.ladder import MACS_UNIT, WEIGHTS_UNIT
from slimfront.studies.report.page import Markup, element, join, number, table
from slimfront.studies.report.story import Network

FORMULA = Markup(
    '<div class="formula"><p><i>score</i> = (1 − (<i>p</i><sub>s</sub> + <i>p</i><sub>u</sub>)) · '
    "<i>q</i><sub>w</sub>/32 · <i>w</i> / 5.6·10<sup>6</sup> &nbsp;+&nbsp; (1 − <i>p</i><sub>s</sub>) · "
    "max(<i>q</i><sub>w</sub>, <i>q</i><sub>a</sub>)/32 · <i>f</i> / 2.8·10<sup>8</sup></p></div>"
)


def terms(layer: Mapping[str, Any]) -> tuple[float, float]:
    """A layer's (params term, ops term): stored weights and multiply-adds at its own bits."""
    weight_bits, activation_bits = int(layer["weight_bits"]), int(layer["activation_bits"])
    stored = int(layer.get("stored_weights", layer["weights"]))
    macs = int(layer["macs"])
    return stored * weight_bits / 32 / WEIGHTS_UNIT, macs * max(weight_bits, activation_bits) / 32 / MACS_UNIT


def worked_score(network: Network) -> Markup | None:
    """The table and the sum of a network; None where its layers were not kept."""
    layers = network.layers
    if not layers:
        return None
    every = [terms(layer) for layer in layers]
    # In millionths: terms of single layers are tiny, and a column of zeros helps nobody.
    rows = [
        (
            layer["name"],
            f"{int(layer.get('stored_weights', layer['weights'])):,}",
            f"{int(layer['macs']):,}",
            f"{layer['weight_bits']} / {layer['activation_bits']}",
            number(1e6 * params, 2),
            number(1e6 * ops, 2),
        )
        for layer, (params, ops) in zip(layers, every, strict=True)
    ]
    params, ops = (sum(values) for values in zip(*every, strict=True))
    total = ("sum", f"{_stored(layers):,}", f"{sum(int(layer['macs']) for layer in layers):,}", "")
    head = (
        "layer",
        "weights stored",
        "multiply-adds",
        "bits w\u00a0/\u00a0a",
        "params term (×10⁻⁶)",
        "ops term (×10⁻⁶)",
    )
    made = table(head, rows, foot=(*total, number(1e6 * params, 2), number(1e6 * ops, 2)))
    return join([made, element("pre", worked_sum(network), class_="sum")])


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
