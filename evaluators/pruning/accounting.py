"""What pruning removed, as shares of the original weights, and the measured score beside the closed formula's.

p_s and p_u of the formula are both fractions of the weights that the uncompressed network had. The closed formula is
often filled with the ratios that pruning was *asked* for. That is wrong twice: removing a share r of the filters
everywhere takes about 1 - (1 - r)^2 of the weights and of the multiply-adds, not r; and single weights are pruned of
what is left, so that p_u = (1 - p_s) * ratio. An `Account` shows the measured score next to the formula with nominal
ratios.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from slimfront.evaluators.scoring.score import Score, formula
from slimfront.spaces.candidate import Pruning, Sparsity


@dataclass(frozen=True)
class Account:
    """What pruning came to.

    Attributes:
        weights: Of the uncompressed network's convolutions and linear layers: w.
        macs: Multiply-adds of the uncompressed network: f.
        p_s: Share of w that went with whole filters.
        p_u: Share of w that was masked.
        p_f: Share of f that went with whole filters. The formula takes it to be p_s.
        nominal_p_s: Ratio of filters that was asked for.
        nominal_p_u: Ratio of weights that was asked for, as a share of w.
        score: Measured layer by layer on the network as it is.
        formula: Closed formula with p_s and p_u as they are.
        nominal_formula: Closed formula with the nominal ratios.
    """

    weights: int
    macs: int
    p_s: float
    p_u: float
    p_f: float
    nominal_p_s: float
    nominal_p_u: float
    score: float
    formula: float
    nominal_formula: float

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def account(uncompressed: Score, pruned: Score, pruning: Pruning, *, q_w: int = 32, q_a: int = 32) -> Account:
    """The account of a network that was `uncompressed` and is now `pruned`.

    Args:
        uncompressed: Score before pruning.
        pruned: Score after it, masks attached or finalised.
        pruning: What was asked for.
        q_w: Bits of the weights in the closed formula.
        q_a: Bits of the activations.
    """
    p_s = 1 - pruned.weights / uncompressed.weights
    p_u = (pruned.weights - pruned.stored_weights) / uncompressed.weights
    nominal_p_s = _ratio(pruning.filters)
    nominal_p_u = (1 - nominal_p_s) * _ratio(pruning.weights)
    return Account(
        weights=uncompressed.weights,
        macs=uncompressed.macs,
        p_s=p_s,
        p_u=p_u,
        p_f=1 - pruned.macs / uncompressed.macs,
        nominal_p_s=nominal_p_s,
        nominal_p_u=nominal_p_u,
        score=pruned.score,
        formula=formula(uncompressed.weights, uncompressed.macs, p_s, p_u, q_w, q_a),
        nominal_formula=formula(uncompressed.weights, uncompressed.macs, nominal_p_s, nominal_p_u, q_w, q_a),
    )


def _ratio(step: Sparsity | None) -> float:
    if step is None:
        return 0.0
    return sum(step.ratios) / len(step.ratios) if step.scope == "stage" else step.ratio
