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

from slimfront.spaces.candidate import GRANULARITIES, UNCOMPRESSED_TEACHER, Candidate, CandidateError, Recipe
from slimfront.spaces.criteria import METHODS, NO_METHOD
from slimfront.spaces.domain import Domain, SpaceError, Trial, Value
from slimfront.spaces.family import FAMILIES, Family
from slimfront.spaces.optimizers import DECAYS, OPTIMIZERS, Optimizer
from slimfront.spaces.policies import NO_POLICY, POLICIES, Policy
from slimfront.spaces.presets import DEFAULT_FAMILY, presets
from slimfront.spaces.references import CodeReferenceError, is_reference
from slimfront.spaces.registry import Registry
from slimfront.spaces.walk import chosen_in, walk

_FAMILY = "architecture.family"

# key -> default as it would be written in TOML, but for the keys of families, policies and optimizers, which say them
# themselves.
_DEFAULTS: dict[str, Any] = {
    _FAMILY: [DEFAULT_FAMILY],
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
_PER_STAGE = {"bits.weights", "bits.activations"}
# table -> key of the words that open a table in it, what they name, and the words that open none
_OPENED: Mapping[str, tuple[str, Registry[Any], tuple[str, ...]]] = {
    "architecture": (_FAMILY, FAMILIES, ()),
    "augmentation": ("augmentation.policy", POLICIES, (NO_POLICY,)),
    "recipe": ("recipe.optimizer", OPTIMIZERS, ()),
}


def known_keys(
    families: Iterable[Family] = FAMILIES,
    policies: Iterable[Policy] = POLICIES,
    optimizers: Iterable[Optimizer] = OPTIMIZERS,
) -> dict[str, Any]:
    """Every key of a space with these members, and its default as it would be written; None: it has to be given."""
    axes = {f"architecture.{family.name}.{key}": axis for family in families for key, axis in family.keys.items()}
    return {
        **{key: axis.default for key, axis in axes.items()},
        **{f"augmentation.{policy.name}.strength": policy.strength for policy in policies},
        **{f"recipe.{optimizer.name}.learning_rate": optimizer.learning_rate for optimizer in optimizers},
        **_DEFAULTS,
    }


class Space:
    """Bounds and choices of a search.

    >>> space = Space.from_toml('[architecture.residual]\\nstem_width = [8, 16]\\nstages = 2\\nwidth = 16\\ndepth = 1')
    >>> sorted(space.open_keys)
    ['architecture.residual.stem_width']
    """

    def __init__(self, written: Mapping[str, Any]) -> None:
        """From nested tables as TOML gives them. Raises SpaceError naming the key."""
        given = {key: Domain.parse(key, value) for key, value in _leaves(written)}
        self._opened = {table: _opened(table, given) for table in _OPENED}  # by the word that opens it
        self._families: list[Family] = list(self._opened["architecture"].values())
        families, policies, optimizers = (
            {member.name: member for member in (*registry, *self._opened[table].values())}.values()
            for table, (_, registry, _) in _OPENED.items()
        )
        self._axes = {f"architecture.{f.name}.{key}": axis for f in families for key, axis in f.keys.items()}
        defaults = known_keys(families, policies, optimizers)
        self._domains = {
            key: Domain.parse(key, default) for key, default in defaults.items() if default is not None
        } | given
        for key in given:
            for table, members in self._opened.items():
                for word, member in members.items():
                    if word != member.name and key.startswith(f"{table}.{word}."):
                        raise SpaceError(f"{key} is unknown: the table of {word} is [space.{table}.{member.name}].")
            if self._base(key) not in defaults:
                raise SpaceError(f"{key} is unknown in a space{self._hint(key, defaults)}")
        self._check_words()
        self._check_complete()
        for key, domain in self._domains.items():
            for value in domain.extremes:
                base = self._base(key)
                kind = self._axes[base].kind if base in self._axes else _kind(defaults[base])
                if _kind(value) != kind:
                    raise SpaceError(f"{key} must be a {kind}, but got {value!r}.")
        self._check_stages(given)
        for key, domain in self._domains.items():
            for value in domain.extremes:
                self._try(key, value)
        self.written = written

    def _check_words(self) -> None:
        """Words that open a branch, or name something, have to be known."""
        teachers = ("", UNCOMPRESSED_TEACHER, *presets)
        for word in self._domains["recipe.teacher"].extremes:
            if word not in teachers:
                raise SpaceError(f"recipe.teacher has no {word!r} (known: {', '.join(filter(None, teachers))}).")
        _named("recipe.decay", self._domains["recipe.decay"], DECAYS, DECAYS.names)
        for kind in GRANULARITIES:
            key = f"pruning.{kind}.method"
            names = [method.name for method in METHODS if method.granularity == kind]
            for word, method in _named(key, self._domains[key], METHODS, (NO_METHOD, *names)).items():
                if method.granularity != kind:
                    raise SpaceError(f"{key}: {word} does not remove {kind}.")
        if self._domains["recipe.teacher"] != Domain.parse("", "") and self._domains["recipe.distillation"].most == 0:
            raise SpaceError("recipe.teacher is given, but recipe.distillation is 0: set that above 0 for it to teach.")

    def _check_complete(self) -> None:
        """What has no default has to be given for every family that is open."""
        written = {self._base(key) for key in self._domains}
        for family in self._families:
            for key, axis in family.keys.items():
                full = f"architecture.{family.name}.{key}"
                if axis.default is None and full not in written:
                    raise SpaceError(f"{full} is missing: the family {family.name} needs it.")

    def _check_stages(self, keys: Iterable[str]) -> None:
        """What is given for one stage has to be of one that networks have: it would be passed over in silence."""
        stages = {family.name: self._most_stages(family) for family in self._families}
        for key in keys:
            base = self._base(key)
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

    def _most_stages(self, family: Family) -> int:
        return int(self._domains[f"architecture.{family.name}.stages"].most) if family.staged else 0

    def _base(self, key: str) -> str:
        """Without the number of a stage: "architecture.residual.width.1" -> "architecture.residual.width"."""
        head, _, last = key.rpartition(".")
        per_stage = head in _PER_STAGE or (head in self._axes and self._axes[head].per_stage)
        return head if last.isdigit() and per_stage else key

    def _try(self, key: str, value: Value) -> None:
        """Raise SpaceError unless there is a candidate with this value: not hours into a search, when it is drawn."""
        table, *middle = key.split(".")
        wanted: dict[str, Value] = {key: value}
        if table in _OPENED and len(middle) > 1:
            wanted[_OPENED[table][0]] = self._opens(table, middle[0])
        elif table == "pruning" and middle[1] != "method":
            wanted[f"pruning.{middle[0]}.method"] = self._domains[f"pruning.{middle[0]}.method"].extremes[-1]
        elif key in ("recipe.teacher", "recipe.temperature"):
            wanted["recipe.distillation"] = self._domains["recipe.distillation"].most
        for parent, chosen in wanted.items():
            if parent != key and chosen not in self._domains[parent]:
                return  # of a branch that is not open

        def choose(asked: str, _name: str) -> Value:
            for one in (asked, self._base(asked)):
                if one in wanted:
                    return wanted[one]
            domain = self.domain(asked)
            return domain.most if asked.endswith(".stages") else domain.extremes[0]

        try:
            Candidate.from_dict(walk(choose))
        except CandidateError as error:
            raise SpaceError(str(error)) from None

    def _opens(self, table: str, name: str) -> str:
        """The word that opens the table of that name; "" where none may be chosen that does."""
        return next((word for word, member in self._opened[table].items() if member.name == name), "")

    def _hint(self, key: str, keys: Iterable[str]) -> str:
        """The end of a sentence about an unknown key: what may have been meant."""
        head, _, last = key.rpartition(".")
        table = key.partition(".")[0]
        there = {known.rpartition(".")[2]: known for known in keys if known.rpartition(".")[0] == head}
        elsewhere = [name for name in keys if name.endswith(f".{last}")]
        opened = [name for name in elsewhere if table in _OPENED and self._opens(table, name.split(".")[1])]
        close = difflib.get_close_matches(last, there, 1) or opened or elsewhere
        if close:
            return f"; did you mean {there.get(close[0], close[0])}?"
        return f" (known there: {', '.join(sorted(there))})." if there else "."

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
        found = self._domains.get(key) or self._domains.get(self._base(key))
        if found is None:
            raise SpaceError(f"{key} is missing: give it, or {self._base(key)} for all stages.")
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


def _opened(table: str, given: Mapping[str, Domain]) -> dict[str, Any]:
    """The members that may be chosen in a table, by the word that chooses them. Raises SpaceError."""
    key, registry, others = _OPENED[table]
    chosen = given.get(key) or Domain.parse(key, _DEFAULTS[key])
    found = _named(key, chosen, registry, (*others, *registry.names))
    names = [member.name for member in found.values()]
    for name in names:
        if names.count(name) > 1:
            raise SpaceError(f"{key}: two are called {name}; rename one.")
    return found


def _named(key: str, chosen: Domain, registry: Registry[Any], known: Iterable[str]) -> dict[str, Any]:
    """The members that a key's words name, by the word; words that name none are left out.

    Raises SpaceError for a word that is neither one of `known` nor a user's own that was given.
    """
    found = {}
    for word in map(str, chosen.extremes):
        if not is_reference(word) and word not in known:
            raise SpaceError(f"{key}: {registry.unknown(word, known)}")
        if is_reference(word) or word in registry:
            try:
                found[word] = registry[word]
            except CodeReferenceError as error:
                raise SpaceError(f"{key}: {error}") from None
    return found


def _kind(value: object) -> str:
    """What a value, or a key's default, is: "word", "truth value" or "number"."""
    if isinstance(value, bool):
        return "truth value"
    return "word" if isinstance(value, str | list) else "number"


def _leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        is_range = isinstance(value, Mapping) and ("low" in value or "high" in value)
        if isinstance(value, Mapping) and not is_range:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
