"""The space: bounds and choices for every field of a candidate, written in TOML, sampled define-by-run.

A domain is written as the value itself (fixed), a list (one of these), or a table with `low`, `high` and optionally
`step` or `log = true` (a number in between). Which parameters a candidate has, and in which order they are chosen, is
in `slimfront.spaces.walk`. Each branch has names of its own ("residual.width.2", "mixup.strength"), because within one
study a name always means the same.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slimfront.spaces.candidate import Architecture, Candidate, CandidateError
from slimfront.spaces.domain import Domain, Faults, SpaceError, Trial, Value
from slimfront.spaces.walk import chosen_in, walk
from slimfront.spaces.written.checks import Checks
from slimfront.spaces.written.keys import FAMILY, Keys, leaves
from slimfront.spaces.written.keys import known_keys as known_keys


class Space:
    """Bounds and choices of a search.

    >>> space = Space.from_toml('[architecture.residual]\\nstem_width = [8, 16]\\nstages = 2\\nwidth = 16\\ndepth = 1')
    >>> sorted(space.open_keys)
    ['architecture.residual.stem_width']
    """

    def __init__(self, written: Mapping[str, Any]) -> None:
        """From nested tables as TOML gives them. Raises SpaceError with all that is wrong, a line a fault."""
        faults = Faults()
        given = dict(leaves(written))
        self._keys = keys = Keys(given, faults)
        self._domains = {key: Domain.parse(key, value) for key, value in keys.defaults.items() if value is not None}
        self._domains |= keys.words
        for key, value in given.items():
            if key not in keys.words and keys.is_known(key, faults):
                with faults.of(key):
                    self._domains[key] = Domain.parse(key, value)
        Checks(keys, self._domains, faults).run(given)
        faults.check()
        self.written = written

    def largest(self) -> dict[str, Architecture]:
        """By the names of the families, the network with the most of everything that may be chosen."""
        return self._extreme(lambda domain: domain.most)

    def smallest(self) -> dict[str, Architecture]:
        """The same with the least of everything."""
        return self._extreme(lambda domain: domain.least)

    def _extreme(self, of: Callable[[Domain], Value]) -> dict[str, Architecture]:
        families = self._keys.opened["architecture"]
        return {family.name: self._architecture(word, of) for word, family in families.items()}

    def variants(self) -> Iterator[Architecture]:
        """The largest networks, and those that differ from one in one choice: an entry of a list, an end of a range."""
        for word, family in self._keys.opened["architecture"].items():
            yield self._architecture(word, lambda domain: domain.most)
            for key, other in self.open_keys.items():
                for value in other.extremes if key.startswith(f"architecture.{family.name}.") else ():

                    def of(domain: Domain, other: Domain = other, value: Value = value) -> Value:
                        return value if domain is other else domain.most

                    with contextlib.suppress(CandidateError):  # one that cannot be beside the most of all others
                        yield self._architecture(word, of)

    def _architecture(self, word: str, of: Callable[[Domain], Value]) -> Architecture:
        """The network of a family that has the value `of` every domain."""

        def choose(key: str, _name: str) -> Value:
            return word if key == FAMILY else of(self.domain(key))

        return Architecture.from_dict(walk(choose)["architecture"])

    @classmethod
    def from_toml(cls, source: str | Path) -> Space:
        """From a TOML file (its table [space], or all of it), or from TOML text."""
        if isinstance(source, Path):
            try:
                text = source.read_text(encoding="utf-8")
            except OSError as error:
                raise SpaceError(f"{source}: {error.strerror}.") from None
            except UnicodeDecodeError:
                raise SpaceError(f"{source} is not text in UTF-8.") from None
        else:
            text = source
        try:
            written = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
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
        found = self._domains.get(key) or self._domains.get(self._keys.base(key))
        if found is None:
            raise SpaceError(f"{key} is missing: give it, or {self._keys.base(key)} for all stages.")
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
