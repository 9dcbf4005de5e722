"""The space: bounds and choices for every field of a candidate, written in TOML, sampled define-by-run.

A domain is written as the value itself (fixed), a list (one of these), or a table with `low`, `high` and optionally
`step` or `log = true` (a number in between). Which parameters a candidate has, and in which order they are chosen, is
in `slimfront.spaces.walk`. Each branch has names of its own ("residual.width.2", "mixup.strength"), because within one
study a name always means the same.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slimfront.spaces.candidate import FAMILIES, GRANULARITIES, UNCOMPRESSED_TEACHER, Candidate, CandidateError, Recipe
from slimfront.spaces.criteria import METHODS, NO_METHOD
from slimfront.spaces.domain import Domain, SpaceError, Trial, Value
from slimfront.spaces.optimizers import DECAYS, OPTIMIZERS
from slimfront.spaces.policies import NO_POLICY, POLICIES
from slimfront.spaces.presets import presets
from slimfront.spaces.references import is_reference
from slimfront.spaces.registry import Registry
from slimfront.spaces.walk import chosen_in, walk

# key -> default as it would be written in TOML; None: has to be given (where the branch is open). Those of the tables
# that a word opens, such as a policy's strength, are its member's (`_members`).
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
    "augmentation.policy": NO_POLICY,
    "pruning.filters.method": NO_METHOD,
    "pruning.filters.ratio": {"low": 0.1, "high": 0.7},
    "pruning.filters.epochs": 0,
    "pruning.weights.method": NO_METHOD,
    "pruning.weights.ratio": {"low": 0.1, "high": 0.9},
    "pruning.weights.epochs": 0,
    "bits.weights": 32,
    "bits.activations": 32,
    "bits.per_stage": False,
    "bits.edges": 8,
    "bits.epochs": 0,
    "recipe.optimizer": Recipe.optimizer,
    "recipe.weight_decay": 5e-4,
    "recipe.momentum": 0.9,
    "recipe.epochs": 20,
    "recipe.batch_size": 128,
    "recipe.warmup": 0.1,
    "recipe.decay": Recipe.decay,
    "recipe.label_smoothing": 0.0,
    "recipe.averaging": 0.0,
    "recipe.distillation": 0.0,
    "recipe.temperature": 4.0,
    "recipe.teacher": "",
}
_OPENED_BY = {  # table -> the key whose word opens a table in it
    "architecture": "architecture.family",
    "augmentation": "augmentation.policy",
    "recipe": "recipe.optimizer",
}
_REGISTRIES: Mapping[str, Registry[Any]] = {"augmentation": POLICIES, "recipe": OPTIMIZERS}  # ... and what it names
_PER_STAGE = {"width", "depth", "stride", "kernel", "expansion", "weights", "activations"}


class Space:
    """Bounds and choices of a search.

    >>> space = Space.from_toml('[architecture.residual]\\nstem_width = [8, 16]\\nstages = 2\\nwidth = 16\\ndepth = 1')
    >>> sorted(space.open_keys)
    ['architecture.residual.stem_width']
    """

    def __init__(self, written: Mapping[str, Any]) -> None:
        """From nested tables as TOML gives them. Raises SpaceError naming the key."""
        given = {key: Domain.parse(key, value) for key, value in _leaves(written)}
        self._words = {table: _named(table, given) for table in _OPENED_BY}
        self._defaults = _DEFAULTS | _members(self._words)
        self._domains = {
            key: Domain.parse(key, default) for key, default in self._defaults.items() if default is not None
        } | given
        for key in given:
            if _base(key) not in self._defaults:
                raise SpaceError(f"{key} is unknown in a space{self._hint(key)}")
        self._check_words()
        self._check_complete()
        for key, domain in self._domains.items():
            for value in domain.extremes:
                kind = _kind(self._defaults[_base(key)])
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
            "recipe.teacher": ("", UNCOMPRESSED_TEACHER, *presets),
        }
        for key, words in allowed.items():
            for word in self._domains[key].extremes:
                if word not in words:
                    raise SpaceError(f"{key} has no {word!r} (known: {', '.join(filter(None, words))}).")
        for key, (registry, words) in _names().items():
            for word in self._domains[key].extremes:
                if word not in words and not is_reference(word):
                    raise SpaceError(f"{key}: {registry.unknown(word, words)}")
        for kind in GRANULARITIES:
            for word in filter(is_reference, self._domains[f"pruning.{kind}.method"].extremes):
                if METHODS[str(word)].granularity != kind:
                    raise SpaceError(f"pruning.{kind}.method: {word} does not remove {kind}.")
        if self._domains["recipe.teacher"] != Domain.parse("", "") and self._domains["recipe.distillation"].most == 0:
            raise SpaceError("recipe.teacher is given, but recipe.distillation is 0: set that above 0 for it to teach.")

    def _check_complete(self) -> None:
        """What has no default has to be given for every family that is open."""
        written = {_base(key) for key in self._domains}
        for family in self._domains["architecture.family"].choices:
            for key, default in self._defaults.items():
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
        wanted: dict[str, Value] = {key: value}
        if table in _OPENED_BY and len(middle) > 1:
            wanted[_OPENED_BY[table]] = self._words[table].get(middle[0], middle[0])
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
            Candidate.from_dict(walk(choose))
        except CandidateError as error:
            raise SpaceError(str(error)) from None

    def _hint(self, key: str) -> str:
        """The end of a sentence about an unknown key: what may have been meant."""
        head, _, last = key.rpartition(".")
        known = self._defaults
        there = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == head}
        elsewhere = sorted(
            (name for name in known if name.endswith(f".{last}")), key=lambda name: not self._opens(name)
        )
        close = difflib.get_close_matches(last, there, 1) or elsewhere
        if close:
            return f"; did you mean {there.get(close[0], close[0])}?"
        return f" (known there: {', '.join(sorted(there))})." if there else "."

    def _opens(self, key: str) -> bool:
        """Whether the table of a key is one that candidates of this space have."""
        table, *middle = key.split(".")
        if table not in _OPENED_BY or len(middle) < 2:
            return True
        return self._words[table].get(middle[0], middle[0]) in self._domains[_OPENED_BY[table]]

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

        return walk(choose)

    def parameters(self, candidate: Candidate) -> dict[str, Value]:
        """The trial parameters that sample to `candidate`: what is enqueued for it.

        Raises SpaceError naming the first key whose domain does not hold the candidate's value.
        """
        asked: dict[str, Value] = {}
        source = chosen_in(candidate)

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

        if Candidate.from_dict(walk(choose)) != candidate:
            raise SpaceError("The candidate has settings that this space cannot express.")
        return asked


def _base(key: str) -> str:
    """Without the number of a stage or layer: "architecture.residual.width.1" -> "architecture.residual.width"."""
    head, _, last = key.rpartition(".")
    return head if last.isdigit() and head.rpartition(".")[2] in _PER_STAGE else key


def _kind(value: object) -> str:
    """What a value, or a key's default, is: "word", "truth value" or "number"."""
    if isinstance(value, bool):
        return "truth value"
    return "word" if isinstance(value, str | list) else "number"


def _names() -> dict[str, tuple[Registry[Any], tuple[str, ...]]]:
    """By key: what its words name, and the words that the product knows."""
    methods = {kind: [method.name for method in METHODS if method.granularity == kind] for kind in GRANULARITIES}
    return {
        "augmentation.policy": (POLICIES, (NO_POLICY, *POLICIES.names)),
        **{f"pruning.{kind}.method": (METHODS, (NO_METHOD, *names)) for kind, names in methods.items()},
        "recipe.optimizer": (OPTIMIZERS, OPTIMIZERS.names),
        "recipe.decay": (DECAYS, DECAYS.names),
    }


def _named(table: str, given: Mapping[str, Domain]) -> dict[str, str]:
    """The name of each table in `table` that a user's own word opens -> the word.

    Raises SpaceError for two words of one name, CodeReferenceError for a word that stands for something else.
    """
    registry, key = _REGISTRIES.get(table), _OPENED_BY[table]
    if registry is None or key not in given:
        return {}
    found: dict[str, str] = {}
    for word in filter(is_reference, given[key].extremes):
        name = registry[str(word)].name
        if name in found:
            raise SpaceError(f"{key}: {found[name]} and {word} are both called {name}; rename one.")
        found[name] = str(word)
    return found


def _members(words: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The keys of the tables that a word opens, with their defaults: of the product's own members, and of `words`."""
    found: dict[str, Any] = {}
    for policy in (*POLICIES, *(POLICIES[word] for word in words["augmentation"].values())):
        found[f"augmentation.{policy.name}.strength"] = policy.strength
    for optimizer in (*OPTIMIZERS, *(OPTIMIZERS[word] for word in words["recipe"].values())):
        found[f"recipe.{optimizer.name}.learning_rate"] = optimizer.learning_rate
    return found


def _leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        is_range = isinstance(value, Mapping) and ("low" in value or "high" in value)
        if isinstance(value, Mapping) and not is_range:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
