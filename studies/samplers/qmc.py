"""Scrambled Sobol points: evenly spread, learns nothing (Bergstra and Bengio 2012)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.studies.sampling import Sampler, Seeds

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _make(seeds: Seeds, _startup: int) -> BaseSampler:
    from optuna.samplers import QMCSampler, RandomSampler

    # The study itself counts the points; a sequence goes on only under its first seed. Parameters that not every
    # candidate has cannot be part of the sequence and are drawn at random.
    independent = RandomSampler(seed=seeds.run)
    return QMCSampler(scramble=True, seed=seeds.study, independent_sampler=independent, warn_independent_sampling=False)


QMC = Sampler(
    "qmc",
    _make,
    in_sequence=True,
    title="quasi-random",
    words="scrambled Sobol points",
    paper="Bergstra and Bengio 2012",
)
