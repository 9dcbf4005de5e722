"""When it is pruned: at once, in rounds, gradually, or layer after layer, with fine-tuning in between.

Plain numbers: which rounds there are (`plan`), how much is gone after each (`share_gone`, `layer_ratios`). The phase
that carries them out is in `slimfront.evaluators.pruning.phase`.

schedule    share of the ratio that is gone after round k of K                              source
once        all of it, then fine-tuning
iterative   an equal share of what is left goes in every round, fine-tuning after each      arXiv:1506.02626
gradual     1 - (1 - t)^3, t the progress: many weights early, few late                     arXiv:1710.01878
layerwise   all of it, in one layer after the other, fine-tuning in between                 arXiv:1608.08710

Gradual pruning of single weights updates the masks within one training, UPDATES times over its first three quarters,
and leaves the rest to recovery; gradual pruning of filters does it in rounds. Where there are fewer epochs than rounds,
the epochs are spread evenly and the last round has one. Layer after layer, half of the epochs come after the last cut,
as in ThiNet, and the other half is spread over the cuts before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slimfront.evaluators.pruning.errors import PruningError
from slimfront.spaces.candidate import GRADUAL, Sparsity


@dataclass(frozen=True)
class Round:
    """One cut and the fine-tuning after it.

    Attributes:
        progress: In (0, 1]: how far the schedule is after this cut.
        only: Cut this layer (or group of filters) alone; None: all.
        epochs: Fine-tuning after it.
    """

    progress: float
    only: str | None
    epochs: int


def plan(step: Sparsity, layers: Sequence[str]) -> list[Round]:
    """The rounds of a schedule; their epochs sum to the step's.

    Args:
        step: Says schedule, rounds and epochs.
        layers: Layers (or groups of filters) that can be cut, in order.
    """
    if step.schedule == "layerwise":
        last = step.epochs if len(layers) == 1 else (step.epochs + 1) // 2
        shares = [*share_epochs(step.epochs - last, len(layers) - 1, centred=True), last]
        return [Round(1.0, name, epochs) for name, epochs in zip(layers, shares, strict=True)]
    # Without fine-tuning in between, rounds of a cut come to the same as one, but for the drift of what they look at.
    rounds = 1 if step.schedule == "once" else step.rounds
    if step.schedule == GRADUAL and step.granularity == "weights":
        rounds = 1
    return [Round((k + 1) / rounds, None, epochs) for k, epochs in enumerate(share_epochs(step.epochs, rounds))]


def share_epochs(epochs: int, rounds: int, *, centred: bool = False) -> list[int]:
    """`epochs` spread evenly over `rounds`, whole numbers; the last gets its share in any case unless `centred`.

    >>> share_epochs(5, 3), share_epochs(2, 4), share_epochs(1, 5, centred=True)
    ([1, 2, 2], [0, 1, 0, 1], [0, 0, 1, 0, 0])
    """
    ends = [(epochs * (k + 1) + (rounds // 2 if centred else 0)) // rounds for k in range(rounds)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def share_gone(schedule: str, ratio: float, progress: float) -> float:
    """Share of what was there at the beginning that is gone at `progress` in [0, 1]; exactly `ratio` at 1."""
    if progress >= 1:
        return ratio
    if schedule == "iterative":
        return float(1 - (1 - ratio) ** progress)
    if schedule == GRADUAL:
        return float(ratio * (1 - (1 - progress) ** 3))
    return ratio


def layer_ratios(step: Sparsity, layers: Sequence[str]) -> dict[str, float]:
    """The ratio of each layer (or group of filters, by its first layer).

    With scope "stage" what stands before the stages belongs to the first of them, and what stands behind, to the last.

    Raises PruningError where a network has more stages than there are ratios.
    """
    if step.scope != "stage":
        return dict.fromkeys(layers, step.ratio)
    result: dict[str, float] = {}
    for name in layers:
        part, _, rest = name.partition(".")
        outside = 0 if part == "stem" else len(step.ratios) - 1
        stage = int(rest.partition(".")[0]) if part == "stages" else outside
        if stage >= len(step.ratios):
            raise PruningError(f"sparsity.ratios must have one entry a stage, but {name!r} has none in {step.ratios}.")
        result[name] = step.ratios[stage]
    return result
