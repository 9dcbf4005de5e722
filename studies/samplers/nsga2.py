"""NSGA-II: evolution by non-dominated sorting (Deb et al. 2002, doi:10.1109/4235.996017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.studies.sampling import Sampler, Seeds

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _make(seeds: Seeds, startup: int) -> BaseSampler:
    """`startup` is the size of a generation."""
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(population_size=startup, seed=seeds.run)


NSGA2 = Sampler(
    "nsga2",
    _make,
    startup=50,
    least_startup=2,
    title="NSGA-II",
    words="evolution by non-dominated sorting",
    paper="Deb et al. 2002, doi:10.1109/4235.996017",
)
