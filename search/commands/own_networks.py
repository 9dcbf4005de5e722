"""What `compress` does, and how every command takes a network's class: by the reference that the user typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimfront.search.commands.next_steps import classifying, command, say_next
from slimfront.search.terminal import Console
from slimfront.spaces import Candidate, CandidateError, references
from slimfront.spaces.own.arguments import parse


def candidate_of(reference: str, arguments: Sequence[str] = ()) -> Candidate:
    """The candidate of a class that the user names on the command line, uncompressed.

    Raises:
        CodeReferenceError: It cannot be imported.
        CandidateError: It does not take such arguments.
    """
    from slimfront.evaluators.own_network import architecture_from
    from slimfront.spaces.family import FAMILIES

    references.give(reference, Path())
    if FAMILIES.find(reference) is None:  # raises for what is neither a family nor a class
        raise CandidateError(f"{reference} is no network.")
    return Candidate(architecture_from(reference, dict(map(parse, arguments))))


@dataclass(frozen=True)
class CompressOptions:
    """What `compress` is told.

    Attributes:
        reference: Of the network's class.
        arguments: "NAME=VALUE" each: what it is told.
        weights: File of its trained weights; None: it begins with fresh ones.
        dataset: Name of the data set.
        data_dir: Where its files are looked for first.
        image_size: Side that a folder's pictures get.
        out: File of the artifact.
        prune: "METHOD:RATIO"; "": nothing is pruned.
        weight_bits: Of the weights.
        activation_bits: Of the inputs; None: as the weights.
        layer_bits: "PATTERN=WEIGHTS/ACTIVATIONS" each.
        epochs: Of fine-tuning.
        learning_rate: Of an uncompressed training; None: the usual one.
        seed: Of everything random.
        device: "auto", "cpu" or "cuda".
    """

    reference: str
    arguments: Sequence[str]
    weights: Path | None
    dataset: str
    data_dir: Path | None
    image_size: int | None
    out: Path
    prune: str
    weight_bits: int
    activation_bits: int | None
    layer_bits: Sequence[str]
    epochs: int
    learning_rate: float | None
    seed: int
    device: str


def compress_file(options: CompressOptions) -> dict[str, Any]:
    """Compress a network of the user's own and write its artifact; says what was gained.

    Everything that can be wrong with what is asked for is refused before the data are read.
    """
    import dataclasses

    from slimfront.evaluators import outputs
    from slimfront.evaluators.artifacts.verify import verify
    from slimfront.evaluators.data.splits import check_name, search_data
    from slimfront.evaluators.own_network import RECIPE, Wishes, compressed
    from slimfront.evaluators.starting import load_into, read
    from slimfront.evaluators.trying import try_members
    from slimfront.models import build
    from slimfront.models.own import Origin, check_same_names
    from slimfront.search.launch import Options, resources
    from slimfront.spaces import Augmentation

    outputs.check({"--out": options.out}, {"the weights": options.weights})
    if options.out.suffix != ".slim":
        raise outputs.OutputError(f"--out {options.out} must end in .slim.")
    architecture = candidate_of(options.reference, options.arguments).architecture
    bits = tuple(_layer_bits(text) for text in options.layer_bits)
    method = references.named_in(options.prune.rpartition(":")[0])
    references.give_all(method, Path())  # named here, and so allowed
    wishes = Wishes(options.prune, options.weight_bits, options.activation_bits, bits, options.epochs)
    compression = wishes.compression()
    recipe = RECIPE
    if options.learning_rate is not None:
        recipe = dataclasses.replace(recipe, learning_rate=options.learning_rate)
    device = resources(Options(storage="", workers=1, device=options.device))[0]
    check_name(options.dataset)
    if options.weights is not None:
        read(options.weights)
    say = Console(stderr=True).say
    data = search_data(options.dataset, data_dir=options.data_dir, image_size=options.image_size, progress=say)
    channels = data.input_shape[0]
    network = build(architecture, data.classes, channels=channels, seed=options.seed)
    check_same_names(network, build(architecture, data.classes, channels=channels, seed=1), options.reference)
    try_members(method, architecture, data.input_shape, data.classes)
    if options.weights is not None:
        load_into(network, options.weights)
    found = compressed(
        network,
        data,
        compression,
        recipe=recipe,
        augmentation=Augmentation(flip=False, crop=0),
        origin=Origin(architecture, data.classes, channels),
        seed=options.seed,
        device=device,
        on_epoch=lambda epoch: say(_told(epoch)),
    )
    size = found.save(options.out)
    problems = verify(options.out).problems
    return {"artifact": str(options.out), "bytes": size, **found.to_dict(), "problems": list(problems)}


def print_compressed(facts: dict[str, Any], dataset: str) -> None:
    """What was gained on that data set, before and after; the next command."""
    console = Console()
    was = facts["before"]
    console.print(f"accuracy {was['accuracy']:.2%} -> {facts['accuracy']:.2%} of the validation images")
    for key in ("weights", "macs", "score", "strict_score"):
        now = facts["stored_weights" if key == "weights" else key]
        shown = (f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in (was[key], now))
        share = f" ({now / was[key]:.1%})" if was[key] else ""
        console.print(f"{key.replace('_', ' ')} {' -> '.join(shown)}{share}", highlight=False)
    for note in (*facts["notes"], *facts["problems"]):
        console.print(note, soft_wrap=True, highlight=False)
    console.print(f"{facts['artifact']}: {facts['bytes']:,} bytes", soft_wrap=True, highlight=False)
    say_next(*classifying(facts["artifact"], dataset), command("verify", facts["artifact"]))


def _told(epoch: Any) -> str:
    words = {"filters": "pruning filters", "weights": "pruning weights", "bits": "quantizing"}
    reached = "" if epoch.accuracy is None else f": {epoch.accuracy:.2%}"
    return f"{words.get(epoch.stage, epoch.stage)}, epoch {epoch.epoch} of {epoch.epochs}{reached}"


def _layer_bits(text: str) -> tuple[str, int, int]:
    """ "features.*=4/8" -> ("features.*", 4, 8). Raises CandidateError."""
    pattern, _, widths = text.rpartition("=")
    weights, _, activations = widths.partition("/")
    if not pattern or not weights.isdecimal() or not (activations or weights).isdecimal():
        raise CandidateError(f"--layer-bits must be PATTERN=WEIGHTS/ACTIVATIONS, but got {text[:100]!r}.")
    return pattern, int(weights), int(activations or weights)
