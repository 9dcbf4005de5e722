"""The reference ladder: networks that others published, put through the score, to compare a front with.

All of it is CIFAR-10, accuracy on the test images. Scores are arithmetic: weights and multiply-adds of the network,
times the bits. Only combinations whose accuracy someone published (or that half precision leaves as it is) are rungs;
the score of a small network at 4 bits is easy to work out, its accuracy there nobody has shown.
"""

from __future__ import annotations

from dataclasses import dataclass

WEIGHTS_UNIT = 5.6e6  # half of ResNet-18's weights: the unit of the first term of the score
MACS_UNIT = 2.8e8  # half of its multiply-adds: the unit of the second


@dataclass(frozen=True)
class Reference:
    """A network of the literature.

    Attributes:
        name: As it is called there.
        weights: Its parameters.
        macs: Multiply-adds for one image.
        accuracy: Lowest and highest published share of the test images; equal where there is one number.
        source: Where it comes from.
    """

    name: str
    weights: int
    macs: int
    accuracy: tuple[float, float]
    source: str

    def score(self, bits: int) -> float:
        """Score with every weight and every activation at `bits` bits, nothing pruned."""
        return bits / 32 * (self.weights / WEIGHTS_UNIT + self.macs / MACS_UNIT)


@dataclass(frozen=True)
class Rung:
    """A point of the plane that someone reached.

    Attributes:
        label: Short, for a plot.
        accuracy: Share of the test images; the middle where several numbers are published.
        score: By the formula.
        low: Lowest published accuracy.
        high: Highest published accuracy.
        measured: False where the accuracy is a claim without a published log.
    """

    label: str
    accuracy: float
    score: float
    low: float
    high: float
    measured: bool = True


RESNET20 = Reference("ResNet-20", 269_722, 40_550_000, (0.917, 0.930), "He et al. 2015, arXiv:1512.03385")

REFERENCES = (
    Reference("ResNet-18", 11_170_000, 555_400_000, (0.930, 0.955), "He et al. 2015, arXiv:1512.03385, CIFAR form"),
    RESNET20,
    Reference("ResNet-8", 78_042, 12_500_000, (0.870, 0.890), "MLPerf Tiny, arXiv:2106.07597"),
    Reference("depthwise tiny ResNet", 101_450, 15_400_000, (0.9141, 0.9141), "32-64-128, distilled"),
    Reference("tiny EfficientNet", 104_792, 4_320_000, (0.900, 0.900), "winner of the course of 2023"),
    Reference("Tiniest", 97_530, 43_900_000, (0.944, 0.944), "smallest known at 94.4 %"),
)

# Additive powers of two (Li et al. 2020, arXiv:1909.13144) on ResNet-20: accuracy at 4, 3 and 2 bits. The stem and the
# classifier stay at 8 bits and the batch-norm parameters in float32: what that adds to the uniform score is counted.
APOT = {4: 0.9245, 3: 0.9249, 2: 0.9096}
_END_WEIGHTS, _END_MACS, _NORM_PARAMETERS = 432 + 640, 442_368 + 640, 1_376

BEST_PUBLISHED = Rung("ResNet-20 W1A4, pruned", 0.9059, 0.0185, 0.9059, 0.9059)  # the best with this formula so far


def apot_score(bits: int) -> float:
    """Score of ResNet-20 at `bits` bits with stem and classifier at 8 bits and float32 batch norm."""
    ends = (8 - bits) / 32 * (_END_WEIGHTS / WEIGHTS_UNIT + _END_MACS / MACS_UNIT)
    norms = (32 - bits) / 32 * _NORM_PARAMETERS / WEIGHTS_UNIT
    return RESNET20.score(bits) + ends + norms


def rungs() -> tuple[Rung, ...]:
    """All rungs by descending score: the networks in half precision, ResNet-20 at low bits, the best published."""
    found = [
        Rung(
            reference.name,
            sum(reference.accuracy) / 2,
            reference.score(16),
            *reference.accuracy,
            measured=reference.name != "tiny EfficientNet",
        )
        for reference in REFERENCES
    ]
    found += [
        Rung(f"ResNet-20 W{bits}A{bits}", accuracy, apot_score(bits), accuracy, accuracy)
        for bits, accuracy in APOT.items()
    ]
    return tuple(sorted([*found, BEST_PUBLISHED], key=lambda rung: -rung.score))
