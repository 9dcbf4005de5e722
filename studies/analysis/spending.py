"""What a search spent, by how its trials ended. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState
from slimfront.studies.record import REASONS

_SHORT = {
    "below_bar": "stopped: could not reach the bar",
    "dominated": "stopped: could not beat the front",
    "max_score": "not trained: score above the limit",
    "impossible": "failed: cannot be built",
    "loss_not_finite": "failed: training diverged",
    "pruning": "failed: pruning left no network",
    "out_of_memory": "failed: out of memory",
    "same_as_failed": "failed: same as a failed trial",
}


@dataclass(frozen=True)
class Ending:
    """One way in which trials ended.

    Attributes:
        kind: "complete", "copied", "stopped", "failed" or "open".
        short: In a few words, for a picture.
        text: In a sentence.
        trials: How many trials.
        epochs: That they trained; one epoch is one pass over the training images.
        seconds: Of training.
        planned: Epochs that they would have trained had they run to their end.
    """

    kind: str
    short: str
    text: str
    trials: int
    epochs: int
    seconds: float
    planned: int


def curve_of(trial: FrozenTrial) -> list[float | None]:
    """Validation accuracy after every epoch; empty where there is no record of it."""
    curve = trial.user_attrs.get("curve")
    found = curve.get("accuracy") if isinstance(curve, dict) else None
    return list(found) if isinstance(found, list) else []


def trained_epochs(trial: FrozenTrial) -> int:
    """Epochs in the trial's record, those taken over from a stored dense network included; epoch 0 trains nothing."""
    curve = trial.user_attrs.get("curve")
    found = curve.get("epoch") if isinstance(curve, dict) else None
    return sum(bool(epoch) for epoch in found) if isinstance(found, list) else len(curve_of(trial))


def endings(trials: Iterable[FrozenTrial]) -> list[Ending]:
    """All ways in which the trials ended; those that ran to their end first, then by the epochs that they took."""
    groups: dict[tuple[str, str], list[FrozenTrial]] = {}
    for trial in trials:
        groups.setdefault(_kind(trial), []).append(trial)
    found = [_ending(kind, reason, some) for (kind, reason), some in groups.items()]
    return sorted(found, key=lambda ending: (ending.kind != "complete", -ending.epochs, -ending.trials, ending.short))


def _kind(trial: FrozenTrial) -> tuple[str, str]:
    reason = str(trial.user_attrs.get("reason") or "")
    if trial.state in (TrialState.RUNNING, TrialState.WAITING):
        return "open", ""
    if trial.state == TrialState.FAIL:
        return "failed", reason
    if trial.user_attrs.get("copied_from") is not None:
        return "copied", ""
    return ("complete", "") if trial.state == TrialState.COMPLETE else ("stopped", reason)


def _ending(kind: str, reason: str, trials: list[FrozenTrial]) -> Ending:
    why = REASONS.get(reason, reason or "no reason noted")
    texts = {
        "complete": ("trained to the end", "trained to the end"),
        "copied": ("same candidate as an earlier trial", "same candidate as an earlier trial: its result taken over"),
        "open": ("not finished", "running or waiting"),
        "stopped": (
            _SHORT.get(reason, "stopped early"),
            f"stopped: {why}",
        ),
        "failed": (_SHORT.get(reason, "failed"), f"failed: {why}"),
    }
    short, text = texts[kind]
    trained = [] if kind == "copied" else trials  # a copy carries the curve of its original
    return Ending(
        kind,
        short,
        text,
        trials=len(trials),
        epochs=sum(trained_epochs(trial) for trial in trained),
        seconds=sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in trained),
        planned=sum(_planned(trial) for trial in trained),
    )


def _planned(trial: FrozenTrial) -> int:
    """Epochs of all stages, as the candidate says."""
    candidate = trial.user_attrs.get("candidate")
    if not isinstance(candidate, dict):
        return 0
    pruning = candidate.get("pruning") or {}
    parts = [candidate.get("recipe"), candidate.get("bits"), pruning.get("filters"), pruning.get("weights")]
    return sum(int(part.get("epochs", 0)) for part in parts if isinstance(part, dict))
