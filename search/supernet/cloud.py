"""The cuts of a supernet as points among a study's trials: what each is worth, and what its shape costs at least."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from slimfront.evaluators.scoring.cost import Rating
from slimfront.evaluators.supernet.screening import Screening
from slimfront.spaces import Candidate, Space
from slimfront.spaces.domain import Value
from slimfront.spaces.walk import walk
from slimfront.studies.front import Point

MOST = 200  # points: a count takes a tenth of a second


def cloud(screening: Screening, space: Space, rate: Callable[[Candidate], Rating], cost: str) -> list[Point]:
    """(accuracy, cost) of some measured cuts; none where the cost is not known before training."""

    def choose(key: str, _: str) -> Value:
        ends = space.domain(key).extremes
        fewest = key.startswith("bits.") and all(isinstance(end, int) for end in ends)
        return min(ends) if fewest else ends[0]  # type: ignore[type-var]

    like = Candidate.from_dict(walk(choose))
    found = []
    for numbers, measured in list(screening.measured.items())[:MOST]:
        candidate = dataclasses.replace(like, architecture=screening.shapes.of_numbers(numbers))
        known = rate(candidate).costs.get(cost)
        if known is None:
            return []
        found.append((measured.accuracy, known))
    return found
