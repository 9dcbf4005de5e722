"""Retraining: honest numbers, one look at the test set, and going on after an interruption."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from slimfront.evaluators.data import loaded
from slimfront.evaluators.data.splits import DataError, FinalData, Images, final_data
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.training import views
from slimfront.evaluators.training.augmentation import augment
from slimfront.evaluators.training.context import Teacher
from slimfront.evaluators.training.loop import Epoch, TrainingError
from slimfront.evaluators.training.views import Views
from slimfront.models import build
from slimfront.search.launch import Options
from slimfront.search.retrain import job as final_job
from slimfront.search.retrain.final_test import RECEIPT, FinalTest, TestReadError, count_reads
from slimfront.search.retrain.job import RetrainError, expected_epochs, lengthened, prepare, retrain_job
from slimfront.search.retrain.numbers import (
    CLEARS,
    MISSES,
    ON_AVERAGE,
    lower_limit,
    rank_correlation,
    summarise,
    verdict,
)
from slimfront.search.retrain.plan import Choice, Plan, make_plan
from slimfront.search.retrain.run import retrain
from slimfront.search.retrain.show import print_retrained
from slimfront.spaces import Augmentation, Bits, Candidate, Pruning, presets, sparsity

DIGITS = presets["digits"]
EPOCHS = 2


class FakePipeline:
    """Trains nothing; what it is handed is kept for the test to look at."""

    seen: ClassVar[list[tuple[Job, FinalData, bool]]] = []
    stop_after: int | None = None

    def __init__(self, job: Job, data: FinalData, *, validate: bool) -> None:
        self.seen.append((job, data, validate))
        self.job, self.notes, self.facts = job, ["a note"], {}
        torch.manual_seed(job.seed)
        self.network = build(job.candidate.architecture, data.classes, channels=data.input_shape[0], seed=job.seed)

    def run(self) -> Iterator[Epoch]:
        for epoch in range(1, EPOCHS + 1):
            if self.stop_after is not None and epoch > self.stop_after:
                raise TrainingError("loss_not_finite", "The loss of epoch 2 is nan.")
            yield Epoch("dense", epoch, EPOCHS, 1.0 / epoch, None, 0.1)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of a single training wait for each other wherever tests share the cores."""
    monkeypatch.setattr("slimfront.search.retrain.run.resources", lambda options: ("cpu", 1, 1))


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> type[FakePipeline]:
    monkeypatch.setattr("slimfront.evaluators.pipeline.Pipeline", FakePipeline, raising=False)
    monkeypatch.setattr(loaded, "_held", {})
    monkeypatch.setattr(FakePipeline, "seen", [])
    return FakePipeline


def plan(*candidates: Candidate, **changes: Any) -> Plan:
    choices = tuple(Choice(candidate, number, 0.95) for number, candidate in enumerate(candidates or (DIGITS,)))
    return Plan(choices, **({"dataset": "digits", "seeds": 3} | changes))


def options(folder: Path) -> Options:
    return Options(storage="", workers=1, out=folder, device="cpu")


# Final numbers


def test_the_lower_limit_is_that_of_students_t() -> None:
    # Three values with mean .92 and deviation .01: t(.975, 2) = 4.30265, over sqrt(3).
    limit = lower_limit([0.91, 0.92, 0.93])
    assert limit == pytest.approx(0.92 - 4.302653 * 0.01 / math.sqrt(3), abs=1e-7)
    assert lower_limit([0.91, 0.91]) == 0.91
    assert lower_limit([0.91]) is None


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ([0.93, 0.931, 0.932], CLEARS),
        ([0.9, 0.9, 0.9], CLEARS),  # exactly the bar counts
        ([0.89, 0.92, 0.91], ON_AVERAGE),
        ([0.95], ON_AVERAGE),  # one seed proves nothing
        ([0.8999, 0.8999, 0.8999], MISSES),
        ([], "has no result"),
    ],
)
def test_the_verdict_in_words(accuracies: list[float], words: str) -> None:
    assert verdict(accuracies, 0.9) == words


def test_the_gap_and_the_rank_correlation() -> None:
    assert summarise([0.9, 0.92], 0.9, 0.93)["gap"] == pytest.approx(0.02)
    assert summarise([0.9, 0.92], 0.9, None)["gap"] is None
    assert rank_correlation([0.91, 0.92, 0.93, 0.94], [0.5, 0.6, 0.7, 0.8]) == pytest.approx(1)
    assert rank_correlation([0.91, 0.92, 0.93], [0.8, 0.7, 0.6]) == pytest.approx(-1)
    assert rank_correlation([0.91, 0.92], [0.8, 0.7]) is None
    assert rank_correlation([0.9, 0.9, 0.9], [0.8, 0.7, 0.6]) is None


# The test set


def test_the_test_accuracy_is_handed_out_once(tmp_path: Path) -> None:
    opened: list[int] = []

    def measure() -> float:
        assert (tmp_path / RECEIPT).exists()  # the receipt comes first
        opened.append(1)
        return 0.91

    assert FinalTest(tmp_path, "abc", 0).known() is None
    assert FinalTest(tmp_path, "abc", 0).read(measure) == 0.91
    with pytest.raises(TestReadError, match="read once"):
        FinalTest(tmp_path, "abc", 0).read(measure)
    assert opened == [1]
    assert FinalTest(tmp_path, "abc", 0).known() == 0.91  # what was measured may be told again
    with pytest.raises(TestReadError, match="another network"):
        FinalTest(tmp_path, "def", 0).known()


def test_test_images_that_cannot_be_opened_cost_nothing(tmp_path: Path, pipeline: type[FakePipeline]) -> None:
    prepare(tmp_path, "abc", DIGITS, 0, "")
    job, data = Job(DIGITS, "digits", 0, folder=tmp_path), final_data("digits")

    def torn() -> Images:
        raise DataError("test.bin is torn")

    broken = dataclasses.replace(data, _open_test=torn)
    with pytest.raises(DataError):
        list(final_job._retrain(job, broken))
    assert count_reads(tmp_path) == 0
    list(final_job._retrain(job, data))
    assert count_reads(tmp_path) == 1


def test_a_crash_while_reading_earns_no_second_look(tmp_path: Path) -> None:
    def crash() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FinalTest(tmp_path, "abc", 0).read(crash)
    assert FinalTest(tmp_path, "abc", 0).known() is None
    with pytest.raises(TestReadError):
        FinalTest(tmp_path, "abc", 0).read(lambda: 0.9)
    assert count_reads(tmp_path) == 1


# Retraining


def test_summary_of_three_seeds(
    tmp_path: Path, pipeline: type[FakePipeline], capsys: pytest.CaptureFixture[str]
) -> None:
    how, summary = retrain(plan(), options(tmp_path))
    assert how == "done"
    assert summary["digest"] == DIGITS.digest
    assert summary["seeds"] == [0, 1, 2]
    assert len(set(summary["accuracies"])) > 1  # different seeds are different networks
    assert summary["mean"] == pytest.approx(sum(summary["accuracies"]) / 3)
    assert summary["lower"] < summary["mean"]
    assert summary["verdict"] == MISSES
    assert summary["gap"] == pytest.approx(0.95 - summary["mean"])
    assert summary["score"] == max(summary["scores"])
    assert summary["strict_score"] > summary["score"]
    assert summary["test_evaluations"] == 3
    assert {"command", "commit", "machine", "date"} <= set(summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert f"\ntorch=={importlib.metadata.version('torch')}\n" in (tmp_path / "requirements.txt").read_text()

    images = len(final_data("digits").train)
    assert all(len(data.train) == images and not validate for _, data, validate in pipeline.seen)
    assert pipeline.seen[-1][1].test_reads == 3
    assert all(job.candidate.recipe.epochs == 3 * DIGITS.recipe.epochs for job, _, _ in pipeline.seen)

    print_retrained(summary, "sqlite:///slimfront.db")
    printed = capsys.readouterr().out
    assert "misses it" in printed
    assert "test set read 3 times" in printed


def test_the_same_command_goes_on_and_reads_nothing_twice(tmp_path: Path, pipeline: type[FakePipeline]) -> None:
    _, first = retrain(plan(seeds=2), options(tmp_path))
    trained = len(pipeline.seen)
    _, again = retrain(plan(seeds=2), options(tmp_path))
    assert len(pipeline.seen) == trained
    assert again["accuracies"] == first["accuracies"]
    _, more = retrain(plan(seeds=3), options(tmp_path))
    assert len(pipeline.seen) == trained + 1
    assert more["accuracies"][:2] == first["accuracies"]
    assert more["test_evaluations"] == 3


def test_an_accuracy_that_was_read_survives_a_lost_result(tmp_path: Path, pipeline: type[FakePipeline]) -> None:
    _, first = retrain(plan(seeds=1), options(tmp_path))
    result = tmp_path / DIGITS.digest / "seed-0" / "result.json"
    result.unlink()
    pipeline.seen.clear()
    _, again = retrain(plan(seeds=1), options(tmp_path))
    assert again["accuracies"] == first["accuracies"]
    assert pipeline.seen[-1][1].test_reads == 1  # that of the first time, in the same process
    assert again["test_evaluations"] == 1


def test_another_schedule_in_the_same_folder_is_refused(tmp_path: Path, pipeline: type[FakePipeline]) -> None:
    retrain(plan(seeds=1, epochs=5), options(tmp_path))
    with pytest.raises(RetrainError, match=r"another schedule.*give another --out"):
        retrain(plan(seeds=1, epochs=6), options(tmp_path))


def test_other_data_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    prepare(tmp_path, "abc", DIGITS, 0, "data one")
    prepare(tmp_path, "abc", DIGITS, 0, "data one")
    with pytest.raises(RetrainError, match="another data set"):
        prepare(tmp_path, "abc", DIGITS, 0, "data two")


def test_a_front_with_its_rank_correlation(tmp_path: Path, pipeline: type[FakePipeline]) -> None:
    wider = [lengthened(DIGITS, epochs) for epochs in (20, 21, 22)]
    how, summary = retrain(plan(*wider, wider[0], seeds=1), options(tmp_path))
    assert how == "done"
    assert [network["trial"] for network in summary["networks"]] == [3, 1, 2]  # the same network once
    assert "digest" not in summary  # several: none of them stands for all
    assert summary["test_evaluations"] == 3


def test_a_failed_seed_is_told_and_the_others_count(
    tmp_path: Path, pipeline: type[FakePipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "stop_after", 1)
    how, summary = retrain(plan(seeds=2), options(tmp_path))
    assert how == "failures"
    assert summary["accuracies"] == []
    assert summary["mean"] is None
    assert [failed["reason"] for failed in summary["failed"]] == ["loss_not_finite"] * 2
    assert summary["test_evaluations"] == 0
    monkeypatch.setattr(pipeline, "stop_after", None)
    how, summary = retrain(plan(seeds=2), options(tmp_path))
    assert (how, len(summary["accuracies"])) == ("done", 2)


def test_the_workers_evaluator_yields_every_epoch(tmp_path: Path, pipeline: type[FakePipeline]) -> None:
    prepare(tmp_path, "abc", DIGITS, 0, "")
    generator: Generator[Epoch, None, Result] = retrain_job(Job(DIGITS, "digits", 0, folder=tmp_path))
    epochs = [next(generator).epoch for _ in range(EPOCHS)]
    assert epochs == [1, 2]
    generator.close()
    assert count_reads(tmp_path) == 0  # stopped before the end: the test set was not opened


def test_a_float_network_leaves_an_artifact_too(tmp_path: Path) -> None:
    """Nothing is quantized here, so no other stage brings the network into the form that a file holds."""
    recipe = dataclasses.replace(DIGITS.recipe, epochs=1)
    how, summary = retrain(plan(dataclasses.replace(DIGITS, recipe=recipe), seeds=1, epochs=1), options(tmp_path))
    assert how == "done"
    assert summary["verified"], summary["notes"]
    assert summary["notes"] == []


def test_longer_schedules_stretch_every_stage() -> None:
    pruning = Pruning(sparsity("li_filters", 0.3, 5), sparsity("han", 0.5, 0))
    candidate = Candidate(DIGITS.architecture, pruning=pruning, bits=Bits((4,), (4,), epochs=2))
    longer = lengthened(candidate, 3 * candidate.recipe.epochs)
    assert expected_epochs(longer) == 3 * expected_epochs(candidate)
    assert longer.pruning.weights is not None
    assert longer.pruning.weights.epochs == 0  # no fine-tuning stays none
    assert expected_epochs(lengthened(candidate, 1)) == 3  # but what there is stays


@pytest.mark.slow
def test_a_compressed_network_ends_as_a_verified_artifact(tmp_path: Path) -> None:
    """The real stages, a little of each: filters and weights pruned, 4 bits, two seeds."""
    pruning = Pruning(sparsity("li_filters", 0.25, 1), sparsity("global_l1", 0.3, 1))
    recipe = dataclasses.replace(DIGITS.recipe, epochs=2)
    bits = Bits.uniform(4, 4, outer=8, epochs=1)
    candidate = dataclasses.replace(DIGITS, pruning=pruning, bits=bits, recipe=recipe)
    how, summary = retrain(plan(candidate, seeds=2, epochs=2), options(tmp_path))
    assert how == "done"
    assert summary["verified"], summary["notes"]
    assert len(summary["artifacts"]) == 2
    assert summary["test_evaluations"] == 2
    from slimfront.evaluators.artifacts.verify import verify

    told = verify(Path(summary["artifacts"][0]), final_data("digits").test())
    assert told.ok, told.problems
    assert told.accuracy == summary["accuracies"][0]
    assert told.score == pytest.approx(summary["scores"][0])


# The command line


def test_exactly_one_choice() -> None:
    nothing = {"trial": None, "front": False, "candidate": None}
    rest: dict[str, Any] = {"dataset": None, "bar": None, "seeds": 5, "epochs": None}
    for chosen in (nothing, nothing | {"trial": 1, "front": True}, nothing | {"trial": 0, "candidate": "digits"}):
        with pytest.raises(RetrainError, match="exactly one"):
            make_plan("sqlite://", None, chosen, **rest)
    made, folder = make_plan("sqlite://", None, nothing | {"candidate": "digits"}, **rest)
    assert made.choices == (Choice(DIGITS),)
    assert folder.name == DIGITS.digest
    for wrong in ({"seeds": 0}, {"epochs": 0}, {"bar": 90.0}):
        with pytest.raises(RetrainError, match=f"--{next(iter(wrong))} must be"):
            make_plan("sqlite://", None, nothing | {"candidate": "digits"}, **(rest | wrong))


def test_a_trial_brings_its_study_along(tmp_path: Path) -> None:
    from slimfront.studies.errors import StudyError
    from slimfront.studies.record import State, TrialRecord
    from slimfront.studies.store.records import to_frozen
    from slimfront.studies.store.storage import create_or_load, open_storage

    url = f"sqlite:///{tmp_path}/s.db"
    study = create_or_load(open_storage(url), "a study")
    study.set_user_attr("identity", {"dataset": "digits", "bar": 0.8, "image_size": None})
    record = TrialRecord.begin(0, DIGITS, state=State.COMPLETE, accuracy=0.85, score=0.01, totals={"score": 0.01})
    study.add_trial(to_frozen(record, 0.8))
    rest: dict[str, Any] = {"dataset": None, "bar": None, "seeds": 5, "epochs": None}
    made, folder = make_plan(url, None, {"trial": "0", "front": False, "candidate": None}, **rest)
    assert (made.dataset, made.bar, made.study) == ("digits", 0.8, "a study")
    assert made.choices == (Choice(DIGITS, 0, 0.85),)
    assert folder.name == "a_study-trial-0"
    of_front, _ = make_plan(url, None, {"trial": None, "front": True, "candidate": None}, **rest)
    assert of_front.choices == made.choices
    study.add_trial(to_frozen(TrialRecord(1, State.FAILED), 0.8))
    impossible = {"reason": "impossible", "text": "ScoreError: too narrow"}  # as a search notes it
    study.add_trial(to_frozen(TrialRecord(2, State.FAILED, **impossible), 0.8))
    for number, why in {
        7: "has no trial 7, only 0 to 2",
        1: "ended before its network was known",
        2: r"no network can be built from what was sampled \(ScoreError: too narrow\)",
    }.items():
        with pytest.raises(StudyError, match=why):
            make_plan(url, None, {"trial": str(number), "front": False, "candidate": None}, **rest)


# Teachers


def _last(training: Generator[Epoch, None, Teacher]) -> Teacher:
    """What a training returns; its epochs are a teacher's."""
    while True:
        try:
            assert next(training).stage == "teacher"
        except StopIteration as finished:
            return finished.value


def test_a_teacher_is_trained_once_and_only_on_the_students_images(monkeypatch: pytest.MonkeyPatch) -> None:
    from slimfront.evaluators.data.splits import search_data
    from slimfront.evaluators.training import teacher

    views_ask = views.ask
    small = dataclasses.replace(DIGITS, recipe=dataclasses.replace(DIGITS.recipe, epochs=2))
    monkeypatch.setattr(teacher, "presets", {"small": small})
    recipe = dataclasses.replace(DIGITS.recipe, teacher="small", distillation=0.5)
    job = Job(dataclasses.replace(DIGITS, recipe=recipe), "digits", seed=3)
    mixed = dataclasses.replace(
        job.candidate, augmentation=Augmentation(flip=False, crop=1, policy="mixup", strength=1)
    )
    data = search_data("digits")
    network = _last(teacher.teacher_for(dataclasses.replace(job, candidate=mixed), data))  # asked at every step
    assert isinstance(network, torch.nn.Module)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    modified = teacher.teacher_file(job, data).stat().st_mtime_ns
    stopped = teacher.teacher_for(job, data)
    for epoch in stopped:
        if epoch.epoch == 2 + 5:  # while it answers
            stopped.close()
    asked: list[int] = []
    monkeypatch.setattr(views, "ask", lambda *a: asked.append(a[-1]) or views_ask(*a))
    first = _last(teacher.teacher_for(job, data))
    assert asked == [5]
    assert [file.name for file in teacher.teacher_file(job, data).parent.glob("*so-far*")] == []
    assert teacher.teacher_file(job, data).stat().st_mtime_ns == modified, "trained twice"
    monkeypatch.setattr(views, "ask", lambda *a: pytest.fail("asked twice"))
    again = _last(teacher.teacher_for(job, data))
    assert isinstance(first, Views)
    assert isinstance(again, Views)
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(first.moves, again.moves)
    batch = torch.arange(7, 57)
    moves, answers = again.of(5, batch)
    generator = torch.Generator()
    inputs, _ = augment(data.train.images[batch], data.train.labels[batch], DIGITS.augmentation, 10, generator, moves)
    assert torch.allclose(network(inputs), answers.float(), atol=0.05, rtol=0.02)  # bfloat16 where there is such
    assert teacher.teacher_file(job, data) != teacher.teacher_file(job, final_data("digits"))
    wrong = SimpleNamespace(candidate=SimpleNamespace(recipe=SimpleNamespace(teacher="nobody")))
    with pytest.raises(TrainingError, match="'nobody' is neither dense nor a preset"):
        teacher.teacher_candidate(wrong)  # type: ignore[arg-type]
