"""The comparison of blocks: what its rows say, that it goes on where it was killed, and what it refuses."""

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.training import teacher
from slimfront.models import build
from slimfront.spaces import Architecture, presets

blocks = pytest.importorskip("benchmarks.blocks", reason="benchmarks/ is not beside the tests")
rows = pytest.importorskip("benchmarks.rows", reason="benchmarks/ is not beside the tests")

DIGITS = presets["digits"]
Run = Callable[..., int]


class Killed(BaseException):
    """Nobody catches it: what was not on the disk before is lost."""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process, on digits, with shapes that take no time."""
    shape: dict[str, Any] = {"stem_width": 4, "stem_stride": 2, "depths": (1, 1), "strides": (1, 2), "widths": (4, 6)}
    small = {
        ("basic", 12): Architecture("residual", shortcut="padding", **shape),
        ("inverted", 12): Architecture("inverted", kernels=(3, 3), expansions=(2, 2), **shape),
    }
    monkeypatch.setattr(blocks, "SHAPES", small)
    monkeypatch.setattr(blocks, "INPUT", (1, 12, 12))
    recipe = tmp_path / "recipe.json"
    recipe.write_text(DIGITS.to_json())

    def run(which: str, *more: str, epochs: int = 2, out: str = "out", recipe: Path = recipe) -> int:
        given = ["--out", str(tmp_path / out), "--rows", which, "--dataset", "digits", "--recipe", str(recipe)]
        given += ["--workers", "1", "--epochs", str(epochs), "--low-bit-epochs", "1", *more]
        code: int = blocks.main(given)
        return code

    return run


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def losses(folder: Path) -> list[tuple[str, str, int, float]]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [(line["row"], line["stage"], line["epoch"], line["loss"]) for line in lines if "epoch" in line]


def test_shapes_of_a_size_have_its_multiply_adds_and_like_weights() -> None:
    counted = {name: score(build(shape, 10), (3, 32, 32)) for name, shape in blocks.SHAPES.items()}
    for (_, size), found in counted.items():
        assert abs(found.macs / (size * 1e6) - 1) < 0.035
        alike = [other.weights for (_, same), other in counted.items() if same == size]
        assert max(alike) / min(alike) < 1.035


def test_a_row_says_float_and_low_bits_and_their_cost(command: Run, tmp_path: Path) -> None:
    assert command("inverted-12-1,basic-12-0", "--publish", str(tmp_path / "published")) == 0
    found = summary(tmp_path / "published")
    assert found.keys() >= {"command", "commit", "machine", "date", "rows", "open"}
    assert [(row["block"], row["seed"], row["bits"]) for row in found["rows"]] == [
        ("basic", 0, "float"),
        ("basic", 0, "W3A3"),
        ("inverted", 1, "float"),
        ("inverted", 1, "W3A3"),
    ]
    assert found["open"] == []
    assert "--rows basic-12-0,inverted-12-1 --dataset digits --epochs 2 --low-bit-epochs 1" in found["command"]
    for row in found["rows"]:
        assert row["epochs"] == 2
        assert row["core_seconds"] > 0
        assert row["weights"] > 0
        assert 0 < row["accuracy"] < 1
    assert "| basic | 0.0 M |" in (tmp_path / "published" / "table.md").read_text()
    exact, low = found["rows"][:2]
    assert low["gap_points"] == pytest.approx(100 * (exact["accuracy"] - low["accuracy"]), abs=0.01)


@pytest.mark.parametrize("lost", ["after the line", "before the line"])
def test_a_killed_row_goes_on_to_the_same_numbers(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    assert command("basic-12-0", out="whole", epochs=3) == 0
    keep = rows.Journal.epoch

    def kill(self: Any, row: str, epoch: Any) -> None:
        if lost == "after the line":
            keep(self, row, epoch)
        if epoch.epoch == 2:
            raise Killed
        keep(self, row, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(rows.Journal, "epoch", kill)
        with pytest.raises(Killed):
            command("basic-12-0", epochs=3)
    assert summary(tmp_path / "out")["rows"] == []
    assert summary(tmp_path / "out")["open"][0]["epochs_done"]["dense"] == (2 if lost == "after the line" else 1)
    assert command("basic-12-0", epochs=3) == 0
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")
    accuracies = [[row["accuracy"] for row in summary(tmp_path / out)["rows"]] for out in ("out", "whole")]
    assert accuracies[0] == accuracies[1]
    assert command("basic-12-0", epochs=3) == 0
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")


def test_an_interrupted_row_goes_on_to_the_same_numbers(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("basic-12-0", out="whole", epochs=3) == 0
    keep = rows.Journal.epoch

    def interrupt(self: Any, row: str, epoch: Any) -> None:
        keep(self, row, epoch)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(rows.Journal, "epoch", interrupt)
        assert command("basic-12-0", "--publish", str(tmp_path / "published"), epochs=3) == 130
    assert not (tmp_path / "published").exists()
    assert summary(tmp_path / "out")["open"][0]["epochs_done"] == {"dense": 1, "bits": 0}
    assert command("basic-12-0", epochs=3) == 0
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")


def test_the_table_has_a_line_for_each_network_with_all_its_seeds() -> None:
    shared = {"block": "basic", "size": 12, "macs": 12_276_192, "weights": 94_116, "equal_core_hours": None}
    cost = {"epochs": 40, "core_seconds": 1800.0}
    low = {"bits": "W3A3", "low_bit_epochs": 12, "score": 0.00587}
    found = [
        {**shared, **cost, "seed": 0, "bits": "float", "accuracy": 0.88},
        {**shared, **cost, **low, "seed": 0, "accuracy": 0.8714, "gap_points": 0.86},
        {**shared, **cost, "seed": 1, "bits": "float", "accuracy": 0.8766},
        {**shared, **cost, "seed": 0, "bits": "float", "accuracy": 0.85, "epochs": 10, "equal_core_hours": "inverted"},
    ]
    assert blocks.table(found).splitlines()[2:] == [
        "| basic | 12.3 M | 94,116 | 40 + 12 | 2 | 88.00, 87.66 | 87.14 | 0.86 | 0.0059 | 1.00, 0.50 |",
        "| basic, core-hours of inverted | 12.3 M | 94,116 | 10 + open | 1 | 85.00 | open | open | open | 0.50 |",
        "",
        "Standard error of one accuracy, from which 5,000 images were held out: 0.50 points at most.",
    ]


def test_nothing_is_published_before_anything_was_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "published"
    assert blocks.main(["--out", str(tmp_path / "out"), "--publish", str(place)]) == 2
    assert "holds no journal.jsonl" in capsys.readouterr().err
    assert not place.exists()


def test_publishing_into_the_folder_of_the_rows_is_refused(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("basic-12-0", "--publish", str(tmp_path / "out")) == 2
    assert "would overwrite journal.jsonl of --out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def write_costs(folder: Path, costs: dict[str, list[float | None]]) -> Any:
    """A journal whose rows have ended; each has a cost for every epoch at full precision and one of 1 at low bits."""
    journal = rows.Journal(folder, "digits")
    for row, found in costs.items():
        for number, cost in enumerate(found, 1):
            journal.add({"row": row, "stage": "dense", "epoch": number, "epochs": len(found), "core_seconds": cost})
        journal.add({"row": row, "stage": "bits", "epoch": 1, "epochs": 1, "core_seconds": 1.0})
        journal.add({"row": row, "result": {}})
    return journal


def test_equal_core_hours_buy_epochs_by_what_the_blocks_took(tmp_path: Path) -> None:
    journal = write_costs(tmp_path, {"basic-12-0": [9.0, 10.0], "inverted-12-0": [39.5, 39.5]})
    for text, factor in (("inverted-12-0@basic", 20 / 80), ("basic-12-0@inverted", 80 / 20)):
        name = blocks.Name.parse(text)
        plain = blocks.equal_epochs(name, DIGITS, 40, 12)
        assert (plain.recipe.epochs, plain.bits.epochs) == (40, 12)
        bought = blocks.equal_core_hours(name, plain, journal)
        assert (bought.recipe.epochs, bought.bits.epochs) == (40 * factor, 12 * factor)
        assert bought.architecture == plain.architecture


def test_an_epoch_whose_cost_was_lost_counts_as_the_mean_of_the_others(tmp_path: Path) -> None:
    journal = write_costs(tmp_path, {"basic-12-0": [3.0, None, 5.0]})
    assert journal.core_seconds("basic-12-0", "dense") == 12.0


def test_a_line_that_was_broken_off_does_not_count(tmp_path: Path) -> None:
    write_costs(tmp_path, {"basic-12-0": [3.0]})
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text()[:-3])
    journal = rows.Journal(tmp_path, "digits")
    assert journal.result("basic-12-0") is None
    journal.add({"row": "basic-12-0", "result": {"accuracy": 0.5}})
    assert rows.Journal(tmp_path, "digits").result("basic-12-0") == {"accuracy": 0.5}


def test_the_teacher_is_trained_once_and_has_its_cost(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    short = dataclasses.replace(DIGITS, recipe=dataclasses.replace(DIGITS.recipe, epochs=8))
    monkeypatch.setattr(teacher, "presets", MappingProxyType({"digits": short}))
    taught = dataclasses.replace(DIGITS.recipe, teacher="digits", distillation=0.7)
    recipe = tmp_path / "taught.json"
    recipe.write_text(dataclasses.replace(DIGITS, recipe=taught).to_json())
    assert command("basic-12-0", recipe=recipe) == 0
    cost = summary(tmp_path / "out")["teacher"]
    assert (cost["preset"], cost["rounds"]) == ("digits", 8 + teacher.views.VIEWS)
    assert cost["core_seconds"] > 0
    assert cost["accuracy"] > 0.3  # chance is .1
    assert command("basic-12-0,inverted-12-0", recipe=recipe) == 0
    assert summary(tmp_path / "out")["teacher"] == cost
    assert {row for row, *_ in losses(tmp_path / "out")} == {"teacher", "basic-12-0", "inverted-12-0"}
    recipe.write_text(recipe.read_text().replace('"teacher":"digits"', '"teacher":"resnet20"'))
    assert command("basic-12-1", recipe=recipe) == 2
    assert "one teacher" in capsys.readouterr().err


def test_a_failed_row_does_not_hold_up_the_others(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = dataclasses.replace(blocks.SHAPES["basic", 12], widths=(4, 6, 8), depths=(1, 1, 1), strides=(1, 2, 2))
    monkeypatch.setitem(blocks.SHAPES, ("basic", 12), shape)
    work = rows.evaluate_job

    def failing(job: Any) -> Any:
        if job.candidate.architecture == shape:
            raise MemoryError("out of memory")
        return (yield from work(job))

    monkeypatch.setattr(rows, "evaluate_job", failing)
    assert command("basic-12-0,inverted-12-0") == 1
    assert "error: basic-12-0 failed: MemoryError: out of memory" in capsys.readouterr().err
    assert {row["block"] for row in summary(tmp_path / "out")["rows"]} == {"inverted"}
    assert [row["row"] for row in summary(tmp_path / "out")["open"]] == ["basic-12-0"]


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("basic", "'basic' is no row"),
        ("basic-13-0", "there is no basic-13; choose of basic-12, inverted-12"),
        ("basic-12-0@dense", "there is no dense-12"),
        ("basic-12-0@basic", "needs another block"),
        ("inverted-12-0@basic", "inverted-12-0@basic needs inverted-12-0 to have ended"),
    ],
)
def test_rows_that_cannot_be_are_refused(
    command: Run, capsys: pytest.CaptureFixture[str], which: str, said: str
) -> None:
    assert command(which) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_folder_keeps_the_settings_that_a_row_was_begun_with(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("basic-12-0") == 0
    before = (tmp_path / "out" / "journal.jsonl").read_text()
    assert command("basic-12-0", epochs=3) == 2
    assert "basic-12-0 was begun with other settings" in capsys.readouterr().err
    assert (tmp_path / "out" / "journal.jsonl").read_text() == before
