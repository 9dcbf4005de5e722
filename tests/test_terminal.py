"""What a terminal of 80 columns shows, and what a pipe is given: in this process, on a pseudo-terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import sys
import termios
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from made_trials import add_trials, made_trial
from slimfront.evaluators.data.splits import facts_of, search_data
from slimfront.search.commands.cli import main
from slimfront.spaces import Candidate, presets, sparsity
from slimfront.spaces.candidate import Architecture, Bits, Pruning
from slimfront.studies.record import State
from slimfront.studies.report.methods_used import describe
from slimfront.studies.settings import Settings
from slimfront.studies.store.storage import create_or_load, open_storage

WIDTH = 80
LEARNED = Candidate(
    presets["resnet18"].architecture, bits=Bits.uniform(3, 3), pruning=Pruning(weights=sparsity("global_l1", 0.4))
)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a storage of two studies: one with a front, one without a trial."""
    folder = tmp_path_factory.mktemp("studied")
    storage = open_storage(f"sqlite:///{folder}/slimfront.db")
    study = create_or_load(storage, "one")
    add_trials(
        study,
        [
            made_trial(0, 0.91, 0.0123456),
            made_trial(1, 0.9333, 0.0245678, digest=LEARNED.digest, candidate_dict=LEARNED.to_dict()),
            made_trial(2, 0.5, 0.0345678, State.STOPPED, reason="below_bar", bound=0.87),
            made_trial(3, None, 0.04, State.FAILED, reason="out_of_memory", text="no room"),
        ],
    )
    create_or_load(storage, "two")
    return folder


@pytest.fixture
def here(studied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(studied)
    return studied


class Screen:
    """A pseudo-terminal that standard output and error go to, and what came there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, WIDTH))
        monkeypatch.setenv("COLUMNS", str(WIDTH))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        self._file = os.fdopen(slave, "w", buffering=1)
        monkeypatch.setattr(sys, "stdout", self._file)
        monkeypatch.setattr(sys, "stderr", self._file)
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return
            self._parts.append(part)

    def so_far(self) -> str:
        """What was written until now."""
        return b"".join(self._parts).decode(errors="replace")

    def raw(self) -> str:
        """All that was written; nothing more can be."""
        self._file.close()
        self._reader.join(10)
        os.close(self._master)
        return self.so_far()

    def text(self) -> str:
        """All that was written, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw()).replace("\r\n", "\n")


def on_screen(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    with monkeypatch.context() as patch:
        screen = Screen(patch)
        assert main(list(arguments)) == 0
        return screen.text()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def pasted(text: str) -> list[list[str]]:
    """The commands that a command ends with, as arguments."""
    found = re.findall(r"^(?:next|or): python run_search\.py (.*)$", text, re.M)
    return [line.split() for line in found]


def test_a_front_fits_80_columns_and_says_what_its_networks_are(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_screen(monkeypatch, "front", "--name", "one")
    table = shown[shown.index("trial  ") : shown.index("trials: ")]
    assert max(map(len, table.splitlines())) <= WIDTH
    assert "…" not in table
    words = " ".join(table.split())
    assert LEARNED.digest[:8] in words
    assert LEARNED.digest[:9] not in words
    assert "93.33%" in words
    assert "0.02457" in words
    assert "W3A3, 40 % pruned" in re.sub(r"\s+", " ", words)
    assert "term" not in shown
    assert "hypervolume" not in shown


def test_the_terms_and_the_hypervolume_are_there_on_request_and_explained(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, "front", "--name", "one", "--verbose")
    assert "params term" in shown
    assert "strict score" in shown
    assert re.search(r"hypervolume: [\d.]+ \(points of accuracy above the bar", shown)
    assert "a stop is false if" in shown


def test_json_carries_the_candidate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = told(capsys, "front", "--name", "one")["front"][1]
    assert Candidate.from_dict(row["candidate"]).digest == row["digest"] == LEARNED.digest
    assert row["network"].endswith("W3A3, 40 % pruned")


def _described(family: str, **fields: Any) -> str:
    common = {"stem_width": 8, "stem_stride": 1, "widths": [8, 16], "depths": [1, 2], "strides": [1, 2]}
    others = {"shortcut": None, "kernels": [], "expansions": [], "compression": 0.0, "head_width": 0}
    return describe(Candidate(Architecture.from_dict({**common, **others, "family": family, **fields})))


def test_each_family_has_words_of_its_own() -> None:
    assert _described("residual", shortcut="padding") == "residual 8-16 x 1-2"
    assert _described("residual", shortcut="projection") == "residual 8-16 x 1-2, projection shortcuts"
    inverted = _described("inverted", kernels=[3, 3], expansions=[2, 4])
    assert inverted == "inverted 8-16 x 1-2, kernel 3, expansion 2-4"
    assert _described("dense", compression=0.5) == "dense growth 8-16 x 1-2, compression 0.5"
    options = {"reduction": [4, 4], "groups": [1, 1]}
    assert _described("bottleneck", options=options) == "bottleneck 8-16 x 1-2, reduction 4"
    options["groups"] = [1, 8]
    assert _described("bottleneck", options=options) == "bottleneck 8-16 x 1-2, reduction 4, groups 1-8"


def test_an_own_family_and_an_own_class_show_what_they_were_told() -> None:
    """Also where their code was not given, as where only a storage names it."""
    assert _described("mine.py:WIDE", options={"ratio": 0.123456, "kind": "odd"}) == (
        "WIDE 8-16 x 1-2, kind odd, ratio 0.123"
    )
    whole = {"stem_width": 0, "stem_stride": 0, "widths": [], "depths": [], "strides": []}
    assert _described("mine.py:MyNet", **whole, options={"width": 32, "act": "relu"}) == "MyNet(act=relu, width=32)"
    assert _described("mine.py:MyNet", **whole, options={}) == "MyNet()"


@pytest.mark.parametrize("trial", ["1", LEARNED.digest[:8], LEARNED.digest])
def test_a_trial_is_shown_by_number_and_by_digest(here: Path, trial: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "show", "--trial", trial, "--name", "one")
    assert found["trial"] == 1
    assert found["candidate"] == LEARNED.to_dict()
    assert [layer["name"] for layer in found["layers"]] == ["stem.conv", "classifier"]
    assert [point["accuracy"] for point in found["curve"]] == pytest.approx([0.3, 0.6, 0.9])
    assert found["front"]


def test_a_trial_is_shown_whole(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_screen(monkeypatch, "show", "--trial", "1", "--name", "one")
    assert "Trial 1 of one: 93.33% on the validation images, at or above the bar of 90.00%" in shown
    words = " ".join(shown.split())  # a long one takes two lines
    for part in ("W3A3, 40 % pruned", LEARNED.digest, "params term", "classifier", "accuracy over 3 epochs"):
        assert part in words


@pytest.mark.parametrize(
    ("trial", "words"),
    [("2", "stopped after 3 epochs at 50.00%: could no longer reach the bar; it could have reached at most 87.00%"),
     ("3", "failed: out of memory (no room)")],
)  # fmt: skip
def test_it_is_said_why_a_trial_ended(here: Path, trial: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in said(capsys, "show", "--trial", trial, "--name", "one")


@pytest.mark.parametrize(
    ("trial", "words"),
    [("9", "has no trial 9, only 0 to 3"), ("ffffffffff", "no network whose digest begins with ffffffffff"),
     ("one", "'one' is no trial: give its number, or 4 or more of the first digits")],
)  # fmt: skip
@pytest.mark.parametrize("command", ["show", "retrain"])
def test_a_trial_that_is_not_there_is_one_line(
    here: Path, command: str, trial: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said(capsys, command, "--trial", trial, "--name", "one", code=2)
    assert words in line
    assert line.count("\n") == 1


def test_a_network_is_scored_by_its_digest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "score", LEARNED.digest[:8], "--name", "one")
    assert found["digest"] == LEARNED.digest


def test_studies_lists_what_is_in_a_storage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "studies")
    assert [study["study"] for study in found["studies"]] == ["one", "two"]
    trials = found["studies"][0]["trials"]
    assert {state: number for state, number in trials.items() if number} == {
        "complete": 2, "stopped early": 1, "failed": 1,
    }  # fmt: skip
    shown = said(capsys, "studies")
    assert "2 complete, 1 stopped early, 1 failed" in shown


@pytest.mark.parametrize("arguments", ["front --name one", "show --trial 1 --name one", "studies"])
def test_a_command_ends_with_the_next_one_ready_to_paste(
    here: Path, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = pasted(said(capsys, *arguments.split()))
    assert commands
    for words in commands:
        assert words[words.index("--name") + 1] in ("one", "two")
        if words[0] in ("front", "show"):
            assert main(words) == 0


def test_the_next_command_names_another_storage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{here}/slimfront.db"
    for words in pasted(said(capsys, "front", "--name", "one", "--storage", url)):
        assert words[words.index("--storage") + 1] == url


def test_init_writes_a_study_that_a_search_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pasted(said(capsys, "init", "mine.toml", "--dataset", "digits"))[0] == ["search", "mine.toml"]
    text = Path("mine.toml").read_text()
    assert text.count("#") > 20
    assert Settings.from_toml(Path("mine.toml")).name == "mine"
    schema = text.partition("\n")[0].removeprefix("#:schema file://")
    assert json.loads(Path(schema).read_text())["title"]
    assert tomllib.loads(text)["space"]["augmentation"]["flip"] is False
    assert "is there already" in said(capsys, "init", "mine.toml", code=2)
    assert "no data set named 'digit'" in said(capsys, "init", "other.toml", "--dataset", "digit", code=2)
    assert not Path("other.toml").exists()


def test_version_and_short_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"slimfront \d+\.\d+\.\d+\n", said(capsys, "--version"))
    assert said(capsys, "front", "-h") == said(capsys, "front", "--help")


def test_score_takes_a_data_set_or_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    usual, digits, large, many = (
        told(capsys, "score", "resnet8", *options)
        for options in ([], ["--dataset", "digits"], ["--input", "3x64x64"], ["--classes", "100"])
    )
    assert digits == told(capsys, "score", "resnet8", "--input", "1x12x12")
    assert usual == told(capsys, "score", "resnet8", "--dataset", "cifar10")
    assert large["weights"] == usual["weights"]
    assert large["macs"] == pytest.approx(4 * usual["macs"], rel=1e-3)  # all but the classifier
    assert many["weights"] - usual["weights"] == 64 * 90


def test_what_score_knows_of_a_data_set_is_true() -> None:
    data = search_data("digits")
    assert facts_of("digits") == (data.input_shape, data.classes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--input", "32"], "--input must be channels, height and width, such as 3x32x32"),
        (["--classes", "1"], "--classes must be in 2.."),
        (["--dataset", "digits", "--classes", "3"], "leave --input and --classes out"),
        (["--dataset", "digit"], "did you mean digits"),
        (["--image-size", "64"], "--image-size is for --dataset folder:PATH"),
    ],
)
def test_sizes_that_cannot_be_are_one_line(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, "score", "resnet8", *options, code=2)
    assert words in line
    assert line.count("\n") == 1
