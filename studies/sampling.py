"""Samplers by name, and a sampler for a study.

The product's own are the files of `slimfront.studies.samplers`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimfront.spaces import references
from slimfront.spaces.registry import Registry
from slimfront.studies.errors import StudyError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Seeds:
    """The random numbers of a sampler.

    Attributes:
        study: The same in every run of a study.
        run: The same for a study of so many trials: a resumed search would otherwise draw the random numbers of its
            first run again, and propose the same candidates.
    """

    study: int
    run: int


@dataclass(frozen=True)
class Sampler:
    """A sampler.

    Attributes:
        name: Small letters, digits, underscores.
        make: (seeds, startup) -> a sampler for a constrained study with two objectives and a conditional space.
        startup: Trials before it begins to learn, where nobody says.
        least_startup: The fewest that it can do with.
        in_sequence: Whether the study counts its points, so that it has to be asked for every trial from the first.
        title: In reports; "": the name.
        words: What it does, in a few words.
        paper: Where it was published.
    """

    name: str
    make: Callable[[Seeds, int], BaseSampler]
    startup: int = 10
    least_startup: int = 1
    in_sequence: bool = False
    title: str = ""
    words: str = ""
    paper: str = ""


SAMPLERS: Registry[Sampler] = Registry("sampler", Sampler, "slimfront.studies.samplers")


def make_sampler(name: str, seed: int, *, startup: int | None = None, known_trials: int = 0) -> BaseSampler:
    """A sampler for a constrained study with two objectives and a conditional space.

    Args:
        name: One of `SAMPLERS`, or a user's own that was given to this command.
        seed: Same seed, same proposals, as long as trials are asked and told in the same order.
        startup: Trials drawn at random before the sampler begins to learn; None: as the sampler says.
        known_trials: Trials that the study already has.

    Raises:
        StudyError: The name is unknown, or a number is out of its range.
    """
    if name not in SAMPLERS:
        raise StudyError(SAMPLERS.unknown(name))
    sampler = SAMPLERS[name]
    if not 0 <= seed < 2**32:
        raise StudyError(f"The sampler's seed must be in 0..{2**32 - 1}, but got {seed}.")
    if known_trials < 0:
        raise StudyError(f"The number of known trials must be at least 0, but got {known_trials}.")
    startup = sampler.startup if startup is None else startup
    if startup < sampler.least_startup:
        raise StudyError(f"The sampler's start-up must be at least {sampler.least_startup}, but got {startup}.")
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        # multivariate, group, QMC and GP are called experimental; they are what this project chose, knowingly.
        warnings.simplefilter("ignore", ExperimentalWarning)
        with told(name):
            made = sampler.make(Seeds(seed, seed_of(seed, known_trials)), startup)
    from optuna.samplers import BaseSampler

    if not isinstance(made, BaseSampler):
        raise StudyError(f"{name} gives a {type(made).__name__}, but must give a sampler of Optuna.")
    return made


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Within it a sampler works: whatever a user's own raises is told in one line. Raises StudyError."""
    try:
        yield
    except Exception as error:
        if not references.is_reference(name):
            raise
        raise StudyError(f"{name} cannot choose a trial: {references.why(error)}.") from None


def seed_of(seed: int, known_trials: int) -> int:
    """The seed itself for a new study; for a resumed one another, the same each time."""
    import numpy as np

    if known_trials == 0:
        return seed
    return int(np.random.SeedSequence([seed, known_trials]).generate_state(1)[0])
