"""What is wrong with a space: all of it, before a search begins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from slimfront.spaces.candidate import GRANULARITIES, UNCOMPRESSED_TEACHER, Candidate, CandidateError
from slimfront.spaces.criteria import METHODS, NO_METHOD
from slimfront.spaces.domain import MOST_IN_ALL, Domain, Faults, Value, shown
from slimfront.spaces.family import MOST_STAGES, Family
from slimfront.spaces.optimizers import DECAYS
from slimfront.spaces.presets import presets
from slimfront.spaces.walk import walk
from slimfront.spaces.written.keys import OPENED, Keys, named

# Beside what a key is tried, where a default would not ask for it, or not do.
_RIGHT: Mapping[str, Value] = {"bits.weights": 8, "bits.activations": 8, "recipe.teacher": UNCOMPRESSED_TEACHER}


@dataclass(frozen=True)
class Checks:
    """A space that is being looked at.

    Attributes:
        keys: That it may have.
        domains: By key, of all that is written or has a default.
        faults: Where everything goes that is found.
    """

    keys: Keys
    domains: Mapping[str, Domain]
    faults: Faults

    def run(self, given: Iterable[str]) -> None:
        """Look for everything; `given` are the keys that are written."""
        count = sum(len(domain.choices) for domain in self.domains.values())
        if count > MOST_IN_ALL:
            self.faults.add("", f"It has {count:,} choices in all: give at most {MOST_IN_ALL:,}, or low and high.")
            return
        self._check_words()
        self._check_kinds()
        self._check_complete()
        self._check_stages(given)
        self._check_values()

    def _check_words(self) -> None:
        """Words that name something have to be known."""
        teachers = ("", UNCOMPRESSED_TEACHER, *presets)
        for word in self.domains["recipe.teacher"].extremes:
            if word not in teachers:
                close = difflib.get_close_matches(str(word), teachers, 1)
                hint = f"did you mean {close[0]}? " if close else ""
                known = ", ".join(filter(None, teachers))
                self.faults.add("recipe.teacher", f"recipe.teacher has no {shown(word)}: {hint}known are {known}.")
        named("recipe.decay", self.domains["recipe.decay"], DECAYS, DECAYS.names, self.faults)
        for kind in GRANULARITIES:
            key = f"pruning.{kind}.method"
            names = [method.name for method in METHODS if method.granularity == kind]
            for word, method in named(key, self.domains[key], METHODS, (NO_METHOD, *names), self.faults).items():
                if method.granularity != kind:
                    self.faults.add(key, f"{key}: {word} does not remove {kind}.")
        given = self.domains["recipe.teacher"] != Domain.parse("", "")
        if given and self.domains["recipe.distillation"].most == 0:
            text = "recipe.teacher is given, but recipe.distillation is 0: set that above 0 for it to teach."
            self.faults.add("recipe.teacher", text)

    def _check_complete(self) -> None:
        """What has no default has to be given for every family that is open."""
        written = {self.keys.base(key) for key in (*self.domains, *self.faults.keys)}
        for family in self.keys.families:
            for key, axis in family.keys.items():
                full = f"architecture.{family.name}.{key}"
                if axis.default is None and full not in written:
                    self.faults.add(full, f"{full} is missing: the family {family.name} needs it.")
                elif axis.default is None and axis.per_stage:
                    for stage in range(self._most_stages(family) or 1):
                        if {full, one := f"{full}.{stage}"}.isdisjoint({*self.domains, *self.faults.keys}):
                            self.faults.add(one, f"{one} is missing: give it, or {full} for all stages.")

    def _check_kinds(self) -> None:
        """Words, numbers and truth values have to stand where they belong; the numbers of a family are in its ranges.

        What walks through a space counts on that: it goes as far as the stages say.
        """
        for key in self.domains:
            if key in self.faults.keys:
                continue
            base = self.keys.base(key)
            axis = self.keys.axes.get(base)
            kind = _kind(self.keys.defaults[base]) if axis is None else axis.kind
            for value in self._tried(key):
                if kind and _kind(value) != kind:
                    self.faults.add(key, f"{key} must be a {kind}, but got {shown(value)}.")
                elif axis is not None and not axis.allows(value):
                    self.faults.add(key, f"{key} must be {axis.allowed}, but got {shown(value)}.")

    def _tried(self, key: str) -> Iterator[Value]:
        """What is tried of a key's domain: of a range, nothing beyond its ends and the first number at fault."""
        domain = self.domains[key]
        for count, value in enumerate(domain.tried):
            if domain.choices or count < 2 or key not in self.faults.keys:
                yield value

    def _check_stages(self, keys: Iterable[str]) -> None:
        """What is given for one stage has to be of one that networks have: it would be passed over in silence."""
        stages = {family.name: self._most_stages(family) for family in self.keys.families}
        for key in keys:
            base = self.keys.base(key)
            table, family = (*key.split("."), "")[:2]
            if base == key or key in self.faults.keys or (table == "architecture" and family not in stages):
                continue
            stage = int(key.rpartition(".")[2])
            of_families = [stages[family]] if table == "architecture" else list(stages.values())
            most = max((MOST_STAGES if known is None else known for known in of_families), default=MOST_STAGES)
            if table == "bits" and True not in self.domains["bits.per_stage"]:
                self.faults.add(key, f"{key} is for one stage, but bits.per_stage is false: set that to true.")
            elif base.endswith(".stride") and stage == 0:
                first = f"{base.removesuffix('stride')}first_stride"
                self.faults.add(key, f"{key} says nothing: the first stage's stride is {first}.")
            elif stage >= most:
                text = f"{key} is of a stage that no network has: there are at most {most}, counted from 0."
                self.faults.add(key, text)

    def _most_stages(self, family: Family) -> int | None:
        """How many stages a network of the family may have; None: that is at fault itself."""
        key = f"architecture.{family.name}.stages"
        if not family.staged:
            return 0
        return int(self.domains[key].most) if key in self.domains and key not in self.faults.keys else None

    def _check_values(self) -> None:
        """Every value is one that a candidate can have: not to be refused hours into a search, when it is drawn.

        Each is tried beside values that are right, so that one fault does not hide another, then beside those of this
        space.
        """

        def own(key: str) -> Value:
            found = self.domains.get(key) or self.domains.get(self.keys.base(key))
            if found is None or not self.faults.keys.isdisjoint({key, self.keys.base(key)}):
                return self._right(key)
            return found.most if key.endswith(".stages") else found.extremes[0]

        for others in (self._right, own):
            for key in self.domains:
                if key in self.faults.keys:
                    continue
                for value in self._tried(key):
                    text = self._refusal(key, value, others)
                    if text is None:
                        continue
                    usual = self._refusal(key, others(key), others)
                    if text != usual or others == own:
                        own_words = text == usual or text.startswith(f"{key} ")
                        self.faults.add(key, text if own_words else f"{key}: {text}")

    def _right(self, key: str) -> Value:
        """A value that a key may have, whatever this space says."""
        base = self.keys.base(key)
        axis = self.keys.axes.get(base)
        if axis is None or axis.default is not None:
            return Domain.parse(base, _RIGHT.get(base, self.keys.defaults[base])).extremes[0]
        if base.endswith(".stages") and axis.whole:
            return int(axis.high)
        return axis.some  # type: ignore[no-any-return]

    def _refusal(self, key: str, value: Value, others: Callable[[str], Value]) -> str | None:
        """Why no candidate has this value beside the others.

        None: one has it, or it is of a branch that is not open.
        """
        table, *middle = key.split(".")
        wanted: dict[str, Value] = {key: value}
        if table in OPENED and len(middle) > 1:
            wanted[OPENED[table][0]] = self.keys.opens(table, middle[0])
        elif table == "pruning" and middle[1] != "method":
            parent = f"pruning.{middle[0]}.method"
            right = next(method.name for method in METHODS if method.granularity == middle[0])
            wanted[parent] = right if parent in self.faults.keys else self.domains[parent].extremes[-1]
        elif table == "bits" and key != self.keys.base(key):
            wanted["bits.per_stage"] = True
        elif key in ("recipe.teacher", "recipe.temperature"):
            most = self.domains["recipe.distillation"].most
            wanted["recipe.distillation"] = 1.0 if "recipe.distillation" in self.faults.keys else most
        for parent, chosen in wanted.items():
            at_fault = parent in self.faults.keys and chosen != ""
            if parent != key and not at_fault and chosen not in self.domains[parent]:
                return None

        def choose(asked: str, _name: str) -> Value:
            found = next((one for one in (asked, self.keys.base(asked)) if one in wanted), None)
            return others(asked) if found is None else wanted[found]

        try:
            Candidate.from_dict(walk(choose))
        except CandidateError as error:
            return str(error)
        return None


def _kind(value: object) -> str:
    """What a value, or a key's default, is: "word", "truth value" or "number"."""
    if isinstance(value, bool):
        return "truth value"
    return "word" if isinstance(value, str | list) else "number"
