"""What a search spent, by how its trials ended. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slimfront.studies.record import State, TrialRecord

_SHORT = {
    "below_bar": "stopped: could not reach the bar",
    "dominated": "stopped: could not beat the front",
    "max_score": "not trained: score above the limit",
    "max_cost": "not trained: a cost above its bound",
    "impossible": "failed: cannot be built",
    "loss_not_finite": "failed: training diverged",
    "pruning": "failed: pruning left no network",
    "cost": "failed: a cost was not measured",
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


def endings(trials: Iterable[TrialRecord]) -> list[Ending]:
    """All ways in which the trials ended; those that ran to their end first, then by the epochs that they took."""
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(_kind(trial), []).append(trial)
    found = [_ending(kind, reason, some) for (kind, reason), some in groups.items()]
    return sorted(found, key=lambda ending: (ending.kind != "complete", -ending.epochs, -ending.trials, ending.short))


def _kind(trial: TrialRecord) -> tuple[str, str]:
    reason = trial.reason or ""
    if not trial.state.is_over:
        return "open", ""
    if trial.state is State.FAILED:
        return "failed", reason
    if trial.copied_from is not None:
        return "copied", ""
    return ("complete", "") if trial.state is State.COMPLETE else ("stopped", reason)


def _ending(kind: str, reason: str, trials: list[TrialRecord]) -> Ending:
    why = trials[0].why
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
        epochs=sum(map(epochs_of, trained)),
        seconds=sum(trial.seconds or 0.0 for trial in trained),
        planned=sum(map(planned_epochs, trained)),
    )


def epochs_of(trial: TrialRecord) -> int:
    """Epochs in the curve, those taken over from a stored network included; epoch 0 trains nothing."""
    return sum(point.epoch > 0 for point in trial.curve)


def planned_epochs(trial: TrialRecord) -> int:
    """Epochs of all phases, as the candidate says; 0 where there is none."""
    return sum(trial.candidate.phases.values()) if trial.candidate is not None else 0
