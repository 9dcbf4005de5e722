"""The published table of an hour's search gives back every candidate that it was made of."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ranks = pytest.importorskip("benchmarks.rank_correlation", reason="benchmarks/ is not beside the tests")
candidate, chosen_of, interval = ranks.candidate, ranks.chosen_of, ranks.interval

TABLE = Path(__file__).parents[1] / "results" / "cifar10_hour" / "trials.csv"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_is_read_back_to_its_digest(rows: list[dict[str, str]]) -> None:
    assert len(rows) == 27
    assert [candidate(row).digest for row in rows] == [row["digest"] for row in rows]
    with pytest.raises(SystemExit, match="reads as"):
        candidate(rows[0] | {"bits.weights": "5"})


def test_one_trial_of_each_dense_network_is_taken_the_most_accurate(rows: list[dict[str, str]]) -> None:
    chosen = chosen_of(rows)
    networks = [found.uncompressed_digest for _, found in chosen]
    assert len(set(networks)) == len(networks) == 8
    for row, found in chosen:
        same = [other for other in rows if candidate(other).uncompressed_digest == found.uncompressed_digest]
        finished = [float(other["accuracy"]) for other in same if other["state"] == "complete"]
        assert float(row["accuracy"]) == max(finished)


def test_interval_of_a_rank_correlation() -> None:
    low, high = interval(0.9, 8)
    assert low == pytest.approx(0.408, abs=0.001)  # atanh(.9) -+ 1.96 sqrt(1.405 / 5)
    assert high == pytest.approx(0.987, abs=0.001)
    assert interval(-0.9, 8) == pytest.approx((-high, -low))
    assert interval(0.5, 3) == (-1, 1)
