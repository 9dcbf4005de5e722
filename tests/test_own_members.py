"""A pruning method, a policy and an optimizer of a user's own, those of docs/extending.md, the whole way."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slimfront.evaluators.training.learning_rate import learning_rate_factor
from slimfront.search.commands import cli
from slimfront.spaces import Candidate, references
from slimfront.studies.sampling import make_sampler
from slimfront.studies.settings import Settings, SettingsError
from slimfront.studies.store.records import read_trials
from slimfront.studies.store.storage import load_study, open_storage
from test_docs import named_files

NAMES = ("spread.py:BY_SPREAD", "salt.py:SALT", "rms.py:RMS")
ALLOW = [word for name in NAMES for word in ("--allow", name)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which two workers searched the study that uses all of them."""
    folder = tmp_path_factory.mktemp("tricks")
    for name, text in named_files("extending.md").items():
        (folder / name).write_text(text)
    path = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["search", "tricks.toml", "--workers", "2"]) == 0
    yield folder
    sys.path[:] = path


@pytest.fixture
def folder(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as the current folder."""
    monkeypatch.chdir(whole)
    return whole


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(list(words))
    told = capsys.readouterr()
    return code, told.out, told.err


def _trials(folder: Path) -> list[Any]:
    return list(read_trials(load_study(open_storage(f"sqlite:///{folder}/slimfront.db"), "tricks")))


def test_every_trial_names_what_it_used_with_its_source(folder: Path) -> None:
    trials = _trials(folder)
    assert [trial.reason for trial in trials if trial.state == "failed"] == []
    for trial in trials:
        assert set(trial.code) == set(NAMES)
        assert set(trial.parameters) == {"residual.width.0", "salt.strength", "rms.learning_rate"}
        assert trial.candidate_dict["pruning"]["filters"]["criterion"] == "spread.py:BY_SPREAD"


def test_front_report_retrain_artifact_and_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "front", "--json")
    chosen = str(json.loads(out)["front"][0]["trial"])
    # Without --allow nothing is imported, and a report has the names.
    assert _run(capsys, "report", "--out", "names.html")[0] == 0
    assert all(name in Path("names.html").read_text() for name in NAMES)
    assert _run(capsys, "report", "--out", "words.html", *ALLOW)[0] == 0
    words = ("white spots on every image", "filters whose weights differ least", "steps by recent size")
    assert all(text in Path("words.html").read_text() for text in words)

    retrain = ["retrain", "--name", "tricks", "--trial", chosen, "--seeds", "1", "--epochs", "1", "--out", "final"]
    code, _, err = _run(capsys, *retrain, *ALLOW[:4])
    assert (code, err.count("\n")) == (2, 1), err
    assert "--allow rms.py:RMS" in err
    code, _, err = _run(capsys, *retrain, *ALLOW)
    assert code == 0, err
    # The file holds a network, which needs nothing of what trained and pruned it.
    (artifact,) = map(str, Path("final").rglob("*.slim"))
    code, out, err = _run(capsys, "verify", artifact, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True), err
    code, out, err = _run(capsys, "export", artifact, "--onnx", "tricks.onnx", "--json")
    assert code == 0, err
    assert Path("tricks.onnx").stat().st_size == json.loads(out)["bytes"]


def test_a_sweep_has_a_method_without_colour_to_its_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidate = Candidate.from_dict(_trials(folder)[0].candidate_dict).to_dict()
    candidate |= {"pruning": {"filters": None, "weights": None}}
    candidate["recipe"] |= {"optimizer": "sgd"}
    candidate["augmentation"] = {"policy": "none"}
    Path("plain.json").write_text(json.dumps(candidate))
    sweep = ["sweep", "--candidate", "plain.json", "--dataset", "digits", "--ratios", "0.5", "--retrain-epochs", "0"]
    code, _, err = _run(capsys, *sweep, "--methods", "spread.py:BY_SPREAD,random_filters", "--out", "swept")
    assert code == 0, err
    assert "| spread.py:BY_SPREAD (`spread.py:BY_SPREAD`) | " in Path("swept/table.md").read_text()
    assert {path.name for path in Path("swept").glob("*.png")} == {"sweep.png", "scores.png", "sensitivity.png"}
    # Its points stay where it is not given any more; they are another method's once its source has changed.
    code, _, err = _run(capsys, *sweep, "--methods", "li_filters", "--out", "swept")
    assert code == 0, err
    assert "spread.py:BY_SPREAD" in Path("swept/table.md").read_text()
    Path("changed").mkdir()
    Path("changed/spread.py").write_text(Path("spread.py").read_text() + "# another word\n")
    code, _, err = _run(capsys, *sweep, "--methods", "changed/spread.py:BY_SPREAD", "--out", "swept")
    assert (code, err.count("\n")) == (2, 1), err
    assert "has changed since" in err
    code, _, err = _run(capsys, *sweep, "--methods", "spread.py:NOTHING", "--out", "none")
    assert (code, err.count("\n")) == (2, 1), err
    assert "has no NOTHING" in err


OTHERS = """
from optuna.samplers import RandomSampler
from slimfront.spaces.optimizers import Decay
from slimfront.studies.sampling import Sampler

HALF = Decay("half", lambda progress: 1 - progress / 2)
ANY = Sampler("any", lambda seeds, startup: RandomSampler(seed=seeds.run), least_startup=2)
"""


def test_a_decay_and_a_sampler(tmp_path: Path) -> None:
    (tmp_path / "others.py").write_text(OTHERS)
    text = named_files("extending.md")["tricks.toml"].partition("[space.augmentation]")[0]
    study = f'sampler = "others.py:ANY"\n{text}[space.recipe]\ndecay = "others.py:HALF"\n'
    (tmp_path / "others.toml").write_text(study)
    with references.only_here():
        settings = Settings.from_toml(tmp_path / "others.toml")
        assert learning_rate_factor(1.0, 0.1, "others.py:HALF") == 0.5
        assert type(make_sampler(settings.sampler, 0, startup=3)).__name__ == "RandomSampler"
    with references.only_here():
        (tmp_path / "others.toml").write_text(study.replace("others.py:ANY", "others.py:HALF"))
        with pytest.raises(SettingsError, match="is a Decay, but a sampler must be a Sampler"):
            Settings.from_toml(tmp_path / "others.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("salt.py:SALT", "cutot", "augmentation policy 'cutot': did you mean cutout? known are none, cutmix,"),
        ("spread.py:BY_SPREAD", "thinnet", "pruning method 'thinnet': did you mean thinet?"),
        ("spread.py:BY_SPREAD", "han", "pruning method 'han'"),
        ("rms.py:RMS", "adam", "optimizer 'adam': did you mean adamw?"),
        ("startup_trials = 2", 'sampler = "nsga"', "sampler 'nsga': did you mean nsga2?"),
        ("epochs = 1\noptimizer", 'decay = "cosin"\noptimizer', "decay 'cosin': did you mean cosine?"),
        ("salt.strength", "SALT.strength", "did you mean augmentation.salt.strength?"),
        ("high = 0.9", "high = 1.9", "strength must be in (0, 1]"),
        ("[space.pruning.filters]", "[space.pruning.weights]", "spread.py:BY_SPREAD does not remove weights"),
        ("spread.py:BY_SPREAD", "salt.py:SALT", "salt.py:SALT is a Policy, but a pruning method must be a Method"),
    ],
)
def test_wrong_names_are_refused_when_the_study_file_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    for name, text in named_files("extending.md").items():
        (tmp_path / name).write_text(text.replace(old, new) if name == "tricks.toml" else text)
    code, _, err = _run(capsys, "search", str(tmp_path / "tricks.toml"), "--storage", f"sqlite:///{tmp_path}/a.db")
    assert code == 2
    assert all("tricks.toml: " in line for line in err.splitlines())
    assert said in err
    assert not (tmp_path / "a.db").exists()
