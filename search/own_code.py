"""What a user has brought of her own: code, which may change from day to day, and weights, which may not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from slimfront.spaces import Candidate, Space, references
from slimfront.spaces.candidate import Architecture
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign import values
from slimfront.studies.settings import Settings
from slimfront.studies.store.study import StudyStore, study_lock

CODE = "code"  # the study's attribute: {reference, or module that it imports: hash of its source}
FLAG = "--changed-code"


def check_code(store: StudyStore, accepted: bool) -> None:
    """Note the sources of what the user has given, and refuse those that have changed since the study began.

    Args:
        store: Of the study.
        accepted: The user knows, and goes on with what the code is now.

    Raises:
        StudyError: One has changed, and it is not accepted.
    """
    now = references.sources()
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

    Of the whole study is what was given beside the space, which is a choice of every trial's own.
    """
    chosen = references.named_in(settings.space)
    whole = [name for name in references.sources() if name not in chosen]
    return references.sources(whole) | references.sources(candidate.to_dict())


def changed(kept: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """References, and modules that they import, whose source was known and is another one now."""
    return [name for name, source in now.items() if kept.get(name, source) != source]


def check_space(space: Space, weights: Mapping[str, Path], input_shape: tuple[int, int, int], classes: int) -> None:
    """Make sure that the classes of the user's own that a space names make networks for these images.

    Before any long work, of each class the largest network; and that all networks can begin with the weights.

    Raises OwnNetworkError, StartingWeightsError.
    """
    check_networks(space.largest().values(), input_shape, classes)
    for path in weights.values():
        check_weights(space.variants(), path, input_shape, classes)


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


def check_networks(architectures: Iterable[Architecture], input_shape: tuple[int, int, int], classes: int) -> None:
    """Make sure that the classes of the user's own make networks for these images. Raises OwnNetworkError."""
    from slimfront.models import build
    from slimfront.models.network import Network
    from slimfront.models.own import check_network, check_same_names

    for architecture in architectures:
        if references.is_reference(architecture.family):
            network, again = (build(architecture, classes, input_shape[0], seed=seed) for seed in (0, 1))
            if not isinstance(network, Network):
                check_network(network, architecture.family, input_shape, classes)
                check_same_names(network, again, architecture.family)
