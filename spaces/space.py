"""The space: bounds and choices for every field of a candidate, written in TOML, sampled define-by-run.

A domain is written as the value itself (fixed), a list (one of these), or a table with `low`, `high` and optionally
`step` or `log = true` (a number in between). A parameter exists only where it means something: a third stage's width
only where there are three stages, a mixup strength only with mixup; and each branch has names of its own
("residual.width.2", "mixup.strength"), because within one study a name always means the same.

Sampling and its inverse are one walk: `sample` asks an Optuna trial at every turn, `parameters` asks a candidate.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slimfront.spaces.candidate import DENSE_TEACHER, FAMILIES, OPTIMIZERS, POLICIES, Candidate, CandidateError
from slimfront.spaces.methods import METHODS, method_name, sparsity
from slimfront.spaces.presets import presets

Value = int | float | str | bool


class SpaceError(ValueError):
    """A space that cannot be, or a candidate outside of it: the text names the key."""


class Trial(Protocol):
    """What a space needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number."""


@dataclass(frozen=True)
class Domain:
    """What one parameter may be: `choices` (a single one: fixed), or a range `low`..`high`."""

    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, key: str, written: object) -> Domain:
        """From TOML. Raises SpaceError naming `key`."""
        if isinstance(written, list):
            if not written:
                raise SpaceError(f"{key} has no choices: give at least one.")
            if len(set(map(repr, written))) < len(written):
                raise SpaceError(f"{key} names a choice twice: {written}.")
            if not all(isinstance(item, bool | int | float | str) for item in written):
                raise SpaceError(f"{key} must list numbers, words or booleans, but got {written}.")
            return cls(choices=tuple(written))
        if isinstance(written, Mapping):
            return cls._parse_range(key, written)
        if isinstance(written, bool | int | float | str):
            return cls(choices=(written,))
        raise SpaceError(f"{key} must be a value, a list or a table with low and high, but got {written!r}.")

    @classmethod
    def _parse_range(cls, key: str, written: Mapping[str, Any]) -> Domain:
        unknown = set(written) - {"low", "high", "step", "log"}
        if unknown:
            raise SpaceError(f"{key}.{min(unknown)} is unknown: a range has low, high, step, log.")
        for name in ("low", "high"):
            value = written.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SpaceError(f"{key}.{name} must be a number, but got {value!r}.")
        low, high, step = written["low"], written["high"], written.get("step")
        log = written.get("log", False)
        if low > high:
            raise SpaceError(f"{key} has its bounds reversed: low {low} is above high {high}.")
        if not isinstance(log, bool):
            raise SpaceError(f"{key}.log must be true or false, but got {log!r}.")
        if log and low <= 0:
            raise SpaceError(f"{key}.low must be above 0 on a log scale, but got {low}.")
        if step is not None and (isinstance(step, bool) or not isinstance(step, int | float) or step <= 0):
            raise SpaceError(f"{key}.step must be a number above 0, but got {step!r}.")
        if step is not None and log:
            raise SpaceError(f"{key} cannot have both step and log.")
        whole = all(isinstance(item, int) for item in (low, high) + (() if step is None else (step,)))
        return cls(low=low, high=high, step=step, log=log, whole=whole)

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.choices) == 1

    def suggest(self, trial: Trial, name: str) -> Value:
        """Let `trial` choose."""
        if self.fixed:
            return self.choices[0]
        if self.choices:
            return trial.suggest_categorical(name, self.choices)  # type: ignore[no-any-return]
        if self.whole:
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def __contains__(self, value: object) -> bool:
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices) or (
                isinstance(value, int | float) and not isinstance(value, bool) and value in self.choices
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return (not self.whole or value == int(value)) and abs(steps - round(steps)) < 1e-9

    @property
    def extremes(self) -> tuple[Value, ...]:
        """All choices; of a range both ends."""
        if self.choices:
            return self.choices
        ends = (self.low, self.high)
        return tuple(int(end) for end in ends) if self.whole else ends

    @property
    def most(self) -> Value:
        """The largest number; of words the last."""
        numbers = [item for item in self.extremes if isinstance(item, int | float) and not isinstance(item, bool)]
        return max(numbers, default=self.extremes[-1])


Choose = Callable[[str, str], Any]
"""(key of the domain, name of the parameter) -> value"""

# key -> default as it would be written in TOML; None: has to be given (where the branch is open).
_DEFAULTS: dict[str, Any] = {
    "architecture.family": ["residual"],
    **{
        f"architecture.{family}.{key}": value
        for family in ("residual", "inverted", "dense")
        for key, value in {
            "stem_width": None,
            "stem_stride": 1,
            "stages": None,
            "width": None,
            "depth": None,
            "stride": 2,
            "first_stride": 1,
            "head_width": 0,
        }.items()
    },
    "architecture.residual.shortcut": "padding",
    "architecture.inverted.kernel": 3,
    "architecture.inverted.expansion": 4,
    "architecture.dense.compression": 0.5,
    "augmentation.flip": True,
    "augmentation.crop": 4,
    "augmentation.policy": "none",
    **{f"augmentation.{policy}.strength": 0.5 for policy in POLICIES if policy != "none"},
    "pruning.filters.method": "none",
    "pruning.filters.ratio": {"low": 0.1, "high": 0.7},
    "pruning.filters.epochs": 0,
    "pruning.weights.method": "none",
    "pruning.weights.ratio": {"low": 0.1, "high": 0.9},
    "pruning.weights.epochs": 0,
    "bits.weights": 32,
    "bits.activations": 32,
    "bits.per_stage": False,
    "bits.edges": 8,
    "bits.epochs": 0,
    "recipe.optimizer": "sgd",
    "recipe.sgd.learning_rate": 0.1,
    "recipe.adamw.learning_rate": 0.002,
    "recipe.muon.learning_rate": 0.02,
    "recipe.weight_decay": 5e-4,
    "recipe.momentum": 0.9,
    "recipe.epochs": 20,
    "recipe.batch_size": 128,
    "recipe.warmup": 0.1,
    "recipe.decay": "cosine",
    "recipe.label_smoothing": 0.0,
    "recipe.averaging": 0.0,
    "recipe.distillation": 0.0,
    "recipe.temperature": 4.0,
    "recipe.teacher": "",
}
_PER_STAGE = {"width", "depth", "stride", "kernel", "expansion", "weights", "activations"}


class Space:
    """Bounds and choices of a search.

    >>> space = Space.from_toml('[architecture.residual]\\nstem_width = [8, 16]\\nstages = 2\\nwidth = 16\\ndepth = 1')
    >>> sorted(space.open_keys)
    ['architecture.residual.stem_width']
    """

    def __init__(self, written: Mapping[str, Any]) -> None:
        """From nested tables as TOML gives them. Raises SpaceError naming the key."""
        given = dict(_leaves(written))
        for key in given:
            if _base(key) not in _DEFAULTS:
                raise SpaceError(f"{key} is unknown in a space{_hint(key)}")
        self._domains = {
            key: Domain.parse(key, default) for key, default in _DEFAULTS.items() if default is not None
        } | {key: Domain.parse(key, value) for key, value in given.items()}
        self._check_words()
        self._check_complete()
        for key, domain in self._domains.items():
            for value in domain.extremes:
                kind = _kind(_DEFAULTS[_base(key)])
                if _kind(value) != kind:
                    raise SpaceError(f"{key} must be a {kind}, but got {value!r}.")
        self._check_stages(given)
        for key, domain in self._domains.items():
            for value in domain.extremes:
                self._try(key, value)
        self.written = written

    def _check_words(self) -> None:
        """Words that open a branch, or name something, have to be known."""
        allowed: dict[str, tuple[str, ...]] = {
            "architecture.family": FAMILIES,
            "recipe.optimizer": OPTIMIZERS,
            "augmentation.policy": POLICIES,
            "recipe.teacher": ("", DENSE_TEACHER, *presets),
        }
        for kind in ("filters", "weights"):
            names = (name for name, axes in METHODS.items() if axes["granularity"] == kind)
            allowed[f"pruning.{kind}.method"] = ("none", *names)
        for key, words in allowed.items():
            for word in self._domains[key].extremes:
                if word not in words:
                    raise SpaceError(f"{key} has no {word!r} (known: {', '.join(filter(None, words))}).")
        if self._domains["recipe.teacher"] != Domain.parse("", "") and self._domains["recipe.distillation"].most == 0:
            raise SpaceError("recipe.teacher is given, but recipe.distillation is 0: set that above 0 for it to teach.")

    def _check_complete(self) -> None:
        """What has no default has to be given for every family that is open."""
        written = {_base(key) for key in self._domains}
        for family in self._domains["architecture.family"].choices:
            for key, default in _DEFAULTS.items():
                if key.startswith(f"architecture.{family}.") and default is None and key not in written:
                    raise SpaceError(f"{key} is missing: the family {family} needs it.")

    def _check_stages(self, keys: Iterable[str]) -> None:
        """What is given for one stage has to be of one that networks have: it would be passed over in silence."""
        families = self._domains["architecture.family"].choices
        stages = {str(family): int(self._domains[f"architecture.{family}.stages"].most) for family in families}
        for key in keys:
            base = _base(key)
            table, family = key.split(".")[:2]
            if base == key or (table == "architecture" and family not in stages):
                continue
            stage = int(key.rpartition(".")[2])
            if table == "bits" and True not in self._domains["bits.per_stage"]:
                raise SpaceError(f"{key} is for one stage, but bits.per_stage is false: set that to true.")
            if base.endswith(".stride") and stage == 0:
                named = f"{base.removesuffix('stride')}first_stride"
                raise SpaceError(f"{key} says nothing: the first stage's stride is {named}.")
            most = stages[family] if table == "architecture" else max(stages.values())
            if stage >= most:
                raise SpaceError(f"{key} is of a stage that no network has: there are at most {most}, counted from 0.")

    def _try(self, key: str, value: Value) -> None:
        """Raise SpaceError unless there is a candidate with this value: not hours into a search, when it is drawn."""
        table, *middle = key.split(".")
        branch = {"architecture": "architecture.family", "augmentation": "augmentation.policy"}.get(table)
        wanted: dict[str, Value] = {key: value}
        if branch is not None and len(middle) > 1:
            wanted[branch] = middle[0]
        elif table == "recipe" and len(middle) > 1:
            wanted["recipe.optimizer"] = middle[0]
        elif table == "pruning" and middle[1] != "method":
            wanted[f"pruning.{middle[0]}.method"] = self._domains[f"pruning.{middle[0]}.method"].extremes[-1]
        elif key in ("recipe.teacher", "recipe.temperature"):
            wanted["recipe.distillation"] = self._domains["recipe.distillation"].most
        for parent, chosen in wanted.items():
            if parent != key and chosen not in self._domains[parent]:
                return  # of a branch that is not open

        def choose(asked: str, _name: str) -> Value:
            for one in (asked, _base(asked)):
                if one in wanted:
                    return wanted[one]
            domain = self.domain(asked)
            return domain.most if asked.endswith(".stages") else domain.extremes[0]

        try:
            Candidate.from_dict(self._walk(choose))
        except CandidateError as error:
            raise SpaceError(str(error)) from None

    @classmethod
    def from_toml(cls, source: str | Path) -> Space:
        """From a TOML file (its table [space], or all of it), or from TOML text."""
        if isinstance(source, Path):
            try:
                text = source.read_text()
            except OSError as error:
                raise SpaceError(f"{source}: {error.strerror}.") from None
        else:
            text = source
        try:
            written = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SpaceError(f"The space is not valid TOML: {error}.") from None
        return cls(written.get("space", written))

    @property
    def open_keys(self) -> dict[str, Domain]:
        """The domains that leave a choice."""
        return {key: domain for key, domain in self._domains.items() if not domain.fixed}

    def domain(self, key: str) -> Domain:
        """The domain of a key; "architecture.residual.width.1" falls back to "architecture.residual.width".

        Raises SpaceError where neither is there.
        """
        found = self._domains.get(key) or self._domains.get(_base(key))
        if found is None:
            raise SpaceError(f"{key} is missing: give it, or {_base(key)} for all stages.")
        return found

    def sample(self, trial: Trial) -> Candidate:
        """Let an Optuna trial choose a candidate."""
        return Candidate.from_dict(self.draw(trial))

    def draw(self, trial: Trial) -> dict[str, Any]:
        """The same as plain dictionaries, which costs a tenth."""

        def choose(key: str, name: str) -> Value:
            return self.domain(key).suggest(trial, name)

        return self._walk(choose)

    def parameters(self, candidate: Candidate) -> dict[str, Value]:
        """The trial parameters that sample to `candidate`: what is enqueued for it.

        Raises SpaceError naming the first key whose domain does not hold the candidate's value.
        """
        asked: dict[str, Value] = {}
        source = _flat(candidate)

        def choose(key: str, name: str) -> Value:
            domain = self.domain(key)
            value: Value = source(key)
            if key == "bits.per_stage" and value not in domain:
                value = True  # equal widths everywhere can be said by stage, too
            if value not in domain:
                raise SpaceError(f"{key} = {value!r} is outside of the space.")
            if not domain.fixed:
                asked[name] = next((choice for choice in domain.choices if choice == value), value)
            return value

        if Candidate.from_dict(self._walk(choose)) != candidate:
            raise SpaceError("The candidate has settings that this space cannot express.")
        return asked

    def _walk(self, choose: Choose) -> dict[str, Any]:
        """Choose everything, in a fixed order; returns the candidate as nested dictionaries."""
        architecture = self._architecture(choose)
        return {
            "architecture": architecture,
            "augmentation": _augmentation(choose),
            "pruning": {kind: _sparsity(choose, kind) for kind in ("filters", "weights")},
            "bits": _bits(choose, stages=len(architecture["widths"])),
            "recipe": _recipe(choose),
        }

    def _architecture(self, choose: Choose) -> dict[str, Any]:
        family = choose("architecture.family", "family")
        base = f"architecture.{family}."

        def one(key: str) -> Any:
            return choose(base + key, f"{family}.{key}")

        result = {key: one(key) for key in ("stem_width", "stem_stride")}
        stages = one("stages")
        result["widths"] = [one(f"width.{i}") for i in range(stages)]
        result["depths"] = [one(f"depth.{i}") for i in range(stages)]
        result["strides"] = [one("first_stride")] + [one(f"stride.{i}") for i in range(1, stages)]
        if family == "residual":
            result["shortcut"] = one("shortcut")
        if family == "inverted":
            result["kernels"] = [one(f"kernel.{i}") for i in range(stages)]
            result["expansions"] = [one(f"expansion.{i}") for i in range(stages)]
        if family == "dense":
            result["compression"] = one("compression")
        return {"family": family, **result, "head_width": one("head_width")}


def _augmentation(choose: Choose) -> dict[str, Any]:
    result = {key: choose(f"augmentation.{key}", f"augmentation.{key}") for key in ("flip", "crop", "policy")}
    policy = result["policy"]
    if policy != "none":
        result["strength"] = choose(f"augmentation.{policy}.strength", f"{policy}.strength")
    return result


def _sparsity(choose: Choose, kind: str) -> dict[str, Any] | None:
    method = choose(f"pruning.{kind}.method", f"pruning.{kind}.method")
    if method == "none":
        return None
    ratio, epochs = (choose(f"pruning.{kind}.{key}", f"pruning.{kind}.{key}") for key in ("ratio", "epochs"))
    return dict(_sparsity_dict(method, ratio, epochs))


@functools.lru_cache(maxsize=1024)
def _sparsity_dict(method: str, ratio: float, epochs: int) -> dict[str, Any]:
    return sparsity(method, ratio, epochs).to_dict()


def _bits(choose: Choose, stages: int) -> dict[str, Any]:
    per_stage = choose("bits.per_stage", "bits.per_stage")
    result: dict[str, Any] = {}
    for kind in ("weights", "activations"):
        names = [f"bits.{kind}.{i}" for i in range(stages)] if per_stage else [f"bits.{kind}"]
        values = [choose(name, name) for name in names]
        result[kind] = values if len(set(values)) > 1 else values[:1]  # one spelling, one digest
    # Stem and classifier stay at least as wide as the rest, and are rounded only where the rest is.
    widest = max(result["weights"] + result["activations"])
    edges = widest if widest > 8 else max(choose("bits.edges", "bits.edges"), widest)
    result |= {"stem": edges, "classifier": edges}
    if widest < 32:
        result["epochs"] = choose("bits.epochs", "bits.epochs")
        result["path"] = [] if result["epochs"] == 0 else _falling(result["weights"])
    return result


def _falling(weights: list[int]) -> list[int]:
    """The widths to pass through on the way down to the lowest of `weights`: 8, 4, 3, 2 as far as they lie above."""
    return [width for width in (8, 4, 3, 2) if width > min(weights)] if min(weights) < 4 else []


def _recipe(choose: Choose) -> dict[str, Any]:
    optimizer = choose("recipe.optimizer", "optimizer")
    result = {"optimizer": optimizer}
    result["learning_rate"] = choose(f"recipe.{optimizer}.learning_rate", f"{optimizer}.learning_rate")
    for key in ("weight_decay", "momentum", "epochs", "batch_size", "warmup", "decay", "label_smoothing", "averaging"):
        result[key] = choose(f"recipe.{key}", key)
    result["distillation"] = choose("recipe.distillation", "distillation")
    if result["distillation"] > 0:
        result["teacher"] = choose("recipe.teacher", "teacher")
        result["temperature"] = choose("recipe.temperature", "temperature")
    return result


def _flat(candidate: Candidate) -> Callable[[str], Any]:
    """The inverse of `_walk`: gives the value that the walk would have had to choose for a key."""
    data = candidate.to_dict()
    architecture, bits = data["architecture"], data["bits"]
    lists = {"width": "widths", "depth": "depths", "stride": "strides", "kernel": "kernels", "expansion": "expansions"}

    def of_architecture(parts: list[str]) -> Any:
        if parts == ["family"]:
            return architecture["family"]
        key = parts[1]
        if key in lists:
            return architecture[lists[key]][int(parts[2])]
        if key == "stages":
            return len(architecture["widths"])
        return architecture["strides"][0] if key == "first_stride" else architecture[key]

    def of_bits(parts: list[str]) -> Any:
        if parts[0] == "per_stage":
            return len(set(bits["weights"])) > 1 or len(set(bits["activations"])) > 1
        if parts[0] == "edges":
            return bits["stem"]
        if parts[0] == "epochs":
            return bits["epochs"]
        values = bits[parts[0]]
        return values[int(parts[1]) % len(values)] if len(parts) > 1 else values[0]

    def source(key: str) -> Any:
        table, *parts = key.split(".")
        if table == "architecture":
            return of_architecture(parts)
        if table == "bits":
            return of_bits(parts)
        if table == "pruning":
            step = getattr(candidate.pruning, parts[0])
            if parts[1] == "method":
                return "none" if step is None else method_name(step)
            return getattr(step, parts[1])
        value = data[table]
        # "recipe.sgd.learning_rate" and "mixup.strength" carry their branch in the middle.
        value = value[parts[-1]]
        return "" if key == "recipe.teacher" and value is None else value

    return source


def _base(key: str) -> str:
    """Without the number of a stage or layer: "architecture.residual.width.1" -> "architecture.residual.width"."""
    head, _, last = key.rpartition(".")
    return head if last.isdigit() and head.rpartition(".")[2] in _PER_STAGE else key


def _kind(value: object) -> str:
    """What a value, or a key's default, is: "word", "truth value" or "number"."""
    if isinstance(value, bool):
        return "truth value"
    return "word" if isinstance(value, str | list) else "number"


def _hint(key: str) -> str:
    """The end of a sentence about an unknown key: what may have been meant."""
    head, _, last = key.rpartition(".")
    there = {known.rpartition(".")[2]: known for known in _DEFAULTS if known.rpartition(".")[0] == head}
    close = difflib.get_close_matches(last, there, 1) or [name for name in _DEFAULTS if name.endswith(f".{last}")]
    if close:
        return f"; did you mean {there.get(close[0], close[0])}?"
    return f" (known there: {', '.join(sorted(there))})." if there else "."


def _leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        is_range = isinstance(value, Mapping) and ("low" in value or "high" in value)
        if isinstance(value, Mapping) and not is_range:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
