"""A search whose processes are killed at random moments loses nothing and counts nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

chaos = pytest.importorskip("benchmarks.chaos", reason="benchmarks/ is not beside the tests")


@pytest.mark.slow
def test_a_search_survives_being_killed_again_and_again(tmp_path: Path) -> None:
    found = chaos.chaos(tmp_path, kills=10, workers=2, pause=0.1, coordinator_share=0.2)
    assert found["kills"] == 10
    assert found["coordinators_killed"] > 0
    assert found["workers_killed"] > 0
    assert (found["lost"], found["doubled"], found["trials"]) == (0, 0, 15)
    assert found["front_equal"]
    assert found["values_equal"]
