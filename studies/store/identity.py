"""Whether a study is slimfront's, and what it was begun with.

A storage may hold studies of other programs. Two values a trial are not enough to tell: they would be read as accuracy
and cost whatever they are. A study is ours if it says so itself, by the names of its objectives, which are written
before its first trial, or by its settings (its user attribute "identity"), which are written next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.study import Study, StudyDirection
from slimfront.evaluators.scoring.cost import COSTS, LARGEST, LONGEST, CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE, SCORE_AXIS
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign import values
from slimfront.studies.store.legible import legible

DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
METRIC_NAMES = ("accuracy (share of validation images)", SCORE_AXIS.metric)
DEFAULT_BAR = 0.9

IDENTITY = "identity"  # the user attribute with the settings that must not change within a study
COST = "cost"  # the user attribute with the words of the cost that the study keeps low
_LONGEST = 60  # characters of a name in an error
_ALWAYS = ("dataset", "bar", "seed", "space")  # what every version has written there


def bar_of(study: str, identity: Mapping[str, Any], given: float | None = None) -> float:
    """The accuracy that a front demands, a share in (0, 1]: the one given as --bar, else the study's, else DEFAULT_BAR.

    Args:
        study: Its name, for the error's text.
        identity: What it was begun with.
        given: On the command line.

    Raises:
        StudyError: It is no such share.
    """
    bar = identity.get("bar", DEFAULT_BAR) if given is None else given
    if isinstance(bar, bool) or not isinstance(bar, int | float) or not 0 < bar <= 1:
        whose = f"The bar of study {study!r}" if given is None else "--bar"
        raise StudyError(f"{whose} must be a share in (0, 1], such as 0.9, but got {bar!r}.")
    return float(bar)


def metric_names(axis: CostAxis) -> list[str]:
    """What Optuna calls the objectives of a study that keeps this cost low."""
    return [METRIC_NAMES[0], axis.metric]


def axis_of(identity: Mapping[str, Any], written: Any = None) -> CostAxis:
    """The cost that a study keeps low, in words; the score where it says nothing else.

    Args:
        identity: What the study was begun with.
        written: Its attribute COST: the words of a user's own, which is not imported for them.
    """
    name = identity.get("cost") or SCORE.name
    if name in COSTS.names:
        return COSTS[name].axis(name)
    words = values.entries(written, _AXIS)
    return CostAxis(**{"title": name, "unit": "", "note": "", "corner": LARGEST, **words, "name": name})


def costs_in(identity: Mapping[str, Any]) -> tuple[str, ...]:
    """What a study keeps low and what it bounds, besides the score, by name."""
    named = dict.fromkeys((identity.get("cost") or SCORE.name, *identity.get("max", ())))
    return tuple(name for name in named if name != SCORE.name)


def plain_identity(written: Any) -> Mapping[str, Any]:
    """What the study's attribute says, as far as it is what slimfront writes."""
    return values.entries(written, _IDENTITY)


def _dataset(value: Any) -> str | None:
    """In full: a folder's path is no shorter for being long."""
    return value if isinstance(value, str) and value.isprintable() else None


def _space(value: Any) -> Any:
    return values.tree(value) if isinstance(value, Mapping) else None


_IDENTITY: Mapping[str, values.Reader] = {
    "dataset": _dataset,
    "image_size": lambda value: values.whole(value, 1, 2**20),
    "bar": values.label,  # which `bar_of` looks at
    "seed": values.seed,
    "space": _space,
    "data": values.text,
    "cost": values.text,
    "max": values.costs,
}
"""By setting, how it is read."""

_AXIS: Mapping[str, values.Reader] = {
    **dict.fromkeys(("title", "unit", "note"), lambda value: (values.text(value) or "")[:LONGEST]),
    "corner": values.cost,
}


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
    identity = plain_identity(study.user_attrs.get(IDENTITY))
    own_names = isinstance(names, list) and names[:1] == [METRIC_NAMES[0]]  # the other one is that of its cost
    if own_names or all(key in identity for key in _ALWAYS):
        return None
    if names is not None:
        written: Any = names  # by another program: it may be anything
        shown = [repr(name)[:_LONGEST] for name in (written if isinstance(written, list) else [written])]
        return f"its objectives are {' and '.join(shown)}, not accuracy and a cost"
    with legible():
        count = len(study.get_trials(deepcopy=False))
    if count:
        trials = "its trial has" if count == 1 else f"its {count} trials have"
        return f"{trials} two values that nothing says to be accuracy and score"
    return None
