"""The score: what a network stores and computes, as a share of half of ResNet-18 (docs/score.md). The default."""

from __future__ import annotations

from slimfront.evaluators.scoring.cost import Cost

SCORE = Cost(
    name="score",
    title="score",
    words="stored weights and multiply-adds at their bits, as a share of half of ResNet-18's",
    corner=1.99,  # ResNet-18 in half precision
    measure=lambda subject: subject.score.score,
    note="1.99 = ResNet-18 in half precision",
    before_training=True,
    paper="MicroNet challenge 2019",
)

SCORE_AXIS = SCORE.axis(SCORE.name)
