"""From the study's records to a verdict: reads what `search.early_stopping.decide` needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from evaluators.train import Epoch
from search.early_stopping import Finished, Position, Rules, Running, Verdict, decide
from spaces import Candidate


def schedule_of(candidate: Candidate, data_digest: str) -> str:
    """What has to be equal for two curves to compare: the data, and how long and in which way each stage trains."""
    recipe, pruning, bits = candidate.recipe, candidate.pruning, candidate.bits
    stages: list[object] = [("dense", recipe.epochs, recipe.decay, recipe.warmup, recipe.distillation > 0)]
    stages += [
        (step.granularity, step.epochs, step.schedule, step.rounds)
        for step in (pruning.filters, pruning.weights)
        if step is not None
    ]
    if not bits.is_float:
        stages.append(("bits", bits.epochs, len(bits.path)))
    return json.dumps([data_digest, *stages])


class Judge:
    """Keeps the finished trials of a study at hand, and asks `decide` about a running one."""

    def __init__(self, bar: float, rules: Rules, data_digest: str) -> None:
        self._bar, self._rules, self._data_digest = bar, rules, data_digest
        self._finished: dict[int, Finished] = {}

    def learn(self, trials: Iterable[FrozenTrial]) -> None:
        """Take in complete trials that are new; copies of others say nothing new."""
        for trial in trials:
            if trial.state == TrialState.COMPLETE and trial.number not in self._finished:
                found = self._read(trial)
                if found is not None:
                    self._finished[trial.number] = found

    def before(self, candidate: Candidate, score: float) -> Verdict | None:
        """Whether training can be spared altogether."""
        running = Running(score, schedule_of(candidate, self._data_digest))
        return decide(running, list(self._finished.values()), self._bar, self._rules)

    def after(self, candidate: Candidate, score: float, curve: Sequence[Epoch]) -> Verdict | None:
        """Whether a trial stops after the last epoch of `curve`."""
        last = curve[-1]
        if last.accuracy is None or _is_last(candidate, last):
            return None
        running = Running(
            score,
            schedule_of(candidate, self._data_digest),
            position=(last.stage, last.epoch),
            accuracy=last.accuracy,
            share=last.epoch / last.epochs,
        )
        return decide(running, list(self._finished.values()), self._bar, self._rules)

    def _read(self, trial: FrozenTrial) -> Finished | None:
        attributes = trial.user_attrs
        if "candidate" not in attributes or "copied_from" in attributes:
            return None
        columns = attributes.get("curve") or {}
        rows = zip(*(columns.get(name, ()) for name in ("stage", "epoch", "accuracy")), strict=True)
        curve: dict[Position, float] = {(stage, epoch): value for stage, epoch, value in rows if value is not None}
        schedule = schedule_of(Candidate.from_dict(attributes["candidate"]), self._data_digest)
        return Finished(trial.number, trial.values[0], trial.values[1], schedule, curve)


def _is_last(candidate: Candidate, epoch: Epoch) -> bool:
    """Whether no training follows: then there is nothing to be saved by stopping."""
    pruning, bits = candidate.pruning, candidate.bits
    trained = ["dense", *(step.granularity for step in (pruning.filters, pruning.weights) if step and step.epochs)]
    if not bits.is_float and bits.epochs:
        trained.append("bits")
    return epoch.epoch == epoch.epochs and epoch.stage == trained[-1]
