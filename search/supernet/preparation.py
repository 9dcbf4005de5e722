"""What the phases before the first trial have come to: what trials start from, and what is known before they do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slimfront.spaces import Architecture, SpaceError
from slimfront.studies.errors import StudyError
from slimfront.studies.record import TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.settings.supernet import sharing_of

if TYPE_CHECKING:
    from slimfront.evaluators.data.splits import SearchData
    from slimfront.search.supernet.ceilings import Ceilings
    from slimfront.search.supernet.pace import Pace


@dataclass(frozen=True)
class Preparation:
    """What there is before the first trial.

    Attributes:
        supernet: File of the supernet that their weights are cut out of; None: each has an uncompressed training.
        key: The supernet's digest; "": there is none.
        ceilings: What shapes can reach at most, as far as their cuts tell; None: nothing is known.
        pace: The plan of the hours; None: there is none.
    """

    supernet: Path | None = None
    key: str = ""
    ceilings: Ceilings | None = None
    pace: Pace | None = None

    def ceiling(self, architecture: Architecture) -> float:
        """The accuracy that a network of this shape can reach at most, as far as is known."""
        return 1.0 if self.ceilings is None else self.ceilings.of(architecture)

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take in trials that have ended."""
        for one in (self.ceilings, self.pace):
            if one is not None:
                one.learn(records)

    @property
    def record(self) -> dict[str, str]:
        """What is noted with every trial; {} where it inherits nothing."""
        return {"supernet": self.key} if self.key else {}


NOTHING = Preparation()


def keys_of(settings: Settings, data: SearchData) -> frozenset[str]:
    """The keys of the supernets that trials of a study may have started from, one a kind of device; "" is none.

    Raises StudyError for an unknown teacher.
    """
    from slimfront.evaluators.supernet.supernet import supernet_file
    from slimfront.evaluators.training.loop import TrainingError

    if settings.supernet is None:
        return frozenset([""])
    try:
        sharing = sharing_of(settings.make_space(), settings.supernet)
    except SpaceError:  # each trains its own network
        return frozenset([""])
    try:
        files = [supernet_file(sharing, data, settings.seed, device=device) for device in ("cpu", "cuda")]
    except TrainingError as error:
        raise StudyError(str(error)) from None
    return frozenset(path.stem.rpartition("-")[2] for path in files)


@dataclass(frozen=True)
class PhaseCircumstances:
    """What the phases before the first trial run with.

    Attributes:
        data: Of the search.
        seed: Of the study.
        device: "cpu" or "cuda".
        threads: That take the shapes in turn, on a CPU.
    """

    data: SearchData
    seed: int
    device: str
    threads: int
