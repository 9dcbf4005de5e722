"""Everything is imported as slimfront.…, whatever else is called models, search or utils where a user works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("spaces", "models", "evaluators", "studies", "search")

SCRIPT = """
import sys
from pathlib import Path

import models, search, utils  # hers
import slimfront
from slimfront.evaluators.job import Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.launch import Options, launch
from slimfront.studies.settings import Settings

SPACE = {"architecture": {"residual": {"stem_width": [4, 8], "stages": 1, "width": [4, 8, 12], "depth": 1}}}


def evaluate(job):
    import models, search, utils  # in the workers, too

    assert (models.HERS, search.HERS, utils.HERS) == (1, 2, 3)
    yield Epoch("dense", 1, 1, 0.1, 0.95, 0.0)
    return Result(0.95, {"score": 0.01, "layers": []}, (), {}, 0.0)


if __name__ == "__main__":
    settings = Settings(name="s", dataset="digits", space=SPACE, trials=2, early_stopping={"spared": 1.0})
    options = Options(storage="sqlite:///s.db", workers=int(sys.argv[1]), out=Path("out"))
    outcome, summary, _ = launch(settings, options, evaluate)
    ours = sorted(name for name in sys.modules if name.split(".")[0] in ("models", "search", "utils"))
    print(outcome.how, summary["trials"]["complete"], ours)
"""


def _python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


@pytest.fixture
def hers(tmp_path: Path) -> Path:
    """A folder as in many repositories: own models/, search/ and utils.py."""
    for number, name in enumerate(("models", "search"), start=1):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"HERS = {number}\n")
    (tmp_path / "utils.py").write_text("HERS = 3\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


@pytest.mark.parametrize("name", PACKAGES)
def test_an_old_name_says_the_new_one(name: str) -> None:
    done = _python(ROOT, "-c", f"import {name}")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(f"is imported as slimfront.{name}")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_user_keeps_her_own_modules(hers: Path, workers: str) -> None:
    done = _python(hers, "script.py", workers)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "done 2 ['models', 'search', 'utils']"


def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, slimfront; assert 'torch' not in sys.modules;"
        "assert set(slimfront.__all__) <= set(dir(slimfront));"
        "from slimfront.spaces.family import FAMILIES; assert all(family.words for family in FAMILIES);"
        "assert 'torch' not in sys.modules;"
        "from slimfront import formula; assert formula(5.6e6, 2.8e8, 0, 0, 32, 32) == 2.0"
    )
    done = _python(ROOT, "-c", code)
    assert done.returncode == 0, done.stderr


def test_the_public_names_are_there() -> None:
    import slimfront

    for name in slimfront.__all__:
        assert getattr(slimfront, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = slimfront.nothing


@pytest.mark.slow
def test_a_wheel_holds_everything_under_one_name(tmp_path: Path, hers: Path) -> None:
    built = _python(tmp_path, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "wheel", str(ROOT))
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "wheel").glob("slimfront-*.whl")
    unpacked = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(unpacked)], check=True)
    names = {path.name for path in unpacked.iterdir()}
    assert not names & {*PACKAGES, "tests", "benchmarks"}
    code = (
        "from slimfront.studies.foreign.templates import html_templates;"
        "html_templates('slimfront.studies.report', {}).get_template('page.html');"
        "import sys; sys.argv = ['slimfront', 'score', 'resnet8', '--json'];"
        "import slimfront, models; assert models.HERS == 1; from run_search import command; command()"
    )
    done = _python(hers, "-c", code, PYTHONPATH=str(unpacked))
    assert done.returncode == 0, done.stderr
    assert '"digest"' in done.stdout
