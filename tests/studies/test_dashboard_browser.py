"""The dashboard in a real browser: what a user sees, not what the server sends."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_trials import made_trial
from optuna.trial import TrialState

from studies.dashboard import CURVES_PANEL, FRONT_PANEL, make_dashboard, update_panels
from studies.storage import create_or_load, open_storage

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
    study.add_trials(
        [
            made_trial(0, 0.96, 0.2),
            made_trial(1, 0.5, 0.001),
            made_trial(2, 0.93, 0.05),
            made_trial(3, 0.92, 0.06),
            made_trial(4, 0.9, 0.02),
            made_trial(5, 0.8999, 0.01),
            made_trial(6, 0.7, 0.004, TrialState.PRUNED),
        ]
    )
    update_panels(study, 0.9)
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
