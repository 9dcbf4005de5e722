"""The command line as a user meets it: what it prints and how it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slimfront.search.commands.cli import COMMANDS
from slimfront.search.commands.signatures import options
from slimfront.search.interrupt import AtOnce
from slimfront.spaces import presets

import run_search

ROOT = Path(__file__).parents[1]
QUICK = """
name = "tiny"
dataset = "digits"
trials = 3
startup_trials = 2
[space.architecture.residual]
stem_width = [6, 8]
stages = 1
width = [8, 12]
depth = 1
[space.augmentation]
flip = false
crop = 0
[space.recipe]
epochs = 4
batch_size = 64
"""


def _main(*arguments: str, folder: Path) -> str:
    """What a command that ends well prints, run in a folder."""
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        assert run_search.main(list(arguments)) == 0
    return printed.getvalue()


def _run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run_search.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "tiny.toml").write_text(QUICK)
    (folder / "out.json").write_text(_main("search", "tiny.toml", "--workers", "1", "--json", folder=folder))
    return folder


def test_search_prints_one_json_object(searched: Path) -> None:
    summary = json.loads((searched / "out.json").read_text())
    assert summary["study"] == "tiny"
    assert summary["bar"] == 0.9
    assert summary["trials"]["complete"] == 3
    assert {"trial", "digest", "accuracy", "score", "score_params", "score_ops", "strict_score"} <= set(
        (summary["front"] or summary["nearest"])[0]
    )
    assert (searched / "runs" / "tiny" / "front.png").exists()


def test_front_reads_the_study(searched: Path) -> None:
    options = ("--json", "--bar", "0.05", "--csv", "f.csv", "--plot", "f.png")
    summary = json.loads(_main("front", *options, folder=searched))
    assert summary["bar"] == 0.05
    assert 1 <= len(summary["front"]) <= 3
    assert (searched / "f.csv").exists()
    assert (searched / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_an_empty_front_is_said_plainly(searched: Path) -> None:
    assert "No trial of tiny reaches 100.00%" in _main("front", "--bar", "1.0", folder=searched)


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run_search.main([*arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_wrong_command_ends_its_process_with_2(tmp_path: Path) -> None:
    done = _run("score", "resnet19", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_score_of_resnet18_in_half_precision(capsys: pytest.CaptureFixture[str]) -> None:
    result = _json(capsys, "score", "resnet18", "--weight-bits", "16", "--activation-bits", "16")
    assert round(result["score"], 2) == 1.99
    assert result["parameters"] == 11_173_962
    assert result["macs"] == 555_422_720
    assert result["formula"] == pytest.approx(result["score"], rel=1e-12)
    assert result["digest"] == presets["resnet18"].digest


def test_score_takes_a_candidate_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "candidate.json"
    path.write_text(presets["resnet8"].to_json())
    assert run_search.main(["score", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "78,042 parameters" in shown
    assert "stem.conv" in shown


def test_formula_takes_nominal_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    result = _json(capsys, "score", "resnet20", "--structured", "0.2", "--unstructured", "0.3")
    expected = 0.5 * result["weights"] / 5.6e6 + 0.8 * result["macs"] / 2.8e8
    assert result["formula"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "resnet19"], ["resnet19", "resnet18"]),
        (["score", "resnet20", "--weight-bits", "9"], ["--weight-bits", "9"]),
        (["score", "resnet20", "--structured", "0.7", "--unstructured", "0.7"], ["p_s", "p_u"]),
        (["search", "none.toml"], ["none.toml", "No such file"]),
        (["search", "--trials", "many"], ["--trials", "integer"]),
        (["search", "--device", "tpu"], ["tpu"]),
        (["front", "--storage", "sqlite:///none.db"], ["none.db", "does not exist"]),
        (["front", "--storage", "postgresql://me:secret@127.0.0.1:1/x"], ["127.0.0.1", "***"]),
        (["data", "mnist"], ["mnist", "digits"]),
        (["sweep", "--ratios", "1.5"], ["1.5"]),
        (["sweep", "--ratios", "half"], ["--ratios", "half"]),
        (["sweep", "--methods", "magic"], ["magic", "thinet"]),
        (["fly"], ["fly"]),
    ],
)
def test_wrong_usage_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_search.main(arguments) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "secret" not in err
    assert out == ""
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_data_says_where_it_lies(capsys: pytest.CaptureFixture[str]) -> None:
    assert _json(capsys, "data", "digits")["name"] == "digits"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_search.main([command, "--help"]) == 0
    assert f"Example: python run_search.py {command} " in capsys.readouterr().out


def test_help_names_the_presets() -> None:
    assert options.PRESETS.split(", ") == list(presets)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "x.slim"], "Missing option '--onnx'. See: "),
        (["search", "--trials", "x"], "Invalid value for '--trials': "),
        (["search", "--bogus"], "No such option: --bogus"),
        (["dashboard", "--port", "99999"], "Invalid value for '--port': "),
        (["nothing"], "No such command 'nothing'. See: "),
    ],
)
def test_a_wrong_command_line_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run_search.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("slimfront: ")
    assert said in err
    assert err.count("\n") == 1
    assert "Input should" not in err  # a library's words to its programmer


def test_help_and_words_do_not_import_torch() -> None:
    code = (
        "import sys, run_search; run_search.main(['--help']); from slimfront.spaces import presets;"
        "from slimfront.spaces.criteria import METHODS; from slimfront.studies.report.methods_used import used;"
        "from slimfront.studies.sampling import SAMPLERS; print(METHODS.names, SAMPLERS.names);"
        "print(used(presets.values())); sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert "search" in done.stdout
    assert "thinet" in done.stdout
    assert "Jordan et al. 2024" in done.stdout


def test_score_imports_no_more_than_it_needs() -> None:
    """torch's compiler and Optuna would double the two seconds that torch takes to be imported."""
    code = (
        "import sys, run_search; code = run_search.main(['score', 'resnet8', '--json']);"
        "print([name for name in ('torch._dynamo', 'optuna', 'matplotlib', 'pandas', 'torchvision') "
        "if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert json.loads(done.stdout)["parameters"] == 78_042
    assert done.stderr.strip() == "[]"


def test_an_interrupted_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slimfront.search.commands.scoring.score_of", interrupt)
    assert run_search.main(["score", "resnet8"]) == 130
    assert capsys.readouterr().err == "slimfront: interrupted\n"


def test_what_a_second_signal_said_is_not_said_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end_at_once(*_arguments: object, **_options: object) -> None:
        raise AtOnce

    monkeypatch.setattr("slimfront.search.commands.scoring.score_of", end_at_once)
    assert run_search.main(["score", "resnet8"]) == 130
    assert capsys.readouterr().err == ""


def test_a_command_is_not_held_up_by_the_garbage_collector() -> None:
    """Neither while torch is imported nor when the process ends."""
    code = (
        "import atexit, gc, sys; sys.argv = ['slimfront', 'score', 'resnet8', '--json']; import run_search;"
        "atexit.register(lambda: print(gc.get_stats()[0]['collections'], gc.get_freeze_count(), gc.isenabled(), "
        "file=sys.stderr)); run_search.command()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert json.loads(done.stdout)["parameters"] == 78_042
    collections, frozen, enabled = done.stderr.split()
    assert int(collections) < 250  # importing torch alone makes some 400
    assert int(frozen) > 100_000
    assert enabled == "True"


def test_the_shell_completes_commands() -> None:
    code = "import sys; sys.argv = ['slimfront']; import run_search; run_search.command()"
    asked = {"_SLIMFRONT_COMPLETE": "complete_bash", "COMP_WORDS": "slimfront re", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=os.environ | asked
    )
    assert done.stdout.split() == ["retrain", "report"]
