"""Digests are for good: published results, caches and storages are found by them.

`stored/digests.json` holds 50 candidates with the digests that the first published version gave them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from slimfront.spaces import Architecture, Augmentation, Bits, Candidate, Pruning, Recipe, Sparsity
from slimfront.spaces.part import Part, added

STORED: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "stored" / "digests.json").read_text())[
    "candidates"
]
_PRUNED = next(
    c for c in map(Candidate.from_dict, (one["candidate"] for one in STORED)) if c.pruning.filters is not None
)
PARTS = (Architecture, Augmentation, Sparsity, Pruning, Bits, Recipe, Candidate)


def _with_one_more_field(part: type[Part]) -> type[Part]:
    """`part` as somebody would change it who gives it the field `novelty`."""
    return dataclasses.make_dataclass(part.__name__, [("novelty", "int", added(3))], bases=(part,), frozen=True)


GROWN = {part: _with_one_more_field(part) for part in PARTS}


def _grown(part: Part, **novelty: int) -> Part:
    """`part`, and all parts in it, as they are once every part has one more field."""
    fields = ((item.name, getattr(part, item.name)) for item in dataclasses.fields(part))  # type: ignore[arg-type]
    values = {name: _grown(value) if isinstance(value, Part) else value for name, value in fields}
    return GROWN[type(part)](**values, **novelty)  # type: ignore[arg-type]


def test_the_digests_of_published_candidates_stay() -> None:
    assert len(STORED) == 50
    for stored in STORED:
        candidate = Candidate.from_dict(stored["candidate"])
        assert candidate.to_dict() == stored["candidate"]
        assert (candidate.digest, candidate.uncompressed_digest) == (stored["digest"], stored["dense_digest"])


def test_a_new_field_in_every_part_changes_no_digest_until_it_is_used() -> None:
    for stored in STORED:
        candidate = Candidate.from_dict(stored["candidate"])
        grown = _grown(candidate)
        assert isinstance(grown, Candidate)
        assert grown.to_json() == candidate.to_json()
        assert (grown.digest, grown.uncompressed_digest) == (stored["digest"], stored["dense_digest"])
        assert _grown(candidate, novelty=4).digest != stored["digest"]


@pytest.mark.parametrize("part", PARTS)
def test_what_was_written_before_a_field_was_added_is_read_with_its_default(part: type[Part]) -> None:
    candidate = _PRUNED
    pruning = next(step for step in (candidate.pruning.filters, candidate.pruning.weights) if step is not None)
    parts = (candidate, candidate.architecture, candidate.augmentation, candidate.pruning, candidate.bits)
    before = next(one for one in (*parts, candidate.recipe, pruning) if type(one) is part)
    assert GROWN[part].from_json(before.to_json()).novelty == 3  # type: ignore[attr-defined]
    after = dataclasses.replace(GROWN[part].from_json(before.to_json()), novelty=5)  # type: ignore[type-var]
    assert after.to_dict() == before.to_dict() | {"novelty": 5}
    assert GROWN[part].from_json(after.to_json()) == after


@pytest.mark.parametrize("part", PARTS)
def test_whoever_adds_a_field_marks_it_as_added(part: type[Part]) -> None:
    """A field that is not marked would change the digest of every candidate that was ever published."""
    published: dict[type[Part], set[str]] = {}
    for stored in STORED:
        candidate = Candidate.from_dict(stored["candidate"])
        data = stored["candidate"]
        written = {Candidate: data, Pruning: data["pruning"]}
        for name in ("architecture", "augmentation", "bits", "recipe"):
            written[type(getattr(candidate, name))] = data[name]
        for step in data["pruning"].values():
            if step is not None:
                written[Sparsity] = step
        for kind, fields in written.items():
            published[kind] = set(fields)
    now = {item.name for item in dataclasses.fields(part) if not item.metadata.get("added")}  # type: ignore[arg-type]
    assert now == published[part], "write a new field as `name: type = added(default)`; published ones must stay"
