"""What the trials of a study start from: weights of a supernet, or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slimfront.evaluators.data.splits import SearchData


@dataclass(frozen=True)
class Inheritance:
    """What trials inherit.

    Attributes:
        supernet: File of the supernet that their weights are cut out of; None: each has an uncompressed training.
        key: The supernet's digest; "": there is none.
    """

    supernet: Path | None = None
    key: str = ""

    @property
    def record(self) -> dict[str, str]:
        """What is noted with every trial; {} where it inherits nothing."""
        return {"supernet": self.key} if self.key else {}


NOTHING = Inheritance()


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
