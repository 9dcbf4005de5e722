"""From the study's records to a verdict: reads what `slimfront.search.early_stopping.decide` needs."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slimfront.evaluators.training.loop import Epoch
from slimfront.search.early_stopping import Finished, Position, Rules, Running, Verdict, decide
from slimfront.search.proposals.proposer import compression_epochs
from slimfront.spaces import Candidate, method_name
from slimfront.spaces.candidate import UNCOMPRESSED
from slimfront.studies.record import State, TrialRecord, uncompressed_epochs


@functools.lru_cache(maxsize=4096)
def schedules_of(candidate: Candidate, data_digest: str) -> dict[str, str]:
    """By stage, what has to be equal for two of its curves to compare: the data, and how long and how it trains."""
    recipe, pruning, bits = candidate.recipe, candidate.pruning, candidate.bits
    stages: dict[str, object] = {
        UNCOMPRESSED: (recipe.epochs, recipe.decay, recipe.warmup, recipe.uncompressed.distillation > 0)
    }
    for step in (pruning.filters, pruning.weights):
        if step is not None:
            stages[step.granularity] = (step.epochs, step.schedule, step.rounds)
    if not bits.is_float:
        stages["bits"] = (bits.epochs, len(bits.path))
    return {stage: json.dumps([data_digest, how]) for stage, how in stages.items()}


@functools.lru_cache(maxsize=4096)
def traits_of(candidate: Candidate) -> dict[str, Any]:
    """Settings of the compression by name: what a regression compares."""
    pruning, bits = candidate.pruning, candidate.bits
    traits: dict[str, Any] = {}
    for step in (pruning.filters, pruning.weights):
        if step is not None:
            traits[f"{step.granularity}.method"] = method_name(step)
            traits[f"{step.granularity}.ratio"] = step.ratio or sum(step.ratios) / max(1, len(step.ratios))
    for name in ("weights", "activations"):
        widths = getattr(bits, name)
        traits[f"bits.{name}"] = sum(map(math.log2, widths)) / len(widths)
        traits[f"bits.{name}.least"] = math.log2(min(widths))
    return traits


class Judge:
    """Keeps the finished trials of a study at hand, and asks `decide` about a running one.

    Attributes:
        rules: How bold the stops are.
    """

    def __init__(self, bar: float, rules: Rules, data_digest: str, *, inherits: bool = False) -> None:
        """`inherits` says whether trials start from a supernet."""
        self._bar, self.rules, self._data_digest, self._inherits = bar, rules, data_digest, inherits
        self._finished: dict[int, Finished] = {}
        self._known: set[int] = set()

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take in trials that have ended and are new; those that copied another say nothing."""
        for record in records:
            if record.state.is_over and record.number not in self._known:
                self._known.add(record.number)
                found = self._read(record)
                if found is not None:
                    self._finished[record.number] = found

    def before(self, cost: float | None, costs: Mapping[str, float], ceiling: float = 1.0) -> Verdict | None:
        """Whether training can be spared altogether.

        Args:
            cost: The study's; None where it is not known.
            costs: All that are known.
            ceiling: What it can reach at most.
        """
        running = Running(cost, "", costs=costs, ceiling=ceiling)
        return decide(running, list(self._finished.values()), self._bar, self.rules)

    def after(self, candidate: Candidate, cost: float | None, curve: Sequence[Epoch]) -> Verdict | None:
        """Whether a trial stops after the last epoch of `curve`."""
        last = curve[-1]
        if last.accuracy is None or _is_last(candidate, last):
            return None
        dense = [epoch.accuracy for epoch in curve if epoch.stage == UNCOMPRESSED and epoch.epoch == epoch.epochs]
        running = Running(
            cost,
            schedules_of(candidate, self._data_digest)[last.stage],
            position=(last.stage, last.epoch),
            accuracy=last.accuracy,
            share=last.epoch / last.epochs if last.epochs else 1.0,
            traits=traits_of(candidate),
            dense=dense[0] if dense else None,
            last=not _trains_after(candidate, last.stage),
            length=compression_epochs(candidate) if self._inherits else 0,
        )
        return decide(running, list(self._finished.values()), self._bar, self.rules)

    def _read(self, record: TrialRecord) -> Finished | None:
        candidate = record.own_candidate
        if candidate is None or record.state == State.FAILED:
            return None
        curve: dict[Position, float] = {
            (point.phase, point.epoch): point.accuracy for point in record.curve if point.accuracy is not None
        }
        complete = record.state == State.COMPLETE
        if not complete:
            if (UNCOMPRESSED, uncompressed_epochs(record)) not in curve:
                return None
            curve = {position: value for position, value in curve.items() if position[0] == UNCOMPRESSED}
        return Finished(
            record.number,
            accuracy=record.accuracy or 0.0 if complete else 0.0,
            cost=record.cost or 0.0 if complete else 0.0,
            schedule=schedules_of(candidate, self._data_digest),
            curve=curve,
            traits=traits_of(candidate),
            network=candidate.uncompressed_digest,
            complete=complete,
            within=not record.over,
            length=compression_epochs(candidate) if record.inherited else 0,
        )


def _trains_after(candidate: Candidate, stage: str) -> bool:
    """Whether a stage behind this one trains."""
    names = list(candidate.phases)
    return any(candidate.phases[name] for name in names[names.index(stage) + 1 :])


def _is_last(candidate: Candidate, epoch: Epoch) -> bool:
    """Whether no training follows: then there is nothing to be saved by stopping."""
    return epoch.epoch == epoch.epochs and not _trains_after(candidate, epoch.stage)
