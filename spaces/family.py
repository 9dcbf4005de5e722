"""A family of networks: one object that carries all that is asked of it, and the registry that finds it.

The product's own stand in `slimfront.models.families`, one a file. A user's own is a reference,
"my_file.py:NAME" (`slimfront.spaces.references`). Nothing else names a family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slimfront.spaces.options import Options
from slimfront.spaces.part import CandidateError, plain_name, require
from slimfront.spaces.registry import Registry

if TYPE_CHECKING:
    from slimfront.spaces.candidate import Architecture

Blocks = tuple[list[list[Any]], int]
"""Modules by stage, and the channels that leave the last one."""

MOST_STAGES = 8


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One choice of a family: a key of its table in a study file's space, and where the value stands in a candidate.

    Attributes:
        key: In `[space.architecture.NAME]`: "kernel".
        field: Of `Architecture`: "kernels"; where that has no such field, an entry of its `options`. "": as the key.
        default: As a study file would write it; None: it has to be given there.
        per_stage: One value a stage: "kernel.1" in a study file, a list in a candidate.
        among: All that it may be: words, truth values or numbers; (): a number from `low` to `high`.
        low: Least number.
        high: Largest number.
        whole: Whether it is a whole number.
        positive: Whether 0 is too little, though `low` is 0.
    """

    key: str
    field: str = ""
    default: Any = None
    per_stage: bool = False
    among: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    whole: bool = True
    positive: bool = False

    @property
    def place(self) -> str:
        """Name of the field, or of the option."""
        return self.field or self.key

    @property
    def kind(self) -> str:
        """What a value is: "word", "truth value" or "number"."""
        first = self.among[0] if self.among else 0
        return "word" if isinstance(first, str) else "truth value" if isinstance(first, bool) else "number"

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        if self.among:
            return "one of " + ", ".join(map(str, self.among))
        if self.whole:
            return f"in {self.low:g}..{self.high:g}"
        return f"in {'(' if self.positive else '['}{self.low:g}, {self.high:g}]"

    @property
    def some(self) -> Any:
        """A value that it may be."""
        if self.among:
            return self.among[0]
        number = self.high if self.positive else self.low
        return int(number) if self.whole else number

    def allows(self, value: Any) -> bool:
        """Whether it may be that."""
        if self.among:
            return any(value == one and type(value) is type(one) for one in self.among)
        right = type(value) is int or (type(value) is float and not self.whole)
        return right and self.low <= value <= self.high and not (self.positive and value == 0)


STEM = (Axis(key="stem_width", low=1, high=4096), Axis(key="stem_stride", default=1, among=(1, 2, 4)))
WIDTH = Axis(key="width", field="widths", per_stage=True, low=1, high=4096)
DEPTH = Axis(key="depth", field="depths", per_stage=True, low=1, high=64)
STRIDE = Axis(key="stride", field="strides", default=2, per_stage=True, among=(1, 2))
HEAD = Axis(key="head_width", default=0, low=0, high=8192)
COMMON = (*STEM, WIDTH, DEPTH, STRIDE, HEAD)
"""What `Architecture` has for every family; the other fields are for those that declare an axis for them."""

SPECIAL: Mapping[str, Any] = {"shortcut": None, "kernels": (), "expansions": (), "compression": 0.0}
"""Fields of `Architecture` for some families, and what they are in the others."""

FIXED_OF_WHOLE: Mapping[str, Any] = {
    "stem_width": 0,
    "stem_stride": 0,
    "widths": [],
    "depths": [],
    "strides": [],
    "head_width": 0,
}
"""Fields of `Architecture` in a network that a user's own class builds whole: they say nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A family of networks. Between stem and head, which all share, it says what a network is.

    Attributes:
        name: Of its table in a study file's space, and the first part of its parameters' names.
        build: Architecture -> the modules of every stage, each (N, C, H, W) -> (N, C', H', W'), and the channels that
            leave the last one; the stem gives the first one `stem_width` channels. Imports torch itself.
        title: Of a report's row.
        words: What its blocks are, in a few words.
        paper: Authors, year and number; "": none.
        axes: Its choices beyond the common ones, in the order in which they are made.
        staged: Whether it has stages of `depths` blocks with `widths` channels; otherwise these lists are empty, and
            all that it is told are its axes.
        widths: What its widths are, in a word, where they are not the channels of the stages.
        told: What tells its networks apart beyond widths and depths, in a few words; None: its own axes' values.
        check: Raises CandidateError for an architecture whose fields do not fit each other; None: there is nothing.
    """

    name: str
    build: Callable[[Architecture], Blocks]
    title: str
    words: str
    paper: str = ""
    axes: tuple[Axis, ...] = ()
    staged: bool = True
    widths: str = ""
    told: Callable[[Architecture], str] | None = None
    check: Callable[[Architecture], None] | None = None

    def __post_init__(self) -> None:
        keys, places = set(self._common), {axis.place for axis in COMMON} | {"family", "options"}
        for axis in self.axes:
            if axis.key in keys or axis.place in places:
                raise ValueError(f"family {self.name}: {axis.key} is an axis already.")
            if axis.per_stage and not self.staged:
                raise ValueError(f"family {self.name}: {axis.key} is per stage, but there are no stages.")
            keys.add(axis.key)
            places.add(axis.place)

    @property
    def keys(self) -> dict[str, Axis]:
        """Its keys in a study file's space: what may be chosen there."""
        return {**self._common, **{axis.key: axis for axis in self.axes}}

    @property
    def _common(self) -> dict[str, Axis]:
        stages = Axis(key="stages", low=1, high=MOST_STAGES)
        first = Axis(key="first_stride", default=1, among=STRIDE.among)
        staged = (stages, WIDTH, DEPTH, STRIDE, first) if self.staged else ()
        return {axis.key: axis for axis in (*STEM, *staged, HEAD)}

    def walk(self, choose: Callable[[str], Any]) -> dict[str, Any]:
        """Choose everything, in a fixed order; the fields of an architecture but `family`."""
        fields: dict[str, Any] = {axis.place: choose(axis.key) for axis in STEM}
        stages = choose("stages") if self.staged else 0
        for axis in (WIDTH, DEPTH):
            fields[axis.place] = [choose(f"{axis.key}.{i}") for i in range(stages)]
        strides = [choose("first_stride" if i == 0 else f"{STRIDE.key}.{i}") for i in range(stages)]
        fields[STRIDE.place] = strides
        options: dict[str, Any] = {}
        for axis in self.axes:
            value = [choose(f"{axis.key}.{i}") for i in range(stages)] if axis.per_stage else choose(axis.key)
            (fields if axis.place in SPECIAL else options)[axis.place] = value
        fields[HEAD.place] = choose(HEAD.key)
        return fields | ({"options": options} if options else {})

    def chosen(self, architecture: Architecture, key: str, stage: int | None) -> Any:
        """The inverse of `walk`: what it would have had to choose for a key, or for a key of one stage."""
        if key == "stages":
            return len(architecture.widths)
        if key == "first_stride":
            return architecture.strides[0]
        value = self.value(architecture, self.keys[key])
        return value if stage is None else value[stage]

    def value(self, architecture: Architecture, axis: Axis) -> Any:
        """What an architecture says of an axis."""
        if axis in self.axes and axis.place not in SPECIAL:
            return architecture.options[axis.place]
        return getattr(architecture, axis.place)

    def fitted(self, options: Options) -> Options:
        """The options with whole numbers as floats where an axis is no whole number, as for other fields.

        Raises CandidateError for one that is missing, and for one that there is not.
        """
        own = {axis.place: axis for axis in self.axes if axis.place not in SPECIAL}
        for name in options:
            if name not in own:
                known = f"known are {', '.join(own)}" if own else "there are none"
                raise CandidateError(f"architecture.options.{name} is unknown in the family {self.name}; {known}.")
        for name in own:
            if name not in options:
                raise CandidateError(f"architecture.options.{name} must be given in the family {self.name}.")
        floats = [axis for axis in own.values() if not axis.among and not axis.whole]
        if not floats:
            return options
        return Options(dict(options) | {axis.place: _as_float(options[axis.place]) for axis in floats})

    def validate(self, architecture: Architecture) -> None:
        """Raise CandidateError unless it is an architecture of this family; its options are `fitted` already."""
        stages = len(architecture.widths)
        _check_stages(architecture, range(1, MOST_STAGES + 1) if self.staged else range(1))
        used = {axis.place for axis in self.axes}
        for name, absent in SPECIAL.items():
            if name not in used:
                value = getattr(architecture, name)
                require(value == absent, f"architecture.{name}", value, f"absent in the family {self.name}")
        for axis in self.axes:
            label = f"architecture.{axis.place}" if axis.place in SPECIAL else f"architecture.options.{axis.place}"
            _check_axis(label, axis, self.value(architecture, axis), stages)
        if self.check is not None:
            self.check(architecture)


def _of_a_class(reference: str, found: Any) -> Family | None:
    """A network's class of a user's own as a family; None: it is none."""
    from slimfront.spaces.own.network_class import as_family, is_network_class

    return as_family(reference, found) if is_network_class(found) else None


FAMILIES: Registry[Family] = Registry(
    "family of networks", Family, "slimfront.models.families", adapt=_of_a_class, adapted="a network's class"
)


def validate_unknown(architecture: Architecture) -> None:
    """Raise CandidateError for an architecture that no family could have.

    Of a user's own family, which may not be imported here: the candidate is shown, and not built.
    """
    if architecture.stem_width == 0:  # a network's class
        for name, absent in FIXED_OF_WHOLE.items():
            value = getattr(architecture, name)
            fixed = tuple(absent) if isinstance(absent, list) else absent
            require(value == fixed, f"architecture.{name}", value, f"{absent} where stem_width is 0")
        return
    _check_stages(architecture, range(MOST_STAGES + 1))
    for name in ("kernels", "expansions"):
        value = getattr(architecture, name)
        require(len(value) <= MOST_STAGES, f"architecture.{name}", value, f"a list of at most {MOST_STAGES}")
    if architecture.shortcut is not None:
        plain_name("architecture.shortcut", architecture.shortcut)


def shape(architecture: Architecture, times: str = "x") -> str:
    """An architecture in a few words: "residual 16-32-64 x 3-3-3"; a network's class as it is called.

    The words of a user's own family are asked for where it was given; it is not imported for them.
    """
    name = architecture.family.rpartition(":")[2]  # of a user's own, without its file
    choices = _own_choices(architecture)
    if architecture.stem_width == 0:  # a network's class
        return f"{name}({', '.join(f'{key}={value}' for key, value in choices.items())})"
    family = FAMILIES.find(architecture.family)
    if family is not None and family.told is not None:
        more = family.told(architecture)
    else:
        more = ", ".join(f"{key} {value}" for key, value in choices.items())
    if not architecture.widths:
        return f"{name} {more}".strip()
    named = name if family is None or not family.widths else f"{name} {family.widths}"
    sizes = f"{joined(architecture.widths)} {times} {joined(architecture.depths)}"
    return ", ".join(filter(None, [f"{named} {sizes}", more]))


def _own_choices(architecture: Architecture) -> dict[str, str]:
    """What a family's own axes were set to, by where the value stands."""
    special = {name: getattr(architecture, name) for name in SPECIAL}
    chosen = {name: value for name, value in special.items() if value != SPECIAL[name]} | dict(architecture.options)
    return {name: joined(value, once=True) for name, value in chosen.items()}


def joined(values: Any, *, once: bool = False) -> str:
    """Values a stage in a few words; with `once` a single one where all are the same.

    >>> joined((16, 32)), joined((3, 3)), joined((3, 3), once=True), joined(0.5), joined(0.123456)
    ('16-32', '3-3', '3', '0.5', '0.123')
    """
    if isinstance(values, float):
        return f"{values:.3g}"
    if not isinstance(values, tuple):
        return str(values)
    return "-".join(map(joined, set(values) if once and len(set(values)) == 1 else values))


def _as_float(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_as_float, value))
    return float(value) if type(value) is int else value


def _check_stages(architecture: Architecture, counts: range) -> None:
    """The fields that all families share."""
    stages = len(architecture.widths)
    among = f"a list of {counts[0]} to {counts[-1]} stages" if len(counts) > 1 else "an empty list: there are no stages"
    require(stages in counts, "architecture.widths", architecture.widths, among)
    for axis in COMMON:
        _check_axis(f"architecture.{axis.place}", axis, getattr(architecture, axis.place), stages)


def _check_axis(label: str, axis: Axis, value: Any, stages: int) -> None:
    for one in _values(label, axis, value, stages):
        require(axis.allows(one), label, value, f"{axis.allowed} each" if axis.per_stage else axis.allowed)


def _values(label: str, axis: Axis, value: Any, stages: int) -> Iterator[Any]:
    if not axis.per_stage:
        yield value
        return
    require(isinstance(value, tuple) and len(value) == stages, label, value, f"a list of {stages}, as many as widths")
    yield from value
