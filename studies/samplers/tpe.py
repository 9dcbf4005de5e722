"""Tree-structured Parzen estimator over groups of parameters (Watanabe 2023, arXiv:2304.11127)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.studies.sampling import Sampler, Seeds

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _make(seeds: Seeds, startup: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    # group: parameters of different branches of the space are modelled apart. constant_liar (the default): candidates
    # still in training count as bad, so that parallel proposals differ.
    return TPESampler(n_startup_trials=startup, multivariate=True, group=True, seed=seeds.run)


TPE = Sampler(
    "tpe",
    _make,
    title="TPE",
    words="a tree-structured Parzen estimator over groups of parameters",
    paper="Watanabe 2023, arXiv:2304.11127",
)
