"""Study files that cannot be: all that is wrong with one is said before anything begins; and their schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from slimfront.search.commands import cli
from slimfront.spaces import Space
from slimfront.studies.settings import Settings, SettingsError
from slimfront.studies.settings.schema import FILE, study_schema

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))

STUDY = """dataset = "digits"
[space.architecture.residual]
stem_width = 8
stages = 1
width = 8
depth = 1
"""
INVERTED = '[space.architecture]\nfamily = "inverted"\n[space.architecture.inverted]\nstem_width = 8\nstages = 1\n'

WRONG = """
bar = 1.5
trials = 0
hours = "long"
sampler = "tpee"
presets = ["resnet1"]
dataset = "cifar"
image_size = 3
max_score = -1
sed = 3
spared = 0.1

[early_stopping]
quantil = 0.9
least_finished = 0.5
recovery = 2

[space]
arcitecture = 1

[space.architecture]
family = "residul"

[space.architecture.residual]
stem_width = [8, 5000]
stages = 9
width = "wide"
dept = 1
shortcut = "pad"

[space.augmentation]
policy = "cutout"
cutout.strength = 7

[space.pruning.weights]
method = "hann"
ratio = [0.5, 1.5]

[space.bits]
weights = [4, 9]
edges = { low = 8, high = 32 }
per_stage = 3

[space.recipe]
epoch = 3
batch_size = { low = 8, hihg = 9 }
weight_decay = { low = 0, high = 1, log = true }
momentum = 1
teacher = "resnet20"
"""

# Every key that is at fault above, and what its one line has to say besides.
FAULTS = {
    "bar": ["in (0, 1]", "1.5"],
    "trials": ["1 or more", "0"],
    "hours": ["a number above 0", "'long'"],
    "sampler": ["'tpee'", "did you mean tpe?"],
    "presets": ["'resnet1'", "did you mean resnet18?"],
    "dataset": ["'cifar'", "did you mean cifar10?"],
    "image_size": ["4..512", "3"],
    "max_score": ["above 0", "-1"],
    "sed": ["did you mean seed?"],
    "spared": ["did you mean early_stopping.spared?"],
    "early_stopping.quantil": ["did you mean quantile?"],
    "early_stopping.least_finished": ["a whole number, 1 or more", "0.5"],
    "early_stopping.recovery": ["in [0, 1]", "2"],
    "space: arcitecture": ["did you mean architecture?"],
    "space: architecture.family": ["'residul'", "did you mean residual?"],
    "space: architecture.residual.stem_width": ["1..4096", "5000"],
    "space: architecture.residual.stages": ["1..8", "9"],
    "space: architecture.residual.width": ["a number", "'wide'"],
    "space: architecture.residual.dept": ["did you mean architecture.residual.depth?"],
    "space: architecture.residual.depth": ["is missing"],
    "space: architecture.residual.shortcut": ["projection", "'pad'"],
    "space: augmentation.cutout.strength": ["(0, 1]", "7.0"],
    "space: pruning.weights.method": ["'hann'", "did you mean han?"],
    "space: pruning.weights.ratio": ["[0, 1)", "1.5"],
    "space: bits.weights": ["one of 1, 2", "9"],
    "space: bits.edges": ["one of 1, 2", "9"],
    "space: bits.per_stage": ["truth value", "3"],
    "space: recipe.epoch": ["did you mean recipe.epochs?"],
    "space: recipe.batch_size.hihg": ["did you mean high?"],
    "space: recipe.batch_size.high": ["is missing"],
    "space: recipe.weight_decay.low": ["above 0", "0"],
    "space: recipe.momentum": ["[0, 1)", "1.0"],
    "space: recipe.teacher": ["recipe.distillation is 0"],
}


def _refused(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `search` says of a study file, line by line; it ends with 2, and has made neither study nor folder."""
    (folder / "a.toml").write_text(text, encoding="utf-8")
    code = cli.main(["search", str(folder / "a.toml"), "--storage", f"sqlite:///{folder}/s.db", "--out", f"{folder}/o"])
    shown = capsys.readouterr()
    assert code == 2
    assert not shown.out
    assert {path.name for path in folder.iterdir()} == {"a.toml"}
    first, *others = shown.err.splitlines()
    lines = [first.removeprefix("slimfront: "), *map(str.strip, others)]
    assert all(line.startswith(str(folder / "a.toml")) for line in lines[:50])
    return [line.removeprefix(str(folder / "a.toml")).lstrip(": ") for line in lines]


def test_every_fault_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _refused(WRONG, tmp_path, capsys)
    for key, words in FAULTS.items():
        own = [line for line in lines if line.startswith((f"{key} ", f"{key}: "))]
        assert len(own) == 1, (key, lines)
        assert all(word in own[0] for word in words), own
    assert len(lines) == len(FAULTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 3000, "nested too deeply"),
        (".".join("a" * 100_000) + " = 1", "nested too deeply"),
        (STUDY.replace("depth = 1", "depth = " + "1" * 5000), "thousands of digits"),
        (
            "trials = 0x" + "f" * 5000 + "\n" + STUDY,
            "trials must be 1 or more, but got a number of thousands of digits",
        ),
        (STUDY.replace("depth = 1", "depth = 0x" + "f" * 5000), "depth must be a number between"),
        (STUDY + f"[space.recipe]\nwarmup = [{','.join(f'{i}e-6' for i in range(50_000))}]", "has 50,000 choices"),
        (STUDY + "[space.recipe]\nwarmup = nan", "recipe.warmup must be a number"),
        (STUDY.replace("stages = 1", "stages = inf"), "architecture.residual.stages must be a number"),
        (STUDY.replace("stages = 1", "stages = 1_000_000_000"), "architecture.residual.stages must be in 1..8"),
        (STUDY.replace("stages = 1", "stages = 8").replace("= 8", "= 4096").replace("stages = 4096", "stages = 8"), ""),
        ('sampler = "nsga2"\nstartup_trials = 1\n' + STUDY, "startup_trials must be at least 2 for the sampler nsga2"),
        ("image_size = 8\n" + STUDY, "image_size: An image size is for folder:PATH only"),
        ('presets = ["resnet20"]\n' + STUDY, "presets: resnet20 does not lie in the space: architecture.residual"),
        ("dataset = 3\n" + STUDY.partition("\n")[2], "dataset must be a text"),
        ('dataset = "digits"\nspace = 3', "space must be a table, but got 3"),
        ('dataset = "digits"\n' + INVERTED + "width = 8\ndepth = 1\nkernel = { low = 3, high = 7 }", "but got 4"),
        (STUDY + '"a\\nb" = 1', r"architecture.residual.a\nb is unknown"),
        ("\ufeff" + STUDY + "widht = 1", "did you mean architecture.residual.width?"),
        ("self = 1\n" + STUDY, "self is unknown"),
        (STUDY + '[space.augmentation]\npolicy = "none.py:X"', "none.py:X: there is no file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = _refused(text, tmp_path, capsys)
    assert (words or "largest network has") in line


def test_networks_beyond_memory_are_refused_by_their_family(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "stem_width = 4096\nstages = 8\nwidth = 4096\ndepth = 2\n"
    tables = "".join(f"[space.architecture.{name}]\n{sizes}" for name in ("residual", "inverted", "dense"))
    text = f'dataset = "digits"\n[space.architecture]\nfamily = ["residual", "inverted", "dense"]\n{tables}'
    lines = _refused(text, tmp_path, capsys)
    assert [line.split(":")[1] for line in lines] == [
        f" architecture.{name}" for name in ("residual", "inverted", "dense")
    ]
    assert all("268,435,456 are allowed" in line for line in lines)


def test_of_very_many_faults_one_reads_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _refused("\n".join(f"key{i} = 1" for i in range(5000)) + "\n" + STUDY, tmp_path, capsys)
    assert len(lines) == 51
    assert lines[-1] == "and 4,950 more."


def test_the_locale_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('# \u00fc\nname = "\u00fcbung"\n' + STUDY, encoding="utf-8")
    (tmp_path / "b.toml").write_bytes(b'name = "\xfc"\n')
    code = (
        "import sys; from pathlib import Path; from slimfront.spaces import Space; "
        "from slimfront.studies.settings.reading import read; Space.from_toml(Path('a.toml')); "
        "print(ascii(read(Path('a.toml'))[0]['name']))\n"
        "try: read(Path('b.toml'))\nexcept ValueError as error: print(error)"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["'\\xfcbung'", "b.toml is not text in UTF-8: byte 8 is none of it."]


def test_changes_are_checked_like_the_file(tmp_path: Path) -> None:
    settings = Settings.from_dict(tomllib.loads(STUDY), "a")
    assert settings.changed(trials=3, hours=None, name="b").trials == 3
    with pytest.raises(SettingsError) as caught:
        settings.changed(trials=0, dataset="digit")
    assert len(caught.value.faults) == 2


def test_what_a_study_is_known_by_has_the_types_of_json() -> None:
    settings = Settings.from_dict({**tomllib.loads(STUDY), "bar": 1}, "a")
    written = json.loads(json.dumps(settings.identity()))
    assert written == settings.identity()
    assert type(written["bar"]) is float
    assert Space(written["space"]).open_keys == settings.make_space().open_keys


# The schema.


def test_the_schema_is_the_one_beside_the_studies() -> None:
    """After a change: python -m slimfront.studies.settings.schema > studies/schema.json"""
    assert json.loads(FILE.read_text()) == study_schema()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_editors_find_the_schema_and_nothing_wrong(path: Path) -> None:
    checked = pytest.importorskip("jsonschema")
    first = path.read_text().splitlines()[0]
    assert (path.parent / first.removeprefix("#:schema ")).resolve() == FILE.resolve()
    checked.Draft7Validator(study_schema()).validate(tomllib.loads(path.read_text()))


def test_the_schema_says_most_of_what_is_wrong() -> None:
    checked = pytest.importorskip("jsonschema")
    found = {
        ".".join(map(str, error.absolute_path))
        for error in checked.Draft7Validator(study_schema()).iter_errors(_wrong())
    }
    for key in ("bar", "sampler", "presets.0", "early_stopping.recovery", "space.pruning.weights.method"):
        assert key in found
    for key in ("stem_width", "stages", "width", "shortcut"):
        assert f"space.architecture.residual.{key}" in found


def _wrong() -> dict[str, Any]:
    return tomllib.loads(WRONG)
