"""What `score` does, and how every command reads a candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from slimfront.search.terminal import Console
from slimfront.spaces import Candidate, CandidateError, Pruning, presets, references
from slimfront.spaces.candidate import BIT_WIDTHS
from slimfront.studies.foreign.files import read_small

LARGEST_CANDIDATE = 2**20  # bytes of a candidate's JSON file
INPUT_SHAPE, CLASSES = (3, 32, 32), 10  # of CIFAR-10, which the score is defined on


def candidate_file(text: str | None) -> Path | None:
    """The file that a candidate is read from; None: it is a preset, or none is given."""
    return None if text is None or text in presets else Path(text)


def read_candidate(text: str) -> Candidate:
    """A preset by name, or a candidate's JSON file. Raises CandidateError."""
    if text in presets:
        return presets[text]
    path = Path(text)
    if not path.is_file():
        raise CandidateError(f"{text!r} is neither a preset ({', '.join(presets)}) nor a file.")
    try:
        written = read_small(path, LARGEST_CANDIDATE)
    except UnicodeDecodeError:
        raise CandidateError(f"{path} is not a text file.") from None
    except OSError as error:
        raise CandidateError(f"{path} is no candidate: {error.strerror or error}.") from None
    try:
        candidate = Candidate.from_json(written)
    except CandidateError as error:
        raise CandidateError(f"{path}: {error}") from None
    references.check_given(candidate.to_dict())
    from slimfront.models.network import LARGEST_NETWORK, count_weights

    most = count_weights(candidate.architecture, CLASSES, INPUT_SHAPE[0])
    if most > LARGEST_NETWORK:
        raise CandidateError(f"{path}: its network has {most:,} weights; {LARGEST_NETWORK:,} are allowed.")
    return candidate


def score_of(
    candidate: str, weight_bits: int | None, activation_bits: int | None, structured: float, unstructured: float
) -> dict[str, Any]:
    """What `score` prints: the measured score on 3x32x32 images and ten classes, and the closed formula beside it."""
    import dataclasses

    from slimfront.evaluators.scoring.expected import expected_score
    from slimfront.evaluators.scoring.score import formula

    chosen = read_candidate(candidate)
    given = (weight_bits, weight_bits if activation_bits is None else activation_bits)
    own = (max(chosen.bits.weights), max(chosen.bits.activations))
    bits = (own[0] if given[0] is None else given[0], own[1] if given[1] is None else given[1])
    for option, value in (("--weight-bits", bits[0]), ("--activation-bits", bits[1])):
        if value not in BIT_WIDTHS:
            raise CandidateError(f"{option} must be one of {', '.join(map(str, BIT_WIDTHS))}, but got {value}.")
    overridden = None if given == (None, None) else bits
    measured = expected_score(chosen, INPUT_SHAPE, CLASSES, overridden)
    unpruned = measured
    if chosen.pruning != Pruning():
        unpruned = expected_score(dataclasses.replace(chosen, pruning=Pruning()), INPUT_SHAPE, CLASSES)
    closed = formula(unpruned.weights, unpruned.macs, structured, unstructured, *bits)
    return {"digest": chosen.digest, **measured.to_dict(), "formula": closed}


def print_score(result: dict[str, Any]) -> None:
    """The score layer by layer, and what it adds up to."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("layer", "kind", "weights", "stored", "MACs", "bits w/a"):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for layer in result["layers"]:
        table.add_row(
            layer["name"],
            layer["kind"],
            f"{layer['weights']:,}",
            f"{layer['stored_weights']:,}",
            f"{layer['macs']:,}",
            f"{layer['weight_bits']}/{layer['activation_bits']}",
        )
    console.print(table)
    console.print(
        f"{result['parameters']:,} parameters, {result['weights']:,} weights, {result['macs']:,} multiply-adds an image"
    )
    params, ops = result["score_params"], result["score_ops"]
    console.print(f"score {result['score']:.6g} = params term {params:.6g} + ops term {ops:.6g}")
    console.print(f"strict score {result['strict_score']:.6g}; closed formula {result['formula']:.6g}")
