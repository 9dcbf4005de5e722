"""A study whose shapes share one training, the whole way on digits: phases, kills, records, and what comes after."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from slimfront.evaluators import outputs
from slimfront.evaluators.supernet.supernet import find_supernet, kept_supernet
from slimfront.search import refresh
from slimfront.search.commands import cli
from slimfront.search.workers import local
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.store.storage import open_storage
from slimfront.studies.store.study import find_study, snapshot

STUDY = """
name = "s"
dataset = "digits"
bar = 0.3
trials = 4
startup_trials = 2
early_stopping.spared = 1.0

[space]
architecture.residual = { stem_width = [4, 8], stages = 2, width = [4, 8], depth = [1, 2] }
augmentation = { flip = false, crop = 0 }
bits = { weights = [4, 8], activations = 8, epochs = 2 }
recipe = { epochs = 9, batch_size = 128, sgd.learning_rate = 0.02 }

[supernet]
epochs = 4
alone = 1
drawn = 1
screened = 24
recipe = { batch_size = 16, learning_rate = 0.1 }
"""


def _run(folder: Path, *more: str, text: str = STUDY) -> int:
    """The search's exit code; its cache lies in the folder, too."""
    (folder / "s.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")  # cores that other tests use are slower than one
        patch.setattr(refresh.Refresh, "_panels", lambda self: None)
        where = ["--storage", f"sqlite:///{folder}/s.db", "--out", str(folder / "out"), "--workers", "1"]
        return cli.main(["search", str(folder / "s.toml"), *where, *more])


def _trials(folder: Path) -> list[TrialRecord]:
    return find_study(open_storage(f"sqlite:///{folder}/s.db"), "s").trials


def _with_kernels(folder: Path, cache: Path) -> Path:
    """The folder, whose cache has the compiled kernels of another one, if there are any: compiling takes seconds."""
    (folder / "slimfront").mkdir()
    for kernels in cache.glob("slimfront/kernels-*.so"):
        shutil.copy(kernels, folder / "slimfront")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that went the whole way in one go."""
    folder = _with_kernels(tmp_path_factory.mktemp("study"), tmp_path_factory.getbasetemp() / "cache")
    assert _run(folder) == 0
    return folder


def test_trials_start_from_the_supernet_and_say_so(study: Path) -> None:
    trials = _trials(study)
    assert [trial.state for trial in trials] == [State.COMPLETE] * 4
    (key,) = {trial.inherited["supernet"] for trial in trials}
    supernet = find_supernet(kept_supernet(key, study / "slimfront" / "supernets"))
    assert supernet is not None
    assert len(supernet.sharing.shapes) == 32
    store = find_study(open_storage(f"sqlite:///{study}/s.db"), "s")
    assert len(snapshot(store).cloud) == 24  # behind the front in pictures
    for trial in trials:
        assert [(point.phase, point.epoch) for point in trial.curve] == [("dense", 0), *(("bits", n) for n in range(3))]
        assert trial.uncompressed_from is None
        assert any(key in note for note in trial.notes)
        assert (trial.accuracy or 0) > 0.25  # 0.1 is guessing


def _told(trials: list[TrialRecord]) -> list[Any]:
    """All that must be the same, to the last bit, whatever happened on the way."""
    curves = [[(p.phase, p.epoch, p.loss, p.accuracy) for p in trial.curve] for trial in trials]
    return [(t.digest, t.accuracy, t.cost, t.state, curve) for t, curve in zip(trials, curves, strict=True)]


def _screened(folder: Path) -> list[list[Any]]:
    """Of each cut its numbers, accuracy and loss."""
    (kept,) = (folder / "slimfront" / "supernets").glob("screening-*.json")
    rows: list[list[Any]] = json.loads(kept.read_text())["rows"]
    return rows


def _signalled(folder: Path, place: str, times: int, number: signal.Signals = signal.SIGKILL) -> int:
    """Search, and get a signal after a file of that name was written so often."""
    write = outputs.write

    def watched(path: Path, content: Any) -> None:
        nonlocal times
        write(path, content)
        times -= place in path.name
        if not times:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write", watched)
        return _run(folder)


def test_whatever_ends_a_search_changes_no_bit(study: Path, tmp_path: Path) -> None:
    """Ctrl-C and kills in the supernet's training, in the screening, and in a trial."""
    _with_kernels(tmp_path, study)
    assert _signalled(tmp_path, "supernet-", 1, signal.SIGINT) == 130
    context = local._context()
    for place, times in (("supernet-", 1), ("screening-", 1), ("bits-", 1)):
        process = context.Process(target=_signalled, args=(tmp_path, place, times))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
    assert _run(tmp_path) == 0
    assert _told(_trials(tmp_path)) == _told(_trials(study))
    assert _screened(tmp_path) == _screened(study)


def test_a_later_study_has_the_supernet_at_once(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (study / "slimfront" / "supernets").iterdir()}
    assert _run(study, "--name", "later", "--trials", "1") == 0
    assert "32 shapes in one training of 4 epochs" in capsys.readouterr().err
    after = {path: path.stat().st_mtime_ns for path in (study / "slimfront" / "supernets").iterdir()}
    assert after == before


def test_shapes_below_the_bar_are_not_proposed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told in words; a bar between the cuts leaves some."""
    rows = _screened(study)
    bar = round(sorted(row[-2] for row in rows)[-4] + 0.06, 3)  # two standard errors are about .05 of 300 images
    text = STUDY.replace("bar = 0.3", f"bar = {bar}").replace("[supernet]", "[supernet]\ngain = 0.0")
    assert _run(study, "--name", "high", text=text) == 0
    told = capsys.readouterr().err
    assert "and are not proposed" in told
    trials = find_study(open_storage(f"sqlite:///{study}/s.db"), "high").trials
    worst = {tuple(row[:-2]) for row in sorted(rows, key=lambda row: row[-2])[:8]}
    for trial in trials:
        assert trial.candidate is not None
        shape = trial.candidate.architecture
        assert (shape.stem_width, *shape.widths, *shape.depths) not in worst


def test_nothing_to_share_is_told_in_a_line(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY.replace("[4, 8], stages = 2, width = [4, 8], depth = [1, 2]", "4, stages = 1, width = 4, depth = 1")
    text = text.replace("epochs = 9", "epochs = 1")
    _with_kernels(tmp_path, study)
    assert _run(tmp_path, "--trials", "1", text=text) == 0
    assert "no supernet, each trial has a training of its own: The space has one shape only" in capsys.readouterr().err
    (trial,) = _trials(tmp_path)
    assert not trial.inherited
    assert ("dense", 1) in [(point.phase, point.epoch) for point in trial.curve]


def test_the_whole_way_to_an_artifact(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Final numbers from inherited weights, as asked; where the supernet is gone, a line says so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(study))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    best = max(_trials(study), key=lambda trial: trial.accuracy or 0)
    where = ["--storage", f"sqlite:///{study}/s.db", "--name", "s", "--trial", str(best.number)]
    asked = ["--seeds", "1", "--epochs", "9", "--workers", "1", "--out", str(study / "final")]
    assert cli.main(["retrain", *where, *asked, "--inherit"]) == 0
    summary = json.loads((study / "final" / "summary.json").read_text())
    assert summary["inherited"] == best.inherited
    assert summary["epochs"] == 2  # no uncompressed training
    assert summary["mean"] > 0.25
    assert cli.main(["verify", summary["artifact"]]) == 0
    curve = json.loads(Path(summary["curves"][0]).read_text())["curve"]
    assert {epoch["stage"] for epoch in curve} == {"bits"}


def test_trials_of_a_supernet_are_not_imported_where_there_is_none(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.toml").write_text(STUDY.partition("[supernet]")[0].replace('"s"', '"own"'))
    source = ["--source", f"sqlite:///{study}/s.db", "--source-name", "s"]
    assert cli.main(["import", str(tmp_path / "own.toml"), *source, "--storage", f"sqlite:///{tmp_path}/own.db"]) == 2
    assert "4 from another supernet, or none" in capsys.readouterr().err


def test_weights_that_are_gone_are_told(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where = ["--storage", f"sqlite:///{study}/s.db", "--name", "s", "--front", "--out", str(tmp_path / "final")]
    assert cli.main(["retrain", *where, "--inherit"]) == 2
    assert "the search trains it again, or leave out --inherit" in capsys.readouterr().err


def test_the_plan_alone(study: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What lies in the cache takes no time; nothing is begun."""
    assert _run(study, "--dry-run", "--hours", "2", "--json", "--storage", f"sqlite:///{tmp_path}/none.db") == 0
    plan = json.loads(capsys.readouterr().out)
    minutes = {phase["phase"]: phase["minutes"] for phase in plan["phases"]}
    assert list(minutes) == ["supernet", "screening", "trials", "reserve"]
    assert (minutes["supernet"], minutes["screening"], minutes["reserve"]) == (0, 0, 14.4)
    assert sum(minutes.values()) == pytest.approx(120, abs=0.1)
    assert not (tmp_path / "none.db").exists()
    assert _run(study, "--dry-run") == 2
    assert "and with --hours" in capsys.readouterr().err
    assert _run(study, "--dry-run", "--hours", "1e-6") == 2
    assert "hours are too few" in capsys.readouterr().err
