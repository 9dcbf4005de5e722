"""Something moves while people wait: while a command loads, within an epoch, and where another search is in the way."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from made_trials import made_trial
from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.job import Job
from slimfront.evaluators.training import loop
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch
from slimfront.evaluators.training.progress import Progress, listening
from slimfront.models import build
from slimfront.search import status
from slimfront.search.commands.cli import main
from slimfront.search.display import Lines, LiveTable, Row
from slimfront.search.launch import only_coordinator
from slimfront.search.retrain.job import artifact_name
from slimfront.search.scheduling.scheduler import _best
from slimfront.search.terminal import Console
from slimfront.search.workers.local import InProcess, LocalProcesses
from slimfront.spaces import presets
from slimfront.spaces.candidate import Bits, Candidate, Recipe
from slimfront.studies.settings import Settings
from test_terminal import Screen

WITHIN = Progress("dense", 1, 40, 1_280, 45_000, 4.0)


def test_an_epoch_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimfront.evaluators.training.progress._SECONDS", 0.0)
    data = search_data("digits")
    recipe = Recipe(epochs=1, batch_size=256)
    context = TrainContext(data.train, None, recipe, presets["digits"].augmentation, 10, seed=0)
    told: list[Progress] = []
    with listening(told.append):
        (epoch,) = loop.train(build(presets["digits"].architecture, 10, channels=1), context)
    assert [progress.images for progress in told] == [256, 512, 768]
    assert all((p.stage, p.epoch, p.epochs, p.of) == ("dense", 1, 1, 768) for p in told)
    assert all(0 < p.seconds <= epoch.seconds for p in told)
    assert told[-1].seconds_left == 0


class Moving:
    """A task that tells of one batch, then of one epoch."""

    device = "cpu"

    def on(self, device: str) -> Moving:
        return self


def moving(task: Moving) -> Generator[Epoch, None, str]:
    from slimfront.evaluators.training import progress

    listener = progress._LISTENER.get()
    assert listener is not None
    listener(WITHIN)
    yield Epoch("dense", 1, 40, 1.0, 0.5, 5.0)
    return "done"


@pytest.mark.parametrize("make", [InProcess, lambda evaluate: LocalProcesses(1, evaluate)], ids=["here", "there"])
def test_workers_hand_it_on(make: Any) -> None:
    workers = make(moving)
    heard: list[tuple[int, Progress]] = []
    workers.listen(lambda slot, progress: heard.append((slot, progress)))
    try:
        workers.submit(0, Moving())
        while (message := workers.next(60)) is None:
            pass
        assert message == (0, Epoch("dense", 1, 40, 1.0, 0.5, 5.0))
        assert heard == [(0, WITHIN)]
    finally:
        workers.close()


@pytest.mark.parametrize("make", [Lines, LiveTable])
def test_people_see_images_a_second_and_the_time_left(make: Any) -> None:
    said = io.StringIO()
    console = Console(file=said, width=80, force_terminal=make is LiveTable, color_system=None)
    with make(console) as display:
        display.started(0, Row("trial 7", {"network": "residual 16-32-64 x 1-2-2, W3A3", "score": "0.0123"}))
        display.progress(0, WITHIN)
    shown = said.getvalue()
    for words in ("trial 7", "dense epoch 1/40", "320 images/s", "2 min 17 s left of the epoch"):
        assert words in shown
    if make is Lines:
        assert "\x1b" not in shown
        assert "\r" not in shown


def test_a_terminal_shows_that_a_command_is_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_FIRST", 0.0)
    monkeypatch.setattr(status, "_PAUSE", 0.01)
    screen = Screen(monkeypatch)

    def slow(*_: object) -> dict[str, Any]:
        until = time.monotonic() + 60
        while "loading" not in screen.so_far() and time.monotonic() < until:
            time.sleep(0.01)
        monkeypatch.setattr(status, "_FIRST", 60.0)  # it does not come back within this test
        return {"storage": "sqlite:///a.db", "studies": [], "others": []}

    monkeypatch.setattr("slimfront.search.commands.looking.studies_of", slow)
    assert main(["studies"]) == 0
    written = screen.raw()
    assert re.search(r"\r\x1b\[2K\S loading", written)
    before, _, after = written.partition("holds")
    assert "loading" not in before[before.rindex("\r\x1b[2K") :]  # it makes room for what is printed
    assert "loading" not in after


def test_a_pipe_is_given_nothing_that_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "_FIRST", 0.0)
    monkeypatch.setattr(status, "_PAUSE", 0.01)

    def slow(*_: object) -> dict[str, Any]:
        time.sleep(0.1)
        return {"storage": "sqlite:///a.db", "studies": [], "others": []}

    monkeypatch.setattr("slimfront.search.commands.looking.studies_of", slow)
    assert main(["studies", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["studies"] == []
    assert err == ""


def test_a_second_search_waits_for_the_first_where_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimfront.search.launch._LOOK_SECONDS", 0.01)
    url, said, waiting = f"sqlite:///{tmp_path}/a.db", [], threading.Event()

    def say(text: str) -> None:
        said.append(text)
        waiting.set()

    def second() -> None:
        with only_coordinator(url, say) as (_, alone):
            said.append(f"alone: {alone}")

    with only_coordinator(url):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(60)
        assert said == [f"waiting for another search to end, which is using {url}  (Ctrl-C gives up)"]
    thread.join(60)
    assert said[1:] == ["alone: True"]


def test_the_cheapest_is_called_so() -> None:
    settings = Settings(name="s", dataset="digits", bar=0.9, space=_space())
    trials = [made_trial(0, 0.93, 0.01), made_trial(1, 0.98, 0.02)]
    assert _best(trials, settings) == "cheapest so far: trial 0, 93.00%, score 0.01 (2 on the front)"
    told = _best([made_trial(0, 0.6, 0.01), made_trial(1, 0.7, 0.02)], settings)
    assert told == "nothing at the bar of 90.00% yet; most accurate so far: trial 1, 70.00%"


def _space() -> dict[str, Any]:
    return {"architecture": {"residual": {"stem_width": 4, "stages": 1, "width": 4, "depth": 1}}}


def test_an_artifact_s_name_says_what_it_is() -> None:
    candidate = Candidate(presets["resnet20"].architecture, bits=Bits.uniform(3, 3))
    job = Job(candidate=candidate, dataset="digits", seed=2)
    name = artifact_name(job, candidate.digest)
    assert name == f"residual-16-32-64x3-3-3-W3A3-{candidate.digest[:8]}-seed-2.slim"
