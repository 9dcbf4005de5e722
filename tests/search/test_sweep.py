"""The sweep: what it measures, that it resumes, and what it leaves."""

import csv
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from slimfront.evaluators.data.splits import DataError
from slimfront.evaluators.training import checkpoint as files
from slimfront.search.sweep.results import table, verdicts
from slimfront.search.sweep.run import Progress, SweepError, sweep
from slimfront.spaces import Candidate, CandidateError, presets

KEYS = {"method", "ratio", "retrained", "accuracy", "weights", "stored_weights", "macs", "score"}


def small() -> Candidate:
    values = presets["digits"].to_dict()
    values["architecture"] |= {"stem_width": 4, "widths": [4, 6]}
    return Candidate.from_dict(values)


def run(out: Path, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "methods": ["global_l1", "li_filters", "random", "random_filters"],
        "ratios": [0.3, 0.8],
        "epochs": 2,
        "retrain_epochs": 1,
        "dataset": "digits",
        "name": "tiny",
        "command": "run_search.py sweep",
    }
    return sweep(small(), out=out, **(settings | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("sweep")
    return out, run(out)


def test_every_method_and_ratio_before_and_after(finished: tuple[Path, dict[str, Any]]) -> None:
    summary = finished[1]
    assert summary["complete"]
    points = summary["points"]
    assert {(row["method"], row["ratio"], row["retrained"]) for row in points} == {
        (method, ratio, retrained)
        for method in ("global_l1", "li_filters", "random", "random_filters")
        for ratio in (0.3, 0.8)
        for retrained in (False, True)
    }
    assert all(row.keys() >= KEYS for row in points)
    dense = summary["dense"][0]
    for row in points:
        assert 0 <= row["accuracy"] <= 1
        assert row["score"] < dense["score"]
        if row["method"] in ("global_l1", "random"):
            assert row["macs"] == dense["macs"]
            assert abs(row["stored_weights"] - (1 - row["ratio"]) * dense["weights"]) <= 1
        else:
            assert row["stored_weights"] == row["weights"] < dense["weights"]
    assert {row["granularity"] for row in summary["sensitivity"]} == {"weights", "filters"}


def test_the_files_say_what_a_reader_needs(finished: tuple[Path, dict[str, Any]]) -> None:
    out, summary = finished
    assert json.loads((out / "summary.json").read_text()) == summary
    assert f"\ntorch=={importlib.metadata.version('torch')}\n" in (out / "requirements.txt").read_text()
    wanted = {"candidate", "points", "command", "commit", "machine", "date", "epochs", "retrain_epochs", "seeds"}
    assert summary.keys() >= wanted
    assert (summary["candidate"], summary["command"], summary["split"]) == ("tiny", "run_search.py sweep", "validation")
    with (out / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert rows[0].keys() >= KEYS
    text = (out / "table.md").read_text()
    assert "| Li filters (`li_filters`) |" in text
    for picture in ("sweep.png", "scores.png", "sensitivity.png"):
        assert imread(out / picture).shape[1] > 1000
    assert not list(out.glob("running-*"))


def test_a_finished_sweep_is_not_done_again_and_grows(finished: tuple[Path, dict[str, Any]]) -> None:
    out, summary = finished
    journal = (out / "journal.jsonl").read_bytes()
    told: list[Progress] = []
    again = run(out, progress=told.append)
    assert told == []
    assert again["points"] == summary["points"]
    assert (out / "journal.jsonl").read_bytes() == journal
    more = run(out, ratios=[0.3, 0.5], methods=["global_l1"], progress=told.append)
    assert told[-1].done == told[-1].total == 2
    assert len(more["points"]) == len(summary["points"]) + 2


@pytest.mark.slow
def test_interrupted_at_any_point_it_comes_to_the_same(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"methods": ["han"], "ratios": [0.6], "retrain_epochs": 3}
    wanted = run(tmp_path / "whole", **settings)

    class StopError(Exception):
        pass

    for stop_at in (1, 5):  # while the dense network is trained, and between two rounds of `han`
        count = 0

        def stop(progress: Progress, stop_at: int = stop_at) -> None:
            nonlocal count
            count += 1
            if count == stop_at:
                raise StopError

        with pytest.raises(StopError):
            run(tmp_path / "parts", progress=stop, **settings)
    with (tmp_path / "parts" / "journal.jsonl").open("a") as file:
        file.write('{"piece": "han at 0.6", "ro')  # the power went while a line was written
    resumed = run(tmp_path / "parts", **settings)
    strip = [{key: value for key, value in row.items() if key != "seconds"} for row in resumed["points"]]
    assert strip == [{key: value for key, value in row.items() if key != "seconds"} for row in wanted["points"]]
    assert resumed["dense"] == wanted["dense"]
    assert not list((tmp_path / "parts").glob("running-*"))


@pytest.mark.slow
def test_several_workers_come_to_the_same(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"methods": ["global_l1", "li_filters"], "ratios": [0.3]}
    summary = run(tmp_path, workers=2, **settings)
    one = {(row["method"], row["ratio"], row["retrained"]): row["accuracy"] for row in finished[1]["points"]}
    for row in summary["points"]:
        assert row["accuracy"] == one[row["method"], row["ratio"], row["retrained"]]


def test_a_dense_network_can_be_given(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, summary = finished
    given = run(tmp_path / "one", dense=out / "dense.safetensors", methods=["global_l1"], ratios=[0.3])
    assert given["dense"] == summary["dense"]
    assert given["points"][0]["accuracy"] == summary["points"][0]["accuracy"]
    tensors, _ = files.load(out / "dense.safetensors") or ({}, {})
    del tensors["stem.conv.weight"]
    files.save(tmp_path / "half.safetensors", tensors, {})
    with pytest.raises(SweepError, match=r"half\.safetensors does not fit the candidate: .*stem\.conv\.weight"):
        run(tmp_path / "two", dense=tmp_path / "half.safetensors")
    with pytest.raises(SweepError, match=r"nothing\.safetensors cannot be read as a safetensors file"):
        run(tmp_path / "three", dense=tmp_path / "nothing.safetensors")


def test_slimming_starts_from_a_network_of_its_own(tmp_path: Path) -> None:
    summary = run(tmp_path, methods=["slimming"], ratios=[0.5], retrain_epochs=0)
    assert [row["penalty"] for row in summary["dense"]] == [0.0, 1e-4]
    assert [row["retrained"] for row in summary["points"]] == [False]
    assert (tmp_path / "dense-0.0001.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"methods": ["magic"]}, CandidateError, "There is no pruning method 'magic': "),
        ({"ratios": [0.5, 1.0]}, CandidateError, "but got 1.0"),
        ({"ratios": [0]}, SweepError, "but got 0"),
        ({"ratios": [0.5, 0.5]}, SweepError, "ratios must differ, but got 0.5, 0.5"),
        ({"methods": []}, SweepError, "needs methods"),
        ({"retrain_epochs": -1}, SweepError, "retrain epochs must be at least 0, but got -1"),
        ({"epochs": 0}, SweepError, "epochs must be at least 1, but got 0"),
        ({"dataset": "nothing"}, DataError, "nothing"),
    ],
)
def test_mistakes_are_one_line_with_the_value(
    changes: dict[str, Any], kind: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        run(tmp_path, **changes)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_sweep_needs_another_folder(finished: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(SweepError, match="holds a sweep with another seed: choose another folder"):
        run(finished[0], seed=5)


def test_the_table_marks_what_chance_beats() -> None:
    rows = [
        {"method": method, "ratio": 0.7, "retrained": True, "accuracy": accuracy}
        for method, accuracy in (("han", 0.9), ("thinet", 0.8), ("random", 0.85), ("random_filters", 0.82))
    ]
    found = {row["method"]: row for row in verdicts(rows)}
    assert found["han"]["beats"]
    assert found["han"]["by"] == pytest.approx(0.05)
    assert (found["thinet"]["beats"], found["thinet"]["control"]) == (False, "random_filters")
    summary = {
        "candidate": "c",
        "split": "validation",
        "dataset": "d",
        "retrain_epochs": 3,
        "dense": [{"accuracy": 0.95, "penalty": 0.0}],
        "points": rows,
        "against_random": list(found.values()),
    }
    assert "| ThiNet (`thinet`) | 80.00% * |" in table(summary)
    assert "| Han (`han`) | 90.00% |" in table(summary)
