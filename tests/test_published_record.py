"""What is published for the record: its files still hold what its summary says, and false claims are refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from slimfront.evaluators.artifacts.verify import verify

record = pytest.importorskip("benchmarks.record", reason="benchmarks/ is not beside the tests")
FOLDER = Path(__file__).resolve().parents[1] / "results" / "record"
NETWORKS = json.loads((FOLDER / "summary.json").read_text())["networks"] if FOLDER.exists() else []


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["digest"])
def test_published_files_hold_what_the_summary_says(network: dict[str, Any]) -> None:
    found = [verify(FOLDER / artifact) for artifact in network["artifacts"]]
    assert [one.problems for one in found] == [()] * len(network["seeds"])
    assert [one.bytes for one in found] == network["bytes"]
    assert [one.claims["accuracy"] for one in found] == network["accuracies"]
    for key in ("score", "strict_score", "macs", "weights", "stored_weights"):
        assert max(getattr(one, key) for one in found) == network[key]


def test_an_accuracy_that_its_file_does_not_reach_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def says(*_arguments: object, **_options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, json.dumps({"accuracy": 0.8964, "ok": True}), "")

    monkeypatch.setattr(subprocess, "run", says)
    assert record.verified(Path("a.slim"), 0.8964)["ok"]
    with pytest.raises(SystemExit, match=r"reaches 0\.8964, not the 0\.9"):
        record.verified(Path("a.slim"), 0.9)


def test_networks_that_were_published_before_stay_with_what_their_files_are_counted_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"digest": name, "artifacts": [f"{name}/0", f"{name}/1"], "accuracies": [0.9, 0.91], "score": 7.0, "seeds": [0]}
        for name in ("old", "new")
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"networks": rows}))
    counts = {"strict_score": 2.0, "weights": 3, "stored_weights": 3, "macs": 4, "bytes": 5, "ok": True}
    asked: list[tuple[Path, float]] = []

    def verified(artifact: Path, accuracy: float) -> dict[str, Any]:
        asked.append((artifact, accuracy))
        return counts | {"score": accuracy}

    monkeypatch.setattr(record, "verified", verified)
    (kept,) = record.published(tmp_path, without={"new"})
    assert asked == [(tmp_path / "old/0", 0.9), (tmp_path / "old/1", 0.91)]
    assert (kept["digest"], kept["score"], kept["bytes"], kept["verified"]) == ("old", 0.91, [5, 5], [True, True])
