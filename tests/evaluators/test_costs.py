"""Costs, each by itself: what it measures, in which words it is told, and what is no cost."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from finished_networks import CLASSES, PADDED, SHAPE, finished
from slimfront.evaluators.artifacts.artifact import save
from slimfront.evaluators.scoring.cost import COSTS, Cost, CostError, Subject, check, excess, in_figures, measure, over
from slimfront.evaluators.scoring.costs.file_bytes import FILE_BYTES
from slimfront.evaluators.scoring.costs.latency_ms import LATENCY_MS
from slimfront.evaluators.scoring.costs.onnx_latency_ms import ONNX_LATENCY_MS
from slimfront.evaluators.scoring.costs.score import SCORE, SCORE_AXIS
from slimfront.evaluators.scoring.costs.strict_score import STRICT_SCORE
from slimfront.evaluators.scoring.expected import rate
from slimfront.evaluators.scoring.score import score
from slimfront.spaces.candidate import Bits, Candidate
from torch import nn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def subject() -> Subject:
    network = finished(PADDED, Bits((4, 4), (8, 8)))
    return Subject(network.eval(), SHAPE, score(network, SHAPE))


def made(value: Any = 1.0, **changes: Any) -> Cost:
    known = {"name": "made", "title": "made", "words": "made up", "corner": 10.0, "measure": lambda _: value}
    return Cost(**(known | changes))


def test_the_scores_are_those_of_the_network(subject: Subject) -> None:
    found = measure((SCORE.name, STRICT_SCORE.name), subject)
    assert list(found.values()) == [subject.score.score, subject.score.strict_score]


def test_the_file_size_is_that_of_an_artifact_without_its_origin(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "a.slim"
    save(subject.network, path, SHAPE)
    assert measure([FILE_BYTES.name], subject) == {FILE_BYTES.name: path.stat().st_size}


class Counting(nn.Module):
    """Takes no time that a clock would see, and counts how often it is run, on what, and with how many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], int, bool]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((tuple(images.shape), torch.get_num_threads(), torch.is_grad_enabled()))
        return images


def test_latency_is_measured_on_one_image_and_one_thread(subject: Subject) -> None:
    counting, before = Counting(), torch.get_num_threads()
    found = measure([LATENCY_MS.name], dataclasses.replace(subject, network=counting))
    assert found[LATENCY_MS.name] > 0
    assert set(counting.seen) == {((1, *SHAPE), 1, False)}
    assert len(counting.seen) >= 4  # warmed up, and more than once
    assert torch.get_num_threads() == before


def test_latency_in_onnx_runtime_where_that_is_installed(subject: Subject) -> None:
    for package in ONNX_LATENCY_MS.packages:
        pytest.importorskip(package)
    assert 0 < measure([ONNX_LATENCY_MS.name], subject)[ONNX_LATENCY_MS.name] < ONNX_LATENCY_MS.corner


def test_measuring_leaves_the_network_as_it_is(subject: Subject) -> None:
    before = {name: tensor.clone() for name, tensor in subject.network.state_dict().items()}
    measure((FILE_BYTES.name, LATENCY_MS.name), subject)
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.network.state_dict().items())
    assert score(subject.network, SHAPE) == subject.score


def test_before_training_only_what_does_not_depend_on_it_is_known() -> None:
    candidate = Candidate(PADDED)
    rated = rate(candidate, SHAPE, CLASSES, (SCORE.name, STRICT_SCORE.name, FILE_BYTES.name))
    assert set(rated.costs) == {SCORE.name, STRICT_SCORE.name}
    assert rated.costs[SCORE.name] == rated.score["score"]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e13, "much", None])
def test_what_is_no_cost_is_refused_in_one_line(value: Any, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COSTS.__dict__, "own", {"made": made(value)})
    with pytest.raises(CostError, match="the cost made") as caught:
        measure(["made"], subject)
    assert "\n" not in str(caught.value)


def test_a_function_that_fails_says_how(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = made(measure=lambda it: it.network.no_such_part)
    monkeypatch.setitem(COSTS.__dict__, "own", {"made": broken})
    with pytest.raises(CostError, match=r"cannot be measured: AttributeError: .*no_such_part"):
        measure(["made"], subject)


@pytest.mark.parametrize("package", ["not_there_at_all", "not_there_at_all.inside"])
def test_a_package_that_is_missing_is_named_before_any_work(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COSTS.__dict__, "own", {"made": made(packages=("json", package))})
    with pytest.raises(CostError, match=f"made needs the package {package}: "):
        check("made")


@pytest.mark.parametrize("changes", [{"corner": 0}, {"corner": math.nan}, {"corner": "1"}, {"title": "a\nb"}])
def test_a_cost_that_cannot_be_is_refused_where_it_is_made(changes: dict[str, Any]) -> None:
    with pytest.raises(CostError, match=next(iter(changes))):
        made(**changes)


def test_bounds_by_hand() -> None:
    costs, bounds = {"a": 100.0, "b": 1.0, "c": 5.0}, {"a": 1.0, "b": 1.0, "d": 1.0}
    assert over(costs, bounds) == {"a": 1.0}
    assert excess(costs, {"a": 1.0, "c": 0.5}) == pytest.approx(3.0)  # two decades and one


def test_words() -> None:
    """Those of the score are what studies have had as the name of their second objective since the beginning."""
    assert SCORE_AXIS.metric == "score (1.99 = ResNet-18 in half precision)"
    assert SCORE_AXIS.label == "score (log scale; 1.99 = ResNet-18 in half precision; less is better)"
    assert (SCORE_AXIS.told(0.02413), SCORE_AXIS.corner) == ("0.02413", 1.99)
    axis = FILE_BYTES.axis(FILE_BYTES.name)
    assert (axis.head, axis.told(12_345.4), axis.told(345, 3)) == ("file size (bytes)", "12,345 bytes", "345 bytes")
    assert [in_figures(value) for value in (1e-5, 1.25, 9999.4, 10_000, 123_456_789)] == [
        *("1e-05", "1.25", "9999", "10,000", "123,456,789")
    ]


def test_every_cost_is_a_file_of_its_own() -> None:
    """Nothing else names one: `tests/test_house.py`."""
    assert {path.stem for path in (ROOT / "evaluators/scoring/costs").glob("[a-z]*.py")} == set(COSTS.names)
