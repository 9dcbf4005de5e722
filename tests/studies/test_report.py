"""Report and slides: what they say is what the study holds, nothing is loaded, and names are text."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from made_trials import BAR, made_trial
from slimfront.evaluators.scoring.score import formula
from slimfront.spaces import Bits, Candidate, Pruning, Recipe, presets, sparsity
from slimfront.spaces.criteria import METHODS
from slimfront.studies.analysis.spending import endings
from slimfront.studies.errors import StudyError
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.report import methods_used
from slimfront.studies.report.final_numbers import find_summaries
from slimfront.studies.report.numbers import decimals, number, percent_number, write_page
from slimfront.studies.report.numbers import page as filled_page
from slimfront.studies.report.report import report
from slimfront.studies.report.slides import slides
from slimfront.studies.report.story import Story, gather, parameters
from slimfront.studies.report.worked import terms, worked_sum
from slimfront.studies.store.records import StudyRecord

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
EVIL = '<script>alert("x")</script> & $x$'


def layers() -> list[dict[str, Any]]:
    """Two layers at 8 and 4 bits; terms below are worked out by hand."""
    first = {"name": "stem.conv", "kind": "conv", "weights": 560, "stored_weights": 280, "macs": 28_000}
    second = {"name": "classifier", "kind": "linear", "weights": 560, "stored_weights": 560, "macs": 560}
    return [
        first | {"weight_bits": 4, "activation_bits": 8},
        second | {"weight_bits": 4, "activation_bits": 4},
    ]


def study_of(trials: list[TrialRecord], name: str = "made", **known: Any) -> StudyRecord:
    return StudyRecord(name, "memory", tuple(trials), **known)


def filled(name: str = "made", **changes: Any) -> StudyRecord:
    trials = [
        made_trial(0, 0.96, 0.2),
        made_trial(1, 0.5, 0.001),
        made_trial(2, 0.93, 0.05),
        made_trial(3, 0.92, 0.06, seconds=7200.0),
        made_trial(4, 0.9, 0.02),
        made_trial(5, 0.7, 0.004, State.STOPPED, reason="below_bar"),
        made_trial(6, 0.0, 0.004, State.FAILED, reason="loss_not_finite"),
    ]
    identity = {"dataset": "digits", "bar": BAR, "seed": 5, "data": "abc", "space": {"bits": {"weights": [4, 8]}}}
    return study_of([t.holding(layers=tuple(layers())) for t in trials], name, identity=identity | changes)


def summary_of(study: StudyRecord, folder: Path, **changes: Any) -> Path:
    digest = study.trials[4].digest
    network = {"digest": digest, "trial": 4, "accuracies": [0.91, 0.92, 0.93], "mean": 0.92, "std": 0.01}
    network |= {"lower": 0.8951586, "score": 0.02, "gap": -0.02, "verdict": "clears it on average only"}
    path = folder / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"networks": [network | {"test_evaluations": 3} | changes], "rank_correlation": None}))
    return path


class Reader(HTMLParser):
    """Collects text, tags and attributes; and complains about tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.remove(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


PAGES = {"report": report, "slides": slides}


@pytest.fixture(params=list(PAGES))
def page(request: pytest.FixtureRequest) -> Any:
    return PAGES[request.param]


def test_a_page_needs_nothing_else(page: Any) -> None:
    made = page(gather(filled()))
    reader = Reader(made)
    assert all(link.startswith("#") for link in reader.links)
    assert "@import" not in made
    assert "url(http" not in made
    assert "script" not in reader.tags
    assert not re.search(
        r"#[0-9a-f]{6}", "".join(re.findall(r"<svg.*?</svg>", made, re.DOTALL))
    )  # colours follow the page
    assert len(made) < 200_000
    names = re.findall(r'\bid="([^"]*)"', made)
    assert len(names) == len(set(names))


def test_names_are_text(page: Any, tmp_path: Path) -> None:
    study = filled(EVIL, dataset=EVIL, space={EVIL: [EVIL]}, data=EVIL)
    story = gather(study, None, [summary_of(study, tmp_path, verdict=EVIL)])
    reader = Reader(page(story))
    assert "script" not in reader.tags
    assert EVIL in reader.text


@pytest.mark.parametrize("trials", [[], [made_trial(0, 0.95, 0.05, foreign=True)]], ids=["no trials", "foreign"])
def test_sections_without_data_say_so(page: Any, trials: list[Any]) -> None:
    text = Reader(page(gather(study_of(trials)))).text
    assert "been retrained yet" in text
    assert "worked out" in text
    assert "There is no finished network whose layers were recorded" in text
    assert "None" not in text
    assert "nan" not in text.split()


def test_the_report_tells_front_spending_and_final_numbers(tmp_path: Path) -> None:
    study = filled()
    story = gather(study, None, [summary_of(study, tmp_path)])
    assert [network.trial.number for network in story.front] == [4, 2, 0]
    text = Reader(report(story)).text
    assert "The cheapest network at or above 90 % scores 0.02, at 90 %" in text
    assert "997 images for training, 300 for validation" in text
    assert "stopped: could no longer reach the bar" in text
    assert "failed: its training diverged" in text
    assert "clears it on average only" in text
    assert "3 times in all" in text
    assert "99 times cheaper" in text.replace("100 times", "99 times")
    assert "bits.weights 4, 8" in text
    assert "He et al. 2015, arXiv:1512.03385" in text


def test_a_front_that_is_empty_shows_the_nearest() -> None:
    study = study_of([made_trial(0, 0.85, 0.1), made_trial(1, 0.8, 0.05)])
    text = Reader(report(gather(study))).text
    assert "No network reaches 90 % yet. The most accurate ones are:" in text
    assert Reader(report(gather(study, 0.82))).text.count("The cheapest network at or above 82 %") == 1
    with pytest.raises(StudyError, match="--bar must be a share"):
        gather(study, 90.0)


def test_eight_slides(tmp_path: Path) -> None:
    assert slides(gather(filled())).count('<section class="slide') == 8


# The parts


def test_the_sum_that_is_worked_out_is_the_score() -> None:
    parts = [terms(layer) for layer in layers()]
    assert parts[0] == pytest.approx((280 * 4 / 32 / 5.6e6, 28_000 * 8 / 32 / 2.8e8))
    assert parts[1] == pytest.approx((560 * 4 / 32 / 5.6e6, 560 * 4 / 32 / 2.8e8))
    network = gather(study_of([made_trial(0, 0.91, 0.05, layers=tuple(layers()))])).front[0]
    lines = worked_sum(network).splitlines()
    assert "4/32 × 840 / 5,600,000" in lines[0]
    assert "226,240 bit-operations / 32 / 280,000,000" in lines[1]  # 28,000 * 8 + 560 * 4
    assert float(lines[2].split("=")[1]) == pytest.approx(sum(map(sum, parts)), abs=5e-8)
    for layer in layers():
        layer["weight_bits"] = layer["activation_bits"] = 8
    alike = tuple(
        {**layer, "weight_bits": 8, "activation_bits": 8, "stored_weights": layer["weights"]} for layer in layers()
    )
    trial = made_trial(0, 0.91, 0.05, layers=alike)
    last = worked_sum(gather(study_of([trial])).front[0]).splitlines()[2]
    assert float(last.split("=")[1]) == pytest.approx(formula(1120, 28_560, q_w=8, q_a=8), abs=5e-8)


def test_spending_counts_every_epoch_once() -> None:
    copied = made_trial(7, 0.9, 0.02, copied_from=4)
    found = endings([*filled().trials, copied])
    assert found[0].kind == "complete"
    by_kind = {ending.kind: ending for ending in found}
    assert (by_kind["complete"].trials, by_kind["complete"].epochs) == (5, 15)
    assert (by_kind["stopped"].trials, by_kind["stopped"].epochs) == (1, 3)
    assert (by_kind["copied"].trials, by_kind["copied"].epochs) == (1, 0)
    assert sum(ending.trials for ending in found) == 8


def test_the_commands_to_reproduce_are_those_that_were_typed(tmp_path: Path) -> None:
    study = filled()
    typed = "python run_search.py retrain --front --seeds 3 --epochs 60"
    path = summary_of(study, tmp_path)
    written = json.loads(path.read_text())
    for command, told in (
        ("python run_search.py retrain --storage postgresql://me:secret@host/db", ("postgresql://me:***@host/db",)),
        ("an 'unfinished quote", ()),
        (None, ()),
    ):
        path.write_text(json.dumps(written | {"command": command}))
        commands = gather(study, None, [path]).commands
        assert len(commands) == len(told)
        assert all(place in found and "secret" not in found for place, found in zip(told, commands, strict=True))
    path.write_text(json.dumps(written | {"command": typed}))
    story = gather(study, None, [path])
    assert typed in Reader(report(story)).text
    assert typed in Reader(slides(story)).text
    without = gather(study, None, [])
    assert typed not in Reader(report(without)).text
    assert "retrain --front --storage" in Reader(slides(without)).text


def test_summaries_of_other_studies_are_left_out(tmp_path: Path) -> None:
    study = filled()
    assert gather(study, None, [summary_of(study, tmp_path, digest="0" * 16)]).retrained == ()
    assert gather(study, None, [summary_of(study, tmp_path, accuracies=[])]).retrained == ()
    summary_of(study, tmp_path / "runs" / "one")
    (tmp_path / "runs" / "two").mkdir()
    (tmp_path / "runs" / "two" / "summary.json").write_text('{"points": []}')
    found = find_summaries(tmp_path / "runs")
    assert [path.parent.name for path in found] == ["one"]
    for wrong in ("no json", "[]", '{"networks": 3}'):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(StudyError, match="is not a summary of retraining"):
            gather(study, None, [tmp_path / "wrong.json"])
    with pytest.raises(StudyError, match="cannot be read"):
        gather(study, None, [tmp_path / "absent.json"])


def test_space_in_words() -> None:
    space = {
        "a": {"b": [1, True], "c": {"low": 0.1, "high": 1, "log": True}},
        "d": 4,
        "e": {"low": 2, "high": 8, "step": 2},
    }
    assert parameters(space) == [
        ("a.b", "1, yes", False),
        ("a.c", "0.1 to 1, log scale", False),
        ("d", "4", True),
        ("e", "2 to 8, steps of 2", False),
    ]


def test_every_preset_and_pruning_method_has_words() -> None:
    chosen = list(presets.values())
    chosen += [
        Candidate(presets["digits"].architecture, pruning=Pruning(**{method.granularity: sparsity(method.name, 0.3)}))
        for method in METHODS
    ]
    recipe = Recipe(teacher="resnet20", distillation=0.5, averaging=0.9, label_smoothing=0.1)
    chosen.append(Candidate(presets["digits"].architecture, bits=Bits.uniform(4, 4, outer=8, epochs=3), recipe=recipe))
    found = methods_used.used(chosen)
    assert len(found) == len(set(found))
    assert {method.name for method in found} >= {
        *METHODS.names,
        "Learned step sizes",
        "Distillation",
        "Inverted residuals",
    }
    assert [method.phase for method in found] == sorted((m.phase for m in found), key=methods_used.ORDER.index)
    assert methods_used.bits(chosen[-1]) == "W4\u00a0A4, stem and classifier 8"
    mixed = Candidate(presets["digits"].architecture, bits=Bits((4,), (2,), stem=8, classifier=4))
    assert methods_used.bits(mixed) == "W4\u00a0A2, stem 8, classifier 4"


def test_numbers_of_a_column_share_their_decimals() -> None:
    assert decimals([0.02, 0.123], 4) == 5
    assert decimals([], 4) == 3
    assert decimals([None, 0.0, 12.0], 2) == 0
    assert number(None, 2) == "–"
    assert percent_number(0.89996) == "89.99"  # never rounded up to the bar


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'story' is undefined"):
        filled_page("slides.html")


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        write_page("", tmp_path / "file" / "page.html")


def test_no_password_in_a_page() -> None:
    story = gather(filled())
    assert "secret" not in report(Story(**(vars(story) | {"storage": "postgresql://me:***@host/studies"})))


CHECK = """
for (const slide of document.querySelectorAll(".slide")) {
  const edge = slide.querySelector(".source").getBoundingClientRect().top;
  const bottoms = [...slide.children].slice(0, -2).map(part => part.getBoundingClientRect().bottom);
  console.log(Math.max(...bottoms) <= edge ? "FITS" : "TOO LONG: " + slide.innerText);
}
"""  # below the first is the footer


@pytest.mark.browser
@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
def test_slides_print_one_a_page_and_the_fullest_fit(tmp_path: Path) -> None:
    """Fronts and final numbers longer than a slide, and long commands."""
    trials = [made_trial(n, 0.9 + n / 1000, 0.0123456 * (1 + n), layers=tuple(layers())) for n in range(12)]
    study = study_of(trials, "a name that is as long as people call them", identity=filled().identity)
    command = "python run_search.py retrain --storage postgresql://me@host/studies --name long --front --seeds 5"
    story = gather(study, None, [summary_of(study, tmp_path)])
    (network,) = story.retrained
    many = [dataclasses.replace(network, trial=n) for n in range(12)]
    commands = tuple(f"{command} --epochs 200 --workers 8 --out runs/final/{n}" for n in range(4))
    full = dataclasses.replace(story, retrained=tuple(many), commands=commands, rank_correlation=0.91, seconds=7200.0)
    write_page(slides(full).replace("</body>", f"<script>{CHECK}</script></body>"), tmp_path / "s.html")
    options = [*FLAGS.split(), f"--user-data-dir={tmp_path}/profile", f"--print-to-pdf={tmp_path}/s.pdf"]
    command_line = [str(BROWSER), *options, "--enable-logging=stderr", f"file://{tmp_path}/s.html"]
    done = subprocess.run(command_line, check=True, capture_output=True, text=True, timeout=60)
    assert "TOO LONG" not in done.stderr
    assert done.stderr.count('"FITS"') == 8
    printed = (tmp_path / "s.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", printed)) == 8
    assert set(re.findall(rb"/MediaBox \[([^\]]*)\]", printed)) == {b"0 0 960 540"}  # 1,280 by 720 pixels in points
