"""The strict score: the score with everything that the formula leaves out (`slimfront.evaluators.scoring.strict`)."""

from __future__ import annotations

from slimfront.evaluators.scoring.cost import Cost

STRICT_SCORE = Cost(
    name="strict_score",
    title="strict score",
    words="the score with biases, scales, masks of pruned weights and batch norm, at the bits they are stored in",
    corner=1.99,  # as the score, which it exceeds by little
    measure=lambda subject: subject.score.strict_score,
    note="the score with every bit that is stored",
    before_training=True,
)
