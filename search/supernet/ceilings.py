"""Which shapes cannot reach the bar, as far as the cuts of a supernet tell: they are not proposed.

A cut is a hint: the order of shapes in a supernet is only roughly that of the shapes alone. So nothing is chosen by it.
What a shape can reach at most is put at its cut's accuracy, by two standard errors higher than measured or predicted,
and what training may add; if a trial has come out above that, training may add as much more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from slimfront.evaluators.supernet.predicting import Predictor
from slimfront.evaluators.supernet.screening import Numbers, Screening
from slimfront.evaluators.supernet.shapes import numbers_of
from slimfront.spaces import Architecture
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.report.numbers import counted, percent_number

ERRORS = 2.0  # by how many standard errors a cut may be better than it looked
MOST = 200_000  # shapes that are looked at to count those that are left


class Ceilings:
    """Upper bounds of what shapes can reach.

    Args:
        screening: Of the supernet's cuts.
        gain: What training may add, a share.
        bar: Accuracy that the front demands.
    """

    def __init__(self, screening: Screening, gain: float, bar: float) -> None:
        self._screening, self._bar, self._gain = screening, bar, gain
        self._predictor = Predictor.of(screening)
        self._uppers: dict[Numbers, float] = {}
        self._known: set[int] = set()
        left, looked_at = self._left()
        self._idle = left == 0  # then the cuts tell nothing apart that matters
        self.words = self._told(left, looked_at)

    def of(self, architecture: Architecture) -> float:
        """The accuracy that this shape can reach at most; 1 where nothing is known of it."""
        return 1.0 if self._idle else min(1.0, self._of_cut(architecture) + self._gain)

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take in trials that are complete and new: what training has added to a cut it may add to others."""
        for record in records:
            if record.state is State.COMPLETE and record.number not in self._known:
                self._known.add(record.number)
                candidate, accuracy = record.own_candidate, record.accuracy
                if candidate is not None and accuracy is not None:
                    self._gain = max(self._gain, accuracy - self._of_cut(candidate.architecture))

    def _of_cut(self, architecture: Architecture) -> float:
        """The accuracy that a cut has at most; 1 for what is none."""
        if architecture not in self._screening.shapes:
            return 1.0
        numbers = numbers_of(architecture)
        if numbers not in self._uppers:
            self._uppers[numbers] = self._upper(numbers)
        return self._uppers[numbers]

    def _upper(self, numbers: Numbers) -> float:
        found = self._screening.measured.get(numbers)
        if found is not None:
            error = math.sqrt(found.accuracy * (1 - found.accuracy) / self._screening.images)
            return found.accuracy + ERRORS * error
        if self._predictor is None:
            return 1.0
        return float(self._predictor.accuracies([numbers])[0]) + ERRORS * self._predictor.error

    def _left(self) -> tuple[int, int]:
        """How many shapes can reach the bar, of how many that were looked at."""
        shapes = list(itertools.islice(itertools.product(*self._screening.shapes.choices), MOST))
        if self._predictor is not None:
            uppers = self._predictor.accuracies(shapes) + ERRORS * self._predictor.error
            self._uppers = {numbers: float(upper) for numbers, upper in zip(shapes, uppers, strict=True)}
        self._uppers |= {numbers: self._upper(numbers) for numbers in self._screening.measured}
        reached = (self._uppers.get(numbers, 1.0) + self._gain >= self._bar for numbers in shapes)
        return sum(reached), len(shapes)

    def _told(self, left: int, looked_at: int) -> str:
        measured, bar = len(self._screening.measured), f"{percent_number(self._bar)}%"
        text = f"{measured:,} of {counted(len(self._screening.shapes), 'shape')} measured"
        if self._predictor is not None and measured < len(self._screening.shapes):
            text += f", the others predicted to {100 * self._predictor.error:.1f} points"
        above = f"{100 * self._gain:g} points above their cuts"
        if self._idle:
            return f"{text}; none is within {above} of the bar of {bar}: nothing is discarded"
        if left == looked_at:
            return f"{text}; all may reach the bar of {bar}"
        of = f" of the first {looked_at:,}" if looked_at < len(self._screening.shapes) else ""
        return f"{text}; {looked_at - left:,}{of} stay below the bar of {bar} even {above}, and are not proposed"
