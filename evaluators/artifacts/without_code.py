"""What can be said of an artifact whose network's class is not imported: all but what the class itself decides.

Seal, packing, shapes, bits and every number that is stored are checked; the multiply-adds, and with them that part of
the score, are taken as the file claims them, layer by layer, and no image is classified.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from slimfront.evaluators.artifacts import own
from slimfront.evaluators.artifacts.container import ArtifactError, TamperedError, read, unseal
from slimfront.evaluators.artifacts.packing import PackingError, decode, stored_bytes
from slimfront.evaluators.artifacts.structure import Row
from slimfront.evaluators.artifacts.tensors import zero_code
from slimfront.evaluators.scoring.score import REFERENCE_MACS, REFERENCE_WEIGHTS
from slimfront.evaluators.scoring.strict import layer_storage_bits, side_bits
from slimfront.spaces.references import OPTION
from torch import nn

UNCHECKED = ("macs", "score's ops term", "accuracy")


def needs_code(path: Path) -> str | None:
    """The reference of the class that a file's network is made by; None: it needs none, or is no such file."""
    try:
        _, facts = unseal(read(path))
        if facts.get("format") != own.FORMAT or own.table_of(facts)[1] is not None:
            return None
        architecture = facts.get("architecture")
        return (
            str(architecture["family"])[:300] if isinstance(architecture, dict) and "family" in architecture else None
        )
    except ArtifactError:
        return None


def checked(path: Path, reference: str) -> dict[str, Any]:
    """The facts of an artifact as `slimfront.evaluators.artifacts.verify.verify` gives them, and what is not known.

    `ok` is False: what could be checked may be right, but that is not all.
    """
    size = path.stat().st_size
    nothing: dict[str, Any] = dict.fromkeys(("parameters", "weights", "stored_weights", "macs", "score", "accuracy"))
    claims: Mapping[str, Any] = {}
    try:
        arrays, facts = unseal(read(path))
        claims = facts.get("claims") if isinstance(facts.get("claims"), dict) else {}  # type: ignore[assignment]
        table, _ = own.table_of(facts)
        found, problems = _counted(table, arrays, claims)
    except TamperedError as error:
        found, problems = {}, [str(error)]
    return {
        "artifact": str(path),
        "bytes": size,
        **nothing,
        "strict_score": None,
        **found,
        "ok": False,
        "claims": {name: claim for name, claim in claims.items() if not isinstance(claim, list | dict)},
        "problems": problems,
        "unchecked": list(UNCHECKED),
        "needs": f"{OPTION} {reference}",
    }


def _counted(
    table: own.Table, arrays: Mapping[str, Any], claims: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    stream = arrays.get("weights", np.zeros(0, np.uint8))
    start = weights = stored = strict = parameters = params_bits = 0
    widest, problems = 0, []
    for name, shape in table.shapes.items():
        row = Row.from_list(name, table.rows[name], _Shaped(shape))  # type: ignore[arg-type]
        count = 0 if f"{name}.weight" in table.tied else math.prod(shape)
        there = row.stored if count else 0
        length = stored_bytes(count, there, row.weight_bits)
        try:
            part = stream[start : start + length].tobytes()
            decode(part, count, there, row.weight_bits, zero_code(row.weight_bits))
        except PackingError as error:
            problems.append(f"the weights of {name} are not as they are packed: {error}")
        start, weights, stored = start + length, weights + count, stored + there
        params_bits += there * row.weight_bits
        widest = max(widest, row.weight_bits)
        scales = (row.outputs if row.weight_bits <= 8 else 0) + (row.activation_bits <= 8)
        parameters += count + (row.outputs if row.bias else 0) + scales
        strict += layer_storage_bits(
            weights=count,
            stored=there,
            outputs=row.outputs,
            weight_bits=row.weight_bits,
            activation_bits=row.activation_bits,
            bias=row.bias,
        )
    if start != stream.size:
        problems.append(f"its layers take {start:,} bytes, but it has {stream.size:,}.")
    others = (math.prod(shape) for name, shape in table.beside.items() if name not in table.tied)
    beside = 2 * sum(table.norms.values()) + sum(others)
    strict += beside * side_bits(widest)
    macs = sum(entry[0] for entry in table.macs.values())
    ops = sum(entry[0] * max(entry[1:]) for entry in table.macs.values()) / 32 / REFERENCE_MACS
    facts = {
        "parameters": parameters + beside,
        "weights": weights,
        "stored_weights": stored,
        "score": params_bits / 32 / REFERENCE_WEIGHTS + ops,
        "strict_score": strict / 32 / REFERENCE_WEIGHTS + ops,
    }
    for name, fact in {**facts, "macs": macs}.items():
        claim = claims.get(name)
        if isinstance(claim, bool) or not isinstance(claim, int | float) or not math.isclose(claim, fact, rel_tol=1e-9):
            problems.append(f"it claims {name} {claim}, but that is {fact}.")
    return {name: facts[name] for name in ("parameters", "weights", "stored_weights")}, problems


class _Shaped(nn.Module):
    """A layer that is only as large as a file says."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        import torch

        self.weight = torch.empty(shape, device="meta")
