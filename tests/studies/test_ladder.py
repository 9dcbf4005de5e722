from __future__ import annotations

import pytest
from slimfront.evaluators.scoring.score import formula
from slimfront.studies.analysis.ladder import APOT, REFERENCES, apot_score, rungs

FIELD = {  # half precision, 4 bits
    "ResNet-18": (1.99, 0.497),
    "ResNet-20": (0.0965, 0.0241),
    "ResNet-8": (0.029, 0.0073),
    "depthwise tiny ResNet": (0.0366, 0.0092),
    "tiny EfficientNet": (0.0171, 0.0043),
    "Tiniest": (0.087, 0.0218),
}


def test_the_ladder_holds_the_reference_values() -> None:
    assert {reference.name for reference in REFERENCES} == set(FIELD)
    for reference in REFERENCES:
        half, four = FIELD[reference.name]
        assert reference.score(16) == pytest.approx(half, rel=0.02)
        assert reference.score(4) == pytest.approx(four, rel=0.02)


def test_the_ladder_agrees_with_the_formula() -> None:
    for reference in REFERENCES:
        for bits in (2, 4, 16, 32):
            expected = formula(reference.weights, reference.macs, q_w=bits, q_a=bits)
            assert reference.score(bits) == pytest.approx(expected)


def test_two_bit_resnet20_counts_its_edges_and_norms() -> None:
    assert apot_score(2) == pytest.approx(0.0126, abs=5e-5)
    assert all(apot_score(bits) > REFERENCES[1].score(bits) for bits in APOT)


def test_rungs_descend_and_are_within_their_ranges() -> None:
    found = rungs()
    assert [rung.score for rung in found] == sorted((rung.score for rung in found), reverse=True)
    assert all(0.85 < rung.low <= rung.accuracy <= rung.high < 1 for rung in found)
    assert [rung.label for rung in found if not rung.measured] == ["tiny EfficientNet"]
    assert min(rung.score for rung in found if rung.measured) == pytest.approx(0.0126, abs=5e-5)
