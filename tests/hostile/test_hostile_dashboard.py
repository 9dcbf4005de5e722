"""A hostile study in the dashboard: asked by a program for everything, and opened in a real browser."""

from __future__ import annotations

import http.server
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hostile_checks import CANARY, CONTROL, check_table, snapshot
from hostile_databases import CONTENT, parameters, spoil, study_attributes
from hostile_server import Dashboard, dashboard

from tests.studies.test_dashboard_browser import BROWSER, DRIVER, FLAGS, wait_for

PLOTS = ("contour", "slice", "parallel_coordinate", "rank", "edf", "timeline", "pareto_front", "../../x")
PAGES = (
    *("/", "/dashboard", "/api/meta", "/api/studies", "/csv/1", "/favicon.ico", "/api/studies/1/param_importances"),
    *("/static/../../_app.py", "/static/%2e%2e/_app.py", "/artifacts/1/../../private/secret.txt", "/%1b[2J"),
)
THEIRS = "touch owned"  # part of a note that came along
NOWHERE = "127.0.0.1:9/"  # where hostile texts want to go
TABLES = ("trial_user_attributes", "study_system_attributes", "study_user_attributes")


@dataclass(frozen=True)
class Served:
    """A dashboard on a hostile study, and where it lies: beside what is the user's."""

    server: Dashboard
    theirs: Path
    private: Path

    def numbers_with_notes(self) -> list[int]:
        """Trials that somebody has written a note to."""
        trials = self.server.json("/api/studies/1?after=0")["trials"]
        return [trial["number"] for trial in trials if THEIRS in trial["note"]["body"]]


@contextmanager
def serve(folder: Path, database: bytes, seed: int, site: str = NOWHERE) -> Iterator[Served]:
    """Start it; where texts of the study want to go, they find `site`. In the end all that is the user's is there."""
    theirs, private = folder / "theirs", folder / "private"
    (theirs / "s.artifacts").mkdir(parents=True)
    private.mkdir()
    secrets = (private / "secret.txt", private / "id_rsa")
    for secret in secrets:
        secret.write_text(CANARY)
    path = theirs / "s.db"
    path.write_bytes(database)
    shown = tuple(case for case in CONTENT if case not in (study_attributes, parameters))  # those are refused whole
    spoil(path, shown, seed, secrets)
    with closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            connection.execute(f"UPDATE {table} SET value_json = replace(value_json, ?, ?)", (NOWHERE, site))
        connection.commit()
        rows = connection.execute("SELECT value_json FROM study_system_attributes").fetchall()
    named = {json.loads(json.loads(text))["artifact_id"] for (text,) in rows if "artifact_id" in text}
    for number, name in enumerate(sorted(name for name in named if "/" not in name)):
        (theirs / "s.artifacts" / name).symlink_to(secrets[number % len(secrets)])
    before = snapshot(private)
    with dashboard(path, theirs) as server:
        yield Served(server, theirs, private)
    assert snapshot(private) == before
    said = server.errors.read_text()
    assert "Traceback" not in said
    assert 'File "' not in said
    assert not CONTROL.search(said)
    for file in (theirs / "s.artifacts").iterdir():
        assert file.is_symlink() or CANARY not in file.read_text(errors="replace")


def _ask_for_everything(server: Dashboard) -> None:
    """Everything that the pages ask for, and what others may."""
    paths = [*PAGES, *(f"/api/studies/1/plot/{plot}" for plot in PLOTS)]
    detail = server.ask("/api/studies/1?after=0")
    assert detail.status == 200
    for trial in json.loads(detail.body)["trials"]:
        for artifact in trial["artifacts"]:
            paths.append(f"/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}")
    for path in paths:
        reply = server.ask(path.replace(" ", "%20"), Accept_Encoding="identity")
        assert reply.status in (200, 302, 303, 400, 403, 404, 500), (path, reply)
        assert CANARY.encode() not in reply.body, path
        if path.startswith("/csv") and reply.status == 200:
            check_table(reply.body.decode())


def _delete(server: Dashboard) -> None:
    """The study with its files, as the dashboard's page asks for it."""
    assert server.ask("/api/studies/1", "DELETE", {"remove_associated_artifacts": True}).status == 204
    assert server.json("/api/studies")["study_summaries"] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 15))
def test_a_hostile_study_is_served_and_deleted_and_nothing_else_happens(
    tmp_path: Path, honest_database: bytes, seed: int
) -> None:
    with serve(tmp_path, honest_database, seed) as served:
        _ask_for_everything(served.server)
        _delete(served.server)


# In a browser


@dataclass
class Listener:
    """A site of somebody else's, on this machine: serves one page, and notes who asks for anything."""

    port: int = 0
    page: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Listener]:
    listener = Listener()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(listener.page.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield listener
        server.shutdown()
        thread.join()


@pytest.fixture
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("profile")
    names = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}", names]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


ATTACK = """<!doctype html><title>attack</title><script>
const address = "http://127.0.0.1:PORT";
const body = JSON.stringify({study_name: "owned", directions: ["minimize"]});
const simple = {method: "POST", mode: "no-cors", body};
const tries = [
  fetch(address + "/api/studies", simple),
  fetch(address + "/api/studies", {method: "POST", headers: {"Content-Type": "application/json"}, body}),
  fetch(address + "/api/studies/1", {method: "DELETE", body: "{}"}),
  fetch(address + "/api/studies").then(answer => answer.text()).then(text => { window.read = text; }),
];
Promise.allSettled(tries).then(() => { document.title = "done"; });
</script>"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, honest_database: bytes, elsewhere: Listener) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with serve(folder, honest_database, 0, f"127.0.0.1:{elsewhere.port}/") as running:
        yield running


@pytest.mark.browser
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its driver is installed")
def test_a_browser_shows_a_hostile_study_and_runs_nothing_of_it(
    served: Served, chromium: Any, elsewhere: Listener
) -> None:
    server = served.server
    start = f"{server.address}/dashboard/studies/1"
    noted = served.numbers_with_notes()
    for page in (start, f"{start}/trialTable", f"{start}/trials?numbers={noted[0]}"):
        chromium.get(page)
        wait_for(chromium, "return !document.querySelector('.optuna-loading-message') && document.readyState")
        wait_for(chromium, "return document.body.innerText.includes('Trial')")
        assert chromium.execute_script("return window.pwned") is None, page
        assert chromium.current_url.startswith(start)
    assert wait_for(chromium, f"return document.body.innerText.includes({THEIRS!r})")  # the note is there
    assert elsewhere.asked == []  # nothing was loaded from anywhere

    chromium.get(f"http://evil.example:{server.port}/api/studies")
    assert "does not answer to the name" in chromium.find_element("tag name", "body").text

    before = server.json("/api/studies")
    elsewhere.page = ATTACK.replace("PORT", str(server.port))
    chromium.get(f"http://127.0.0.1:{elsewhere.port}/attack")
    wait_for(chromium, "return document.title === 'done'")
    assert chromium.execute_script("return window.read") is None
    assert server.json("/api/studies") == before


def test_a_hostile_study_is_asked_for_everything_and_deleted(served: Served) -> None:
    _ask_for_everything(served.server)
    _delete(served.server)
