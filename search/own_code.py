"""What a user has brought of her own: code, which may change from day to day, and weights, which may not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slimfront.spaces import Architecture, Candidate, references
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign import values
from slimfront.studies.settings import Settings
from slimfront.studies.store.study import StudyStore, study_lock

CODE = "code"  # the study's attribute: {reference, or module that it imports: hash of its source}
FLAG = "--changed-code"


def check_code(store: StudyStore, settings: Settings, accepted: bool) -> None:
    """Note the sources of the user's own code that a study names, and refuse those that have changed since it began.

    Args:
        store: Of the study.
        settings: Of the study; what else was given to this process is another's.
        accepted: The user knows, and goes on with what the code is now.

    Raises:
        StudyError: One has changed, and it is not accepted.
    """
    now = references.sources(settings.model_dump())
    if not now:
        return
    with study_lock(store):
        kept = values.labels(store.attributes.get(CODE))
        found = changed(kept, now)
        if found and not accepted:
            raise StudyError(
                f"Study {store.name!r} was begun with another {', '.join(found)}: the source has changed since then. "
                f"{FLAG} goes on with it as it is now; or give this one another --name."
            )
        if {**kept, **now} != kept:
            store.attributes.set(CODE, {**kept, **now})


def code_of(candidate: Candidate, settings: Settings) -> dict[str, str]:
    """Hashes of the sources that a trial uses: of its candidate's references, and of those of the whole study.

    Of the whole study is what its settings name beside the space, which is a choice of every trial's own.
    """
    return references.sources(settings.model_dump(exclude={"space"})) | references.sources(candidate.to_dict())


def changed(kept: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """References, and modules that they import, whose source was known and is another one now."""
    return [name for name, source in now.items() if kept.get(name, source) != source]


def check_weights(
    architectures: Iterable[Architecture], path: Path, input_shape: tuple[int, int, int], classes: int
) -> None:
    """Make sure that the weights of a file fit. Raises StartingWeightsError, which names the first that they do not."""
    from slimfront.evaluators.starting import check_fit, read
    from slimfront.models.network import without_memory
    from slimfront.spaces.family import shape

    tensors = read(path)
    for architecture in architectures:
        network = without_memory(architecture, classes, input_shape[0])
        check_fit(network, tensors, path, f"{shape(architecture)} for {classes} classes")


def try_out(settings: Settings, input_shape: tuple[int, int, int], classes: int) -> None:
    """Make sure that the code of the user's own that a study names works on its images, before any long work.

    Of each family and class the largest network, and all else once, on a small network.

    Raises:
        OwnNetworkError: A network cannot be used.
        CodeReferenceError: Something else cannot.
    """
    space = settings.make_space()
    for architecture in space.largest().values():
        _try_network(architecture, input_shape, classes)
    small = next(iter(space.smallest().values()))
    _try_members([settings.space, list(settings.asked)], small, input_shape, classes)


def try_candidate(candidate: Candidate, others: Sequence[str], input_shape: tuple[int, int, int], classes: int) -> None:
    """The same of what one candidate names, and of `others`, by their references."""
    _try_network(candidate.architecture, input_shape, classes)
    _try_members([candidate.to_dict(), list(others)], candidate.architecture, input_shape, classes)


def _try_members(among: object, architecture: Architecture, input_shape: tuple[int, int, int], classes: int) -> None:
    if references.named_in(among):  # torch-pruning takes a moment to import
        from slimfront.evaluators.trying import try_members

        try_members(among, architecture, input_shape, classes)


def _try_network(architecture: Architecture, input_shape: tuple[int, int, int], classes: int) -> None:
    """Make sure that a family or class of the user's own makes a network for these images. Raises OwnNetworkError."""
    if not references.is_reference(architecture.family):
        return
    from slimfront.models import build
    from slimfront.models.own import check_network, check_same_names

    network, again = (build(architecture, classes, input_shape[0], seed=seed) for seed in (0, 1))
    check_network(network, architecture.family, input_shape, classes)
    check_same_names(network, again, architecture.family)
