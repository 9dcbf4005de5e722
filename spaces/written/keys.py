"""The keys of a space: what they are, what they are where nothing is written, which words open which tables."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from slimfront.spaces.candidate import Recipe
from slimfront.spaces.criteria import NO_METHOD
from slimfront.spaces.domain import LONGEST, RANGE, Domain, Faults
from slimfront.spaces.family import FAMILIES, Axis, Family
from slimfront.spaces.optimizers import OPTIMIZERS, Optimizer
from slimfront.spaces.policies import NO_POLICY, POLICIES, Policy
from slimfront.spaces.presets import DEFAULT_FAMILY
from slimfront.spaces.references import CodeReferenceError, is_reference
from slimfront.spaces.registry import Registry

FAMILY = "architecture.family"

# key -> default as it would be written in TOML, but for the keys of families, policies and optimizers, which say them
# themselves.
DEFAULTS: dict[str, Any] = {
    FAMILY: [DEFAULT_FAMILY],
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
    "recipe.starting_weights": "",
}
_PER_STAGE = {"bits.weights", "bits.activations"}
_DEEPEST = 8  # tables in tables; the keys that there are lie in three
# table -> key of the words that open a table in it, what they name, and the words that open none
OPENED: Mapping[str, tuple[str, Registry[Any], tuple[str, ...]]] = {
    "architecture": (FAMILY, FAMILIES, ()),
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
        **DEFAULTS,
    }


class Keys:
    """The keys that a space may have, with the members that it names.

    Attributes:
        words: Domains of the keys whose words open tables.
        opened: By table and by the word that opens a table in it, the members that may be chosen.
        axes: Choices of families, by key.
        defaults: By key, what stands there where nothing is written; None: it has to be given.
    """

    def __init__(self, given: Mapping[str, Any], faults: Faults) -> None:
        """From what is written, by its full keys; what is wrong with words that open tables goes to `faults`."""
        self.words = {key: _words(key, given.get(key, DEFAULTS[key]), faults) for key, _, _ in OPENED.values()}
        self.opened = {table: _opened(table, self.words, faults) for table in OPENED}
        # Tables where code of the user's own could not be had: nobody knows what it calls its table, and what is in it.
        self._unclear = {
            table
            for table, (key, _, _) in OPENED.items()
            if any(is_reference(word) and word not in self.opened[table] for word in self.words[key].extremes)
        }
        families, policies, optimizers = (
            {member.name: member for member in (*registry, *self.opened[table].values())}.values()
            for table, (_, registry, _) in OPENED.items()
        )
        self.axes: dict[str, Axis] = {
            f"architecture.{f.name}.{key}": axis for f in families for key, axis in f.keys.items()
        }
        self.defaults = known_keys(families, policies, optimizers)

    @property
    def families(self) -> list[Family]:
        """Those that may be chosen."""
        return list(self.opened["architecture"].values())

    def is_known(self, key: str, faults: Faults) -> bool:
        """Whether a space has such a key, and every number of its range is one."""
        if self.base(key) in self.defaults:
            return True
        for table, members in self.opened.items():
            for word, member in members.items():
                if word != member.name and key.startswith(f"{table}.{word}."):
                    faults.add(key, f"{key} is unknown: the table of {word} is [space.{table}.{member.name}].")
                    return False
        if key.count(".") > 1 and key.partition(".")[0] in self._unclear:
            faults.add(key)
            return False
        # Sentences are written for as many as are shown: to look for what is meant takes a while.
        faults.add(key, f"{key[:LONGEST]} is unknown in a space{'.' if faults.many else self._hint(key)}")
        return False

    def base(self, key: str) -> str:
        """Without the number of a stage: "architecture.residual.width.1" -> "architecture.residual.width"."""
        head, _, last = key.rpartition(".")
        per_stage = head in _PER_STAGE or (head in self.axes and self.axes[head].per_stage)
        return head if last.isdecimal() and last.isascii() and len(last) < 4 and per_stage else key

    def opens(self, table: str, name: str) -> str:
        """The word that opens the table of that name; "" where none may be chosen that does."""
        return next((word for word, member in self.opened[table].items() if member.name == name), "")

    def _hint(self, key: str) -> str:
        """The end of a sentence about an unknown key: what may have been meant."""
        head, _, last = key[:LONGEST].rpartition(".")
        if any(known.startswith(f"{key}.") for known in self.defaults):
            return f" but as a table: [space.{key}]."
        if head in self.defaults:
            return f": {head} is a value, a list, or a range, which has {', '.join(RANGE)}."
        begins = f"{head}." if head else ""
        inside = (known.removeprefix(begins) for known in self.defaults if known.startswith(begins))
        there = {part: begins + part for part in (known.split(".")[0] for known in inside)}
        elsewhere = [name for name in self.defaults if name.endswith(f".{last}")]
        table = key.partition(".")[0]
        opened = [name for name in elsewhere if table in OPENED and self.opens(table, name.split(".")[1])]
        close = difflib.get_close_matches(last, there, 1) or opened or elsewhere
        close = close or difflib.get_close_matches(key[:LONGEST], self.defaults, 1, cutoff=0.8)
        if close:
            return f"; did you mean {there.get(close[0], close[0])}?"
        return f" (known there: {', '.join(sorted(there))})." if there else "."


def _words(key: str, written: object, faults: Faults) -> Domain:
    """The domain of a key whose words open tables; its default's where it cannot be read."""
    with faults.of(key):
        return Domain.parse(key, written)
    return Domain.parse(key, DEFAULTS[key])


def _opened(table: str, words: Mapping[str, Domain], faults: Faults) -> dict[str, Any]:
    """The members that may be chosen in a table, by the word that chooses them."""
    key, registry, others = OPENED[table]
    found = named(key, words[key], registry, (*others, *registry.names), faults)
    names = [member.name for member in found.values()]
    taken = {part for known in DEFAULTS for part in _names_in(known, table)}
    for word, member in found.items():
        if names.count(member.name) > 1:
            faults.add(key, f"{key}: two are called {member.name}; rename one.")
        if member.name in taken:  # there would be two keys, or two parameters, of one name
            faults.add(key, f"{key}: {word} is called {member.name}, which a space has already; rename it.")
    return found


def _names_in(key: str, table: str) -> tuple[str, ...]:
    """The key's table, and what it is called there where that is `table`."""
    inside, name, *_ = key.split(".")
    return (inside, name) if inside == table else (inside,)


def named(key: str, chosen: Domain, registry: Registry[Any], known: Iterable[str], faults: Faults) -> dict[str, Any]:
    """The members that a key's words name, by the word; words that name none are left out.

    A fault is a word that is neither one of `known` nor a user's own that was given. The nearest is taken for it, so
    that the faults of the table that was meant are found, too.
    """
    found: dict[str, Any] = {}
    for word in map(str, chosen.extremes):
        if not is_reference(word) and word not in known:
            faults.add(key, f"{key}: {registry.unknown(word, known)}")
            meant = difflib.get_close_matches(word[:LONGEST], tuple(known), 1)
            found |= {name: registry[name] for name in meant if name in registry}
        elif is_reference(word) or word in registry:
            try:
                found[word] = registry[word]
            except CodeReferenceError as error:
                faults.add(key, f"{key}: {error}")
    return found


def leaves(tables: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Full keys and what is written there: "recipe.epochs", 20."""
    for key, value in tables.items():
        is_range = isinstance(value, Mapping) and ("low" in value or "high" in value)
        if isinstance(value, Mapping) and not is_range and depth < _DEEPEST:
            yield from leaves(value, f"{prefix}{key}.", depth + 1)
        else:
            yield prefix + key, value
