"""Whether a study is slimfront's, and what it was begun with.

A storage may hold studies of other programs. Two values a trial are not enough to tell: they would be read as accuracy
and score whatever they are. A study is ours if it says so itself, by the names of its objectives, which are written
before its first trial, or by its settings (its user attribute "identity"), which are written next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.study import Study, StudyDirection

from studies.errors import StudyError

DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
METRIC_NAMES = ("accuracy (share of validation images)", "score (1.99 = ResNet-18 in half precision)")
DEFAULT_BAR = 0.9

_IDENTITY = "identity"  # the user attribute with the settings that must not change within a study
_LONGEST = 60  # characters of a name in an error
_ALWAYS = ("dataset", "bar", "seed", "space")  # what every version has written there


def identity_of(study: Study) -> Mapping[str, Any]:
    """What a study was begun with: `Settings.identity` and the data's digest; empty before that is written."""
    written = study.user_attrs.get(_IDENTITY)
    return written if isinstance(written, Mapping) else {}


def bar_of(study: Study, given: float | None = None) -> float:
    """The accuracy that a front demands, a share in (0, 1]: the one given as --bar, else the study's, else DEFAULT_BAR.

    Raises:
        StudyError: It is no such share.
    """
    bar = identity_of(study).get("bar", DEFAULT_BAR) if given is None else given
    if isinstance(bar, bool) or not isinstance(bar, int | float) or not 0 < bar <= 1:
        whose = f"The bar of study {study.study_name!r}" if given is None else "--bar"
        raise StudyError(f"{whose} must be a share in (0, 1], such as 0.9, but got {bar!r}.")
    return float(bar)


def refuse_foreign(study: Study, remedy: str) -> None:
    """Accept slimfront's studies, and an empty one that has its directions and says nothing else: one of ours looks so
    if its search was killed while it was created.

    Args:
        study: The study.
        remedy: What to do instead, the end of the error's sentence.

    Raises:
        StudyError: Another program made the study; says by what that can be seen.
    """
    what = _foreign(study)
    if what is not None:
        raise StudyError(f"Study {study.study_name!r} is not slimfront's: {what}; {remedy}.")


def _foreign(study: Study) -> str | None:
    """What tells a study from slimfront's; None: nothing does."""
    if tuple(study.directions) != DIRECTIONS:
        found, ours = (" and ".join(d.name.lower() for d in some) for some in (study.directions, DIRECTIONS))
        return f"it has other objectives ({found}, not {ours})"
    names = study.metric_names
    if names == list(METRIC_NAMES) or all(key in identity_of(study) for key in _ALWAYS):
        return None
    if names is not None:
        written: Any = names  # by another program: it may be anything
        shown = [repr(name)[:_LONGEST] for name in (written if isinstance(written, list) else [written])]
        return f"its objectives are {' and '.join(shown)}, not accuracy and score"
    count = study._storage.get_n_trials(study._study_id)
    if count:
        trials = "its trial has" if count == 1 else f"its {count} trials have"
        return f"{trials} two values that nothing says to be accuracy and score"
    return None
