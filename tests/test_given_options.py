"""What is given on the command line is given, even where it is 0 or an empty text: it is used, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from made_trials import made_trial
from slimfront.studies.store.storage import create_or_load, open_storage

import run_search


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "resnet20", "--weight-bits", "0"], ["--weight-bits", "but got 0"]),
        (["score", "resnet20", "--activation-bits", "0"], ["--activation-bits", "but got 0"]),
        (["score", "resnet20", "--weight-bits", "4", "--activation-bits", "0"], ["--activation-bits", "but got 0"]),
        (["sweep", "--methods", "", "--dataset", "digits"], ["''"]),
        (["sweep", "--ratios", "", "--dataset", "digits"], ["--ratios", "''"]),
        (["retrain", "--storage", "sqlite:///a.db", "--trial", "0", "--dataset", ""], ["data set named ''"]),
        (["retrain", "--candidate", "digits", "--dataset", ""], ["data set named ''"]),
        (["verify", "network.slim", "--dataset", ""], ["data set named ''"]),
        (["search", "--dataset", ""], ["dataset", "''"]),
        (["search", "--trials", "0"], ["trials", "0"]),
        (["search", "--hours", "0"], ["hours", "0"]),
        (["search", "--ray", ""], ["--ray", "''"]),
        (["search", "--name", ""], ["name", "''"]),
        (["front", "--storage", "sqlite:///a.db", "--name", ""], ["''"]),
        (["front", "--storage", "sqlite:///a.db", "--bar", "0"], ["--bar", "0"]),
        (["report", "--storage", "sqlite:///a.db", "--bar", "0"], ["--bar", "0"]),
        (["data", "folder:pictures", "--image-size", "0"], ["--image-size", "0"]),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, list) else None,
)
def test_nothing_that_is_given_is_taken_as_not_given(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("slimfront.search.retrain.run.local_workers", lambda *_: pytest.fail("trains"))
    monkeypatch.setattr("slimfront.search.launch.local_workers", lambda *_: pytest.fail("trains"))
    monkeypatch.setattr("slimfront.search.sweep.run.load_data", lambda *_: pytest.fail("begins to sweep"))
    study = create_or_load(open_storage("sqlite:///a.db"), "s")
    study.add_trial(optuna.create_trial(values=[0.95, 0.05], user_attrs=made_trial(0, 0.95, 0.05).to_attributes()))
    assert run_search.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_bits_that_are_given_replace_the_candidates_own(capsys: pytest.CaptureFixture[str]) -> None:
    def widths(*arguments: str) -> set[tuple[int, int]]:
        assert run_search.main(["score", "resnet8", *arguments, "--json"]) == 0
        layers = json.loads(capsys.readouterr().out)["layers"]
        return {(layer["weight_bits"], layer["activation_bits"]) for layer in layers}

    assert widths() == {(32, 32)}
    assert widths("--weight-bits", "4") == {(4, 4)}
    assert widths("--activation-bits", "4") == {(32, 4)}
    assert widths("--weight-bits", "1", "--activation-bits", "8") == {(1, 8)}
