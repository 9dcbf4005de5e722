"""The dashboard in a real browser: what a user sees, not what the server sends."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_trials import add_trials, made_trial
from slimfront.studies.dashboard.server import CURVES_PANEL, FRONT_PANEL, make_dashboard, update_panels
from slimfront.studies.front import front
from slimfront.studies.record import State
from slimfront.studies.store.records import read_trials
from slimfront.studies.store.storage import create_or_load, load_study, open_storage
from slimfront.studies.store.study import StudyStore

ROOT = Path(__file__).parents[2]

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1500,1800"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its driver is installed"),
]

FRONT = [4, 2, 0]  # by ascending score


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path}/a.db"
    study = create_or_load(open_storage(url), "a <b>study</b>")
    add_trials(
        study,
        [
            made_trial(0, 0.96, 0.2),
            made_trial(1, 0.5, 0.001),
            made_trial(2, 0.93, 0.05),
            made_trial(3, 0.92, 0.06),
            made_trial(4, 0.9, 0.02),
            made_trial(5, 0.8999, 0.01),
            made_trial(6, 0.7, 0.004, State.STOPPED),
        ],
    )
    update_panels(StudyStore(open_storage(url), study.study_name), 0.9)
    with make_dashboard(url, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dashboard/studies/{study._study_id}"
        server.shutdown()
        thread.join()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait_for(browser: Any, script: str) -> Any:
    """The script's value as soon as it is neither null nor false."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20, poll_frequency=0.1).until(lambda page: page.execute_script(script))


def test_the_browser_shows_the_front_and_only_the_front(browser: Any, address: str) -> None:
    browser.get(address)
    panel = f"document.getElementById('user-defined-plot:{FRONT_PANEL}')"
    traces = wait_for(
        browser,
        f"const p = {panel}; return p && p.data && p.querySelector('.scatterlayer .points path') "
        "&& p.data.map(t => ({name: t.name, numbers: t.customdata, scores: t.x}))",
    )
    found = {trace["name"]: trace for trace in traces}
    assert found["front"]["numbers"] == FRONT
    assert found["front"]["scores"] == [0.02, 0.05, 0.2]
    assert found["above the bar"]["numbers"] == [3]
    assert found["below the bar"]["numbers"] == [1, 5]
    assert found["stopped early"]["numbers"] == [6]

    title = browser.execute_script(f"return {panel}.querySelector('.gtitle').textContent")
    assert title == "The cheapest network at or above 90 % scores 0.02, at 90 %"
    drawn = browser.execute_script(f"return {panel}.querySelectorAll('.scatterlayer .points path').length")
    assert drawn >= 5  # points on the screen; those far below the bar lie outside of the axes
    assert browser.execute_script(f"const b = {panel}.getBoundingClientRect(); return b.width > 300 && b.height > 300")
    assert wait_for(browser, f"return !!document.getElementById('user-defined-plot:{CURVES_PANEL}').data")

    page = browser.find_element("tag name", "body").text
    assert "a <b>study</b>" in page  # a name is text, not markup
    best = page.split("Best Trials")[1]
    assert all(f"Trial {number}" in best for number in FRONT)
    assert not any(f"Trial {number}" in best for number in (1, 3, 5, 6))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small search of ours has run, with a bar that some of its networks clear."""
    folder = tmp_path_factory.mktemp("searched")
    settings = ROOT / "studies" / "quick.toml"
    text = settings.read_text().replace("bar = 0.90", "bar = 0.20").replace("epochs = 20", "epochs = 5")
    (folder / "small.toml").write_text(text)
    command = [sys.executable, str(ROOT / "run_search.py"), "search", "small.toml", "--trials", "6", "--workers", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def ours(folder: Path, port: int) -> Iterator[str]:
    """The server of `run_search.py dashboard`."""
    command = [sys.executable, str(ROOT / "run_search.py"), "dashboard", "--port", str(port)]
    with served(command, folder, port) as address:
        yield address


@contextmanager
def plain(folder: Path, port: int) -> Iterator[str]:
    """optuna-dashboard itself, without anything of ours running."""
    script = Path(sys.executable).with_name("optuna-dashboard")
    options = ["--artifact-dir", "slimfront.artifacts", "--host", "127.0.0.1", "--port", str(port)]
    with served([str(script), "sqlite:///slimfront.db", *options], folder, port) as address:
        yield address


@contextmanager
def served(command: list[str], folder: Path, port: int) -> Iterator[str]:
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < limit:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.parametrize("serve", [ours, plain])
def test_a_searched_study_shows_its_front_and_hands_out_its_files(
    browser: Any, searched: Path, tmp_path: Path, serve: Any
) -> None:
    study = load_study(open_storage(f"sqlite:///{searched}/slimfront.db", must_exist=True), None)
    expected = front(read_trials(study), 0.2)
    assert expected
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serve(searched, port) as address:
        browser.get(f"{address}/dashboard/studies/{study._study_id}")
        panel = f"document.getElementById('user-defined-plot:{FRONT_PANEL}')"
        traces = wait_for(browser, f"const p = {panel}; return p && p.data && p.data.map(t => [t.name, t.customdata])")
        assert dict(traces)["front"] == [trial.number for trial in expected]

        downloads = tmp_path / "downloads"
        browser.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads), "eventsEnabled": True}
        )
        browser.get(f"{address}/dashboard/studies/{study._study_id}/trials?numbers={expected[0].number}")
        links = "[...document.querySelectorAll('a[download]')]"
        wanted = {"candidate.json", "learning-curve.png", "score.csv"}
        wait_for(browser, f"return {links}.length >= {len(wanted)}")
        assert {
            link.get_attribute("download") for link in browser.find_elements("css selector", "a[download]")
        } == wanted
        for name in sorted(wanted):  # one after the other, as a person would click
            browser.execute_script(f"{links}.find(link => link.download === '{name}').click()")
            limit = time.monotonic() + 20
            while not (downloads / name).is_file() and time.monotonic() < limit:
                time.sleep(0.1)
        assert json.loads((downloads / "candidate.json").read_text()) == expected[0].candidate_dict
        assert (downloads / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
        assert (downloads / "score.csv").read_text().splitlines()[0].endswith("params_term,ops_term")
