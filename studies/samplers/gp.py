"""Gaussian process, by expected hypervolume improvement (Daulton et al. 2020, arXiv:2006.05078)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.studies.sampling import Sampler, Seeds

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _make(seeds: Seeds, startup: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seeds.run, n_startup_trials=startup, warn_independent_sampling=False)


GP = Sampler(
    "gp",
    _make,
    title="Gaussian process",
    words="expected improvement of the hypervolume",
    paper="Daulton et al. 2020, arXiv:2006.05078",
)
