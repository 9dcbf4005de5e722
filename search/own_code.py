"""With which code of the user's own a study was begun: it may change from day to day, and a study must not mix it."""

from __future__ import annotations

from collections.abc import Mapping

from slimfront.spaces import Candidate, Space, references
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign import values
from slimfront.studies.settings import Settings
from slimfront.studies.store.study import StudyStore, study_lock

CODE = "code"  # the study's attribute: {reference: hash of its source}
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
    """Hash of the source of each reference that a trial uses: those of its candidate, and those of the whole study.

    Of the whole study is what its settings name beside the space, which is a choice of every trial's own.
    """
    return references.sources(settings.model_dump(exclude={"space"})) | references.sources(candidate.to_dict())


def changed(kept: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """References whose source was known and is another one now."""
    return [name for name, source in now.items() if kept.get(name, source) != source]


def check_networks(space: Space, input_shape: tuple[int, int, int], classes: int) -> None:
    """Make sure that the classes of the user's own that a space names make networks for these images.

    Before any long work, of each class the largest network. Raises OwnNetworkError.
    """
    from slimfront.models import build
    from slimfront.models.network import Network
    from slimfront.models.own import check_network, check_same_names

    for architecture in space.largest().values():
        if references.is_reference(architecture.family):
            network, again = (build(architecture, classes, input_shape[0], seed=seed) for seed in (0, 1))
            if not isinstance(network, Network):
                check_network(network, architecture.family, input_shape, classes)
                check_same_names(network, again, architecture.family)
