"""How the hours of a search are divided where its shapes share one training. Pure functions.

What comes before the first trial takes what it takes. Of the rest some is a reserve, and trials have the others: where
the space leaves the length of a trial's training open, many short ones first, then long ones of the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slimfront.studies.errors import StudyError

RESERVE = 0.12  # share of the hours for what cannot be foreseen
SHORT = 0.25  # share of the trials' time that short ones have, where there are long ones


@dataclass(frozen=True)
class Work:
    """What there is to do, in seconds of this machine with all of its workers.

    Attributes:
        before: By phase, in their order, what comes before the first trial; 0: it is there already.
        short: A trial of the shortest training, as its share of the workers.
        long: One of the longest; None: all are alike.
    """

    before: Mapping[str, float]
    short: float
    long: float | None = None


@dataclass(frozen=True)
class Entry:
    """A line of the plan.

    Attributes:
        phase: What is done.
        seconds: How long it takes.
        trials: How many are trained in it; None: it trains none.
    """

    phase: str
    seconds: float
    trials: int | None = None


@dataclass(frozen=True)
class Plan:
    """A division of the hours.

    Attributes:
        entries: One after the other.
        cores: That work on it.
    """

    entries: tuple[Entry, ...]
    cores: int

    @property
    def seconds(self) -> float:
        """In all."""
        return sum(entry.seconds for entry in self.entries)

    def start(self, phase: str) -> float | None:
        """Seconds from the beginning after which a phase begins; None: there is no such phase."""
        begun = 0.0
        for entry in self.entries:
            if entry.phase == phase:
                return begun
            begun += entry.seconds
        return None

    def to_dict(self) -> dict[str, object]:
        """For JSON: minutes of the whole machine, and those of its cores."""
        return {
            "hours": round(self.seconds / 3600, 4),
            "cores": self.cores,
            "phases": [
                {
                    "phase": entry.phase,
                    "minutes": round(entry.seconds / 60, 2),
                    "core_minutes": round(entry.seconds * self.cores / 60, 2),
                    **({} if entry.trials is None else {"trials": entry.trials}),
                }
                for entry in self.entries
            ],
        }


ALL, FEW, MANY, LEFT = "trials", "long trials", "short trials", "reserve"


def divide(seconds: float, work: Work, cores: int) -> Plan:
    """The plan for so many seconds.

    >>> plan = divide(3600, Work({"supernet": 600}, short=60, long=300), cores=2)
    >>> [(entry.phase, entry.seconds, entry.trials) for entry in plan.entries]
    [('supernet', 600, None), ('short trials', 642.0, 10), ('long trials', 1926.0, 6), ('reserve', 432.0, None)]

    Raises:
        StudyError: There is no time for a single trial.
    """
    before = [Entry(phase, needed) for phase, needed in work.before.items()]
    needed = sum(entry.seconds for entry in before)
    reserve = RESERVE * seconds
    left = seconds - reserve - needed
    if left < work.short:
        parts = {**work.before, "the first trial": work.short}
        told = ", ".join(f"{phase} {took / 3600:.2g} h" for phase, took in parts.items() if took)
        enough = (needed + work.short) / (1 - RESERVE) / 3600
        raise StudyError(
            f"{seconds / 3600:.3g} hours are too few ({told}, and a reserve): "
            f"give at least --hours {enough:.3g}, or lower supernet.epochs."
        )
    if work.long is None or (1 - SHORT) * left < work.long:
        trials = [Entry(ALL, left, int(left / work.short))]
    else:
        few, many = (1 - SHORT) * left, SHORT * left
        trials = [Entry(MANY, many, int(many / work.short)), Entry(FEW, few, int(few / work.long))]
    return Plan((*before, *trials, Entry(LEFT, reserve)), cores)


def lines(plan: Plan) -> list[str]:
    """The plan for people, a line a phase."""
    told = [f"plan for {_words(plan.seconds)} on {plan.cores} core{'s' if plan.cores > 1 else ''}:"]
    begun = 0.0
    for entry in plan.entries:
        trials = "" if entry.trials is None else f"  some {entry.trials}"
        there = "  there already" if entry.seconds == 0 else ""
        minutes = f"{entry.seconds * plan.cores / 60:10.1f} core-minutes"
        told.append(f"  {entry.phase:<13}{minutes}  from {_words(begun):>8} on{trials}{there}")
        begun += entry.seconds
    return told


def _words(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d}"
