"""The samplers that a study can use, by name.

name     sampler                                                               source
tpe      tree-structured Parzen estimator over groups of parameters            Watanabe 2023, arXiv:2304.11127
nsga2    evolutionary, non-dominated sorting                                   Deb et al. 2002, doi:10.1109/4235.996017
random   uniform                                                               Bergstra and Bengio 2012
qmc      scrambled Sobol points: evenly spread, learns nothing                 Bergstra and Bengio 2012
gp       Gaussian process, expected hypervolume improvement                    Daulton et al. 2020, arXiv:2006.05078
"""

from __future__ import annotations

import warnings

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from slimfront.studies.errors import StudyError

SAMPLERS = ("tpe", "nsga2", "random", "qmc", "gp")


def make_sampler(name: str, seed: int, *, startup: int | None = None, known_trials: int = 0) -> BaseSampler:
    """A sampler for a constrained study with two objectives and a conditional space.

    Args:
        name: One of `SAMPLERS`.
        seed: Same seed, same proposals, as long as trials are asked and told in the same order.
        startup: Trials drawn at random before the sampler begins to learn: 10 where None. For nsga2 it is the size
            of a generation, 50 where None. random and qmc never learn.
        known_trials: Trials that the study already has. A resumed search would otherwise draw the random numbers of
            its first run again, and propose the same candidates.

    Raises:
        StudyError: The name is unknown, or a number is out of its range.
    """
    if name not in SAMPLERS:
        raise StudyError(f"Unknown sampler {name!r}: choose one of {', '.join(SAMPLERS)}.")
    if not 0 <= seed < 2**32:
        raise StudyError(f"The sampler's seed must be in 0..{2**32 - 1}, but got {seed}.")
    if known_trials < 0:
        raise StudyError(f"The number of known trials must be at least 0, but got {known_trials}.")
    least = 2 if name == "nsga2" else 1
    if startup is not None and startup < least:
        raise StudyError(f"The sampler's start-up must be at least {least}, but got {startup}.")
    if startup is None:
        startup = 50 if name == "nsga2" else 10
    drawn = seed_of(seed, known_trials)
    with warnings.catch_warnings():
        # multivariate, group, QMC and GP are called experimental; they are what this project chose, knowingly.
        warnings.simplefilter("ignore", ExperimentalWarning)
        match name:
            case "tpe":
                # group: parameters of different branches of the space are modelled apart. constant_liar (the default):
                # candidates still in training count as bad, so that parallel proposals differ.
                return TPESampler(n_startup_trials=startup, multivariate=True, group=True, seed=drawn)
            case "nsga2":
                return NSGAIISampler(population_size=startup, seed=drawn)
            case "random":
                return RandomSampler(seed=drawn)
            case "qmc":
                # The study itself counts the points; a sequence goes on only under its first seed. Parameters that
                # not every candidate has cannot be part of the sequence and are drawn at random.
                independent = RandomSampler(seed=drawn)
                return QMCSampler(
                    scramble=True, seed=seed, independent_sampler=independent, warn_independent_sampling=False
                )
            case _:
                return GPSampler(seed=drawn, n_startup_trials=startup, warn_independent_sampling=False)


def seed_of(seed: int, known_trials: int) -> int:
    """The seed itself for a new study; for a resumed one another, the same each time."""
    if known_trials == 0:
        return seed
    return int(np.random.SeedSequence([seed, known_trials]).generate_state(1)[0])
