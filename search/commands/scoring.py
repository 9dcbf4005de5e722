"""What `score` does, and how every command reads a candidate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimfront.search.commands.next_steps import command, free, say_next
from slimfront.search.commands.tables import layer_table
from slimfront.search.terminal import Console
from slimfront.spaces import Candidate, CandidateError, Pruning, presets, references
from slimfront.spaces.candidate import BIT_WIDTHS
from slimfront.studies.foreign.files import read_small

LARGEST_CANDIDATE = 2**20  # bytes of a candidate's JSON file
LARGEST_SIDE, MOST_CLASSES = 4096, 100_000


def candidate_file(text: str | None) -> Path | None:
    """The file that a candidate is read from; None: it is none, or nothing is given."""
    return None if text is None or text in presets or references.is_reference(text) else Path(text)


def is_of_a_trial(text: str) -> bool:
    """Whether a candidate is named by the digest of a trial's network: a preset, a class and a file come first."""
    from slimfront.studies.analysis.finding import is_digest

    path = candidate_file(text)
    return path is not None and is_digest(text) and not path.is_file()


def read_candidate(
    text: str, storage: str | None = None, name: str | None = None, arguments: Sequence[str] = ()
) -> Candidate:
    """A preset by name, a candidate's JSON file, a network's class of the user's own, or the network of a trial, by the
    first digits of its digest.

    Args:
        text: As typed.
        storage: URL of the storage in which a digest is looked for; None: it is not.
        name: Of the study; None where there is only one.
        arguments: "NAME=VALUE" each: what a class is told.

    Raises:
        CandidateError: It is none of these.
        CodeReferenceError: A class that cannot be imported.
        StudyError: There is no such network in the study.
    """
    if references.is_reference(text):
        from slimfront.search.commands.own_networks import candidate_of

        return candidate_of(text, arguments)
    if arguments:
        raise CandidateError(f"--arg is for a network's class, FILE.py:NAME, but {text!r} is none.")
    if text in presets:
        return presets[text]
    path = Path(text)
    if path.suffix == ".py":
        raise CandidateError(f"{text} is a file of code: say which class in it, such as {text}:MyNet.")
    if not path.is_file():
        if storage is not None and is_of_a_trial(text):
            return _of_a_trial(text, storage, name)
        else_ = "" if storage is None else ", nor the first digits of a digest"
        raise CandidateError(f"{text!r} is neither a preset ({', '.join(presets)}) nor a file{else_}.")
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

    most = count_weights(candidate.architecture, CIFAR10.classes, CIFAR10.shape[0])
    if most > LARGEST_NETWORK:
        raise CandidateError(f"{path}: its network has {most:,} weights; {LARGEST_NETWORK:,} are allowed.")
    return candidate


def _of_a_trial(text: str, storage: str, name: str | None) -> Candidate:
    from slimfront.studies.analysis.finding import find_trial
    from slimfront.studies.errors import StudyError
    from slimfront.studies.store.read_only import open_for_reading
    from slimfront.studies.store.study import find_study, snapshot

    study = snapshot(find_study(open_for_reading(storage), name))
    trial = find_trial(study, text)
    if trial.candidate is None:
        raise StudyError(f"Trial {trial.number} of {study.name} has no record that this version can read.")
    references.check_given(trial.candidate.to_dict())
    return trial.candidate


@dataclass(frozen=True)
class Images:
    """What a network is scored on.

    Attributes:
        shape: (channels, height, width) of an image.
        classes: How many there are.
    """

    shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10


CIFAR10 = Images()
"""What the score is defined on, and presets are meant for."""


def images_of(dataset: str | None, image_size: int | None, written: str | None, classes: int | None) -> Images:
    """What the options say of the images; CIFAR-10's where they say nothing.

    Args:
        dataset: Name of a data set; its files are not needed, but for a folder's names.
        image_size: Side of a folder's pictures.
        written: Channels, height and width: "3x64x64".
        classes: How many.

    Raises:
        CandidateError, DataError: They contradict each other, or say what no network can be built for.
    """
    if dataset is not None:
        if written is not None or classes is not None:
            raise CandidateError("--dataset says what images there are: leave --input and --classes out.")
        from slimfront.evaluators.data.splits import facts_of

        return Images(*facts_of(dataset, image_size))
    if image_size is not None:
        raise CandidateError("--image-size is for --dataset folder:PATH; else give --input, such as 3x64x64.")
    shape = CIFAR10.shape
    if written is not None:
        found = re.fullmatch(r"(\d{1,4})[x,](\d{1,4})[x,](\d{1,4})", written)
        if found is None or not all(1 <= int(side) <= LARGEST_SIDE for side in found.groups()):
            raise CandidateError(f"--input must be channels, height and width, such as 3x32x32, but got {written!r}.")
        shape = int(found[1]), int(found[2]), int(found[3])
    if classes is not None and not 2 <= classes <= MOST_CLASSES:
        raise CandidateError(f"--classes must be in 2..{MOST_CLASSES}, but got {classes}.")
    return Images(shape, CIFAR10.classes if classes is None else classes)


def score_of(
    chosen: Candidate,
    weight_bits: int | None,
    activation_bits: int | None,
    structured: float,
    unstructured: float,
    images: Images = CIFAR10,
) -> dict[str, Any]:
    """What `score` prints: the measured score, and the closed formula beside it. Raises CandidateError."""
    import dataclasses

    from slimfront.evaluators.scoring.expected import expected_score
    from slimfront.evaluators.scoring.score import formula

    given = (weight_bits, weight_bits if activation_bits is None else activation_bits)
    own = (max(chosen.bits.weights), max(chosen.bits.activations))
    bits = (own[0] if given[0] is None else given[0], own[1] if given[1] is None else given[1])
    for option, value in (("--weight-bits", bits[0]), ("--activation-bits", bits[1])):
        if value not in BIT_WIDTHS:
            raise CandidateError(f"{option} must be one of {', '.join(map(str, BIT_WIDTHS))}, but got {value}.")
    overridden = None if given == (None, None) else bits
    measured = expected_score(chosen, images.shape, images.classes, overridden)
    unpruned = measured
    if chosen.pruning != Pruning():
        unpruned = expected_score(dataclasses.replace(chosen, pruning=Pruning()), images.shape, images.classes)
    closed = formula(unpruned.weights, unpruned.macs, structured, unstructured, *bits)
    return {"digest": chosen.digest, **measured.to_dict(), "formula": closed}


def print_score(
    result: dict[str, Any],
    candidate: str,
    arguments: Sequence[str] = (),
    *,
    dataset: str | None = None,
    image_size: int | None = None,
    storage: str | None = None,
    name: str | None = None,
) -> None:
    """The score layer by layer, and what it adds up to; the next command for `candidate`. All others are as typed."""
    console = Console()
    console.print(layer_table(result["layers"]))
    console.print(
        f"{result['parameters']:,} parameters, {result['weights']:,} weights, {result['macs']:,} multiply-adds an image"
    )
    params, ops = result["score_params"], result["score_ops"]
    console.print(f"score {result['score']:.6g} = params term {params:.6g} + ops term {ops:.6g}")
    console.print(f"strict score {result['strict_score']:.6g}; closed formula {result['formula']:.6g}")
    if references.is_reference(candidate):  # a network's class
        given = [word for argument in arguments for word in ("--arg", argument)]
        size = [] if image_size is None else ["--image-size", str(image_size)]
        on = ["--data", dataset or "cifar10", *size]
        say_next(command("compress", candidate, *given, *on, "--weight-bits", "4", "--out", free("mine.slim")))
        return
    place = {"storage": storage, "name": name} if is_of_a_trial(candidate) else {}
    on = [] if dataset is None else ["--dataset", dataset]
    say_next(
        command("sweep", "--candidate", candidate, *on, **place),
        command("retrain", "--candidate", candidate, *on, "--seeds", "5", **place),
    )
