"""What `verify` and `export` do with an artifact: check it against its claims, or turn it into ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimfront.search.commands.next_steps import classifying, command, say_next
from slimfront.search.terminal import Console
from slimfront.spaces import references

BATCHES = (1, 64)
LONGEST_NAME = 100  # characters of a class
LARGEST_BATCH = 2**28  # numbers between two layers: a larger batch is not timed


def partly_verified(path: Path) -> dict[str, Any] | None:
    """What of an artifact can be checked whose network's class the user has not given; None: all of it can."""
    from slimfront.evaluators.artifacts.without_code import checked, needs_code

    reference = needs_code(path)
    if reference is None or not references.is_reference(reference) or references.given(reference) is not None:
        return None
    return checked(path, reference)


def print_verified(facts: dict[str, Any]) -> None:
    """One line a fact, then the verdict."""
    console = Console()
    for key in ("bytes", "parameters", "weights", "stored_weights", "macs", "score", "strict_score", "accuracy"):
        value = facts[key]
        shown = "not known" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
        console.print(f"{key.replace('_', ' '):>15}  {shown}", highlight=False)
    for problem in facts["problems"]:
        console.print(f"differs: {problem}", soft_wrap=True, highlight=False)
    if facts.get("unchecked") and not facts["problems"]:
        console.print("what is stored is what the file claims: packing, weights, bits, the score's params term")
        console.print(f"not checked: {', '.join(facts['unchecked'])}: add {facts['needs']}", soft_wrap=True)
        return
    console.print("ok: the file is what it claims to be" if facts["ok"] else "NOT OK: claims and facts differ")
    if facts["ok"]:
        target = Path(facts["artifact"]).with_suffix(".onnx").name
        say_next(command("export", facts["artifact"], "--onnx", target))


def export_file(path: Path, target: Path, *, measure: bool = True) -> dict[str, Any]:
    """Write an artifact as ONNX; its size, and the latency in onnxruntime at one thread.

    Raises:
        OutputError: The target is the artifact, or is named like one.
        ArtifactError, ExportError: No artifact, or a package is missing.
    """
    from dataclasses import asdict

    from slimfront.evaluators import outputs
    from slimfront.evaluators.artifacts.artifact import load
    from slimfront.evaluators.artifacts.onnx_export import export, latency

    outputs.check({"--onnx": target}, {"the artifact": path})
    outputs.check_ending("--onnx", target, (".onnx",), "ONNX")
    artifact = load(path)
    names = class_names_of(artifact.provenance, artifact.classes)
    size = export(artifact.network, target, artifact.input_shape, names)
    batches = [batch for batch in BATCHES if batch == 1 or batch * artifact.activation <= LARGEST_BATCH]
    timed = [asdict(latency(target, artifact.input_shape, batch)) for batch in batches] if measure else []
    return {
        "artifact": str(path),
        "artifact_bytes": artifact.bytes,
        "onnx": str(target),
        "bytes": size,
        "latency": timed,
        "dataset": _dataset_of(artifact.provenance),
    }


def _dataset_of(provenance: Mapping[str, Any]) -> str | None:
    """Name of the data set that a file says its network was trained on."""
    data = provenance.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


def class_names_of(provenance: Mapping[str, Any], classes: int) -> list[str]:
    """What a file calls its classes; nothing where it does not say so, or wrongly."""
    names = provenance.get("class_names")
    right = isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names)
    return [name[:LONGEST_NAME] for name in names or ()] if right else []


def print_exported(facts: dict[str, Any]) -> None:
    """Sizes and latencies."""
    console = Console()
    sizes = f"{facts['onnx']}: {facts['bytes']:,} bytes (artifact {facts['artifact_bytes']:,})"
    console.print(sizes, soft_wrap=True)
    for row in facts["latency"]:
        milliseconds = 1000 * row["seconds_per_image"]
        console.print(f"batch {row['batch']}: {milliseconds:.3f} ms an image, median of {row['runs']} runs, one thread")
    found = classifying(facts["artifact"], facts["dataset"])
    say_next(*found, command("verify", facts["artifact"]))
    if not found:  # no picture of its data lies here as a file
        console.say(f"with pictures of your own: {command('predict', facts['artifact'], 'PICTURES')}")
