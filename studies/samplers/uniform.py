"""Uniform draws (Bergstra and Bengio 2012)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.studies.sampling import Sampler, Seeds

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _make(seeds: Seeds, _startup: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seeds.run)


RANDOM = Sampler("random", _make, title="random", words="uniform draws", paper="Bergstra and Bengio 2012")
