"""Asking for drafts for one proposal: of a study's sampler, or at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from slimfront.search.proposals.drafts import Draft, Drafts, Parameters
from slimfront.search.proposals.sampling import Sampling
from slimfront.studies.record import TrialRecord
from slimfront.studies.sampling import seed_of

ATTEMPTS = 20  # of a sampler to make a candidate that may be tried


class Asking:
    """Drafts for one proposal, all of its chances from one seed.

    Args:
        sampling: The study's sampler.
        drafts: Of its space.
        number: Of the trial that is proposed.
        open_trials: That are in training.
        seed: Of the study.
        hopeless: Whether a draft need not be tried.
        always: Parameters that every draft has.
    """

    def __init__(
        self,
        sampling: Sampling,
        drafts: Drafts,
        number: int,
        open_trials: Sequence[TrialRecord],
        seed: int,
        hopeless: Callable[[Draft], bool],
        always: Parameters,
    ) -> None:
        self._sampling, self._drafts, self._number, self._open = sampling, drafts, number, open_trials
        self.seed = seed_of(seed, number)
        self._chance = random.Random(self.seed)
        self._hopeless, self._always = hopeless, always

    def __call__(self, fixed: Parameters | None = None) -> Draft | None:
        """Those in `fixed` as they are, and the others at random; None: they make no candidate."""
        return self._hopeful(lambda: self._drafts.drawn(self._chance, {**(fixed or {}), **self._always}))

    def sampler(self) -> Draft | None:
        """What the sampler chooses; None: that makes no candidate."""
        return self._hopeful(self._sampled)

    def _sampled(self) -> Draft | None:
        found = self._sampling.ask(self._number, self._open)
        if found is None or not self._always:
            return found
        made = self._drafts.drawn(self._chance, {**found.parameters, **self._always})
        return None if made is None else replace(made, sampler=found.sampler)

    def _hopeful(self, ask: Callable[[], Draft | None]) -> Draft | None:
        """Ask again, but not for ever, where a shape is proposed that need not be tried."""
        found = ask()
        for _ in range(ATTEMPTS):
            if found is None or not self._hopeless(found):
                break
            found = ask()
        return found
