"""Things by name: families of networks, pruning methods, augmentation policies, optimizers, schedules, samplers, costs.

A member is one object that carries all that is asked of it: its function, its parameters and their ranges, title,
words, paper, colour. The product's own members stand in the files of one package a kind, each in a file of its own; a
new file there is a new member, and nothing else names it. A user's own member is a reference
(`slimfront.spaces.references`): "my_file.py:name" or "package.module:name".

Files of members import torch, and all else that takes seconds, inside of their functions: names and words are asked
for by `--help`, `front` and `report`, which train nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import math
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from slimfront.spaces import references

SHOWN = 100  # characters of an unknown name

_PLAIN = re.compile(r"[a-z][a-z0-9_]{0,49}")


class Member(Protocol):
    """What every member has."""

    @property
    def name(self) -> str:
        """What study files, candidates and commands call it: small letters, digits, underscores.

        A user's own member is called by its reference; its name is that of its table in a study file's space, and
        begins the names of its parameters.
        """


M = TypeVar("M", bound=Member)


class UnknownMemberError(ValueError):
    """A name that no member has: the text names it, the nearest and all known ones."""


class Registry(Generic[M]):
    """The members of one kind, by name."""

    def __init__(
        self,
        kind: str,
        member: type[Any],
        package: str,
        *,
        adapt: Callable[[str, Any], M | None] | None = None,
        adapted: str = "",
    ) -> None:
        """Nothing is imported yet.

        Args:
            kind: What a member is, in the words of an error: "family of networks".
            member: The class of its members.
            package: Where the product's own stand, one or a few a file: every module-level object of that class.
            adapt: (reference, what it names) -> a member, always the same, of what else a user may give; None: it is
                nothing of that.
            adapted: What `adapt` takes, in the words of an error.
        """
        self.kind, self.member, self.package = kind, member, package
        self._adapt, self._adapted = adapt, adapted

    @functools.cached_property
    def own(self) -> Mapping[str, M]:
        """The product's own members, in the order of their files' names."""
        package = importlib.import_module(self.package)
        modules = [
            importlib.import_module(f"{self.package}.{found.name}")
            for found in pkgutil.iter_modules(package.__path__)
            if not found.ispkg
        ]
        members = [item for module in modules for item in vars(module).values() if isinstance(item, self.member)]
        return MappingProxyType({member.name: member for member in members})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the product's own."""
        return tuple(self.own)

    def __iter__(self) -> Iterator[M]:
        return iter(self.own.values())

    def __contains__(self, name: object) -> bool:
        return self.find(name) is not None

    def __getitem__(self, name: str) -> M:
        """The member of that name.

        Raises:
            UnknownMemberError: There is none.
            references.CodeReferenceError: It is a user's own, and the user has not given it to this command.
        """
        if references.is_reference(name):
            return self._checked(name, references.resolve(name))
        found = self.own.get(name)
        if found is None:
            raise UnknownMemberError(self.unknown(name))
        return found

    def find(self, name: object) -> M | None:
        """The member of that name; None where there is none, or where it may not be imported."""
        if not isinstance(name, str):
            return None
        if references.is_reference(name):
            given = references.given(name)
            return None if given is None else self._checked(name, given)
        return self.own.get(name)

    def unknown(self, name: object, allowed: Iterable[str] | None = None) -> str:
        """The sentence about a name that no member has; `allowed` are the words that would do, if not all names."""
        text, known = str(name)[:SHOWN], tuple(self.own if allowed is None else allowed)
        close = difflib.get_close_matches(text, known, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        if (":" in text or text.endswith(".py")) and not references.is_reference(name):
            hint = "code of your own is FILE.py:NAME, with a path of letters, digits, spaces and . _ - / alone; "
        return f"There is no {self.kind} {text!r}: {hint}known are {', '.join(known)}."

    def _checked(self, name: str, found: Any) -> M:
        if not isinstance(found, self.member):
            member = self._adapt(name, found) if self._adapt is not None else None
            if member is None:
                other = f" or {self._adapted}" if self._adapted else ""
                raise references.CodeReferenceError(
                    f"{name} is a {type(found).__name__}, but a {self.kind} must be a {self.member.__name__}{other}."
                )
            found = member
        if not isinstance(found.name, str) or not _PLAIN.fullmatch(found.name):
            raise references.CodeReferenceError(f"{name}: its name must be small letters, but is {found.name!r}.")
        if found.name in self.own:
            raise references.CodeReferenceError(f"{name}: {found.name} is a {self.kind} of the product: rename yours.")
        for fault in _faults(found):
            raise references.CodeReferenceError(f"{name}: {fault}.")
        return found  # type: ignore[no-any-return]


def _faults(member: Any) -> Iterator[str]:
    """What stands in a member's fields that is of another type than the field says, as far as that is a plain one.

    Nothing else looks at them: words that are none would end a report, and a number that is none a night's search.
    """
    for field in dataclasses.fields(member) if dataclasses.is_dataclass(member) else ():
        value, wanted = getattr(member, field.name), str(field.type)
        if wanted.startswith("Callable["):
            right, allowed = callable(value) or ("| None" in wanted and value is None), "a function"
        elif wanted not in _PLAIN_TYPES:
            continue
        else:
            kinds, allowed = _PLAIN_TYPES[wanted]
            right = isinstance(value, kinds) and (wanted == "bool" or not isinstance(value, bool))
            right = right and not (isinstance(value, float) and not math.isfinite(value))
            right = right and not (isinstance(value, str) and not value.isprintable())
        if not right:
            yield f"its {field.name} must be {allowed}, but is {str(value)[:SHOWN]!r}"


_PLAIN_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "text of one line"),
    "float": ((int, float), "a finite number"),
    "int": (int, "a whole number"),
    "bool": (bool, "True or False"),
}
