"""The pictures of dashboard, report and slides in docs/img, taken in a real browser from a study that was searched.

    python run_search.py search && python run_search.py retrain --name quick --front --seeds 3 --epochs 60
    python -m benchmarks.pictures --name quick --trial 12 --out docs/img    # a trial of its front

Chromium and its driver have to be on the path. Look at each picture before you commit it.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from slimfront.studies.dashboard.server import PANELS

ROOT = Path(__file__).resolve().parents[1]
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --force-device-scale-factor=1"
)
REPORT = (1000, 1500)
LOADED = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
SETTLED = 1.5  # seconds; plots are drawn in steps


def run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, str(ROOT / "run_search.py"), *arguments], check=True)


@contextmanager
def dashboard(storage: str, name: str) -> Iterator[str]:
    """The address that `run_search.py dashboard` serves; it draws the panels anew when it starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "run_search.py"), "dashboard", "--storage", storage, "--name", name]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        else:
            raise SystemExit("The dashboard did not start.")
        yield f"http://127.0.0.1:{port}/dashboard/studies/1"
    finally:
        process.terminate()
        process.wait(20)


class Camera:
    """A browser without a window; pictures are RGB, one pixel a CSS pixel."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    def open(self, address: str, ready: str, *, width: int = 1500, height: int = 4000, dark: bool = False) -> None:
        """`ready`: JavaScript that is true once there is something to see."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self._browser.get(address)
        WebDriverWait(self._browser, 60, poll_frequency=0.2).until(lambda page: page.execute_script(f"return {ready}"))
        time.sleep(SETTLED)

    def whole(self) -> Image.Image:
        return Image.open(io.BytesIO(self._browser.get_screenshot_as_png())).convert("RGB")

    def boxes(self, elements: str) -> list[tuple[int, int, int, int]]:
        """Left, top, right, bottom of each element of a JavaScript array."""
        script = f"return {elements}.map(e => e.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
        return [tuple(round(edge) for edge in box) for box in self._browser.execute_script(script)]  # type: ignore[misc]


def panels(camera: Camera, address: str) -> Image.Image:
    """Our four panels, in light and, below, in dark."""
    elements = "[" + ", ".join(f"document.getElementById('user-defined-plot:{panel}')" for panel in PANELS) + "]"
    parts = []
    for dark in (False, True):
        camera.open(address, f"{elements}.every(e => e && e.querySelector('.main-svg'))", dark=dark)
        boxes = camera.boxes(elements)
        around = (
            min(b[0] for b in boxes),
            min(b[1] for b in boxes),
            max(b[2] for b in boxes),
            max(b[3] for b in boxes),
        )
        parts.append(camera.whole().crop(around))
    return sheet(parts, columns=1, gap=8)


def sheet(pictures: list[Image.Image], columns: int, gap: int) -> Image.Image:
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    result = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "#8a8d92")
    for index, picture in enumerate(pictures):
        result.paste(picture, (index % columns * (width + gap), index // columns * (height + gap)))
    return result


def slides(camera: Camera, page: Path) -> Image.Image:
    camera.open(page.as_uri(), "document.querySelectorAll('.slide').length > 0", width=1400, height=6400)
    whole = camera.whole()
    found = [whole.crop(box) for box in camera.boxes("[...document.querySelectorAll('.slide')]")]
    return sheet([slide.resize((800, 450), Image.Resampling.LANCZOS) for slide in found], columns=2, gap=8)


def taken(camera: Camera, folder: Path, options: argparse.Namespace) -> dict[str, Image.Image]:
    """All pictures by name; pages are written to `folder`."""
    pages = {"report": folder / "report.html", "slides": folder / "slides.html"}
    written = [f"--out={pages['report']}", f"--slides={pages['slides']}", f"--retrained={options.retrained}"]
    run(["report", "--storage", options.storage, "--name", options.name, *written])
    camera.open(pages["report"].as_uri(), "true", width=REPORT[0], height=REPORT[1])
    pictures = {"report": camera.whole(), "slides": slides(camera, pages["slides"])}
    with dashboard(options.storage, options.name) as address:
        pictures["dashboard"] = panels(camera, address)
        place = f"{address}/trials?numbers={options.trial}"
        camera.open(place, f"document.querySelectorAll('a[download]').length >= 3 && {LOADED}", width=1500, height=1760)
        pictures["trial"] = camera.whole().resize((1200, 1408), Image.Resampling.LANCZOS)
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="sqlite:///slimfront.db", help="with this study as its only one")
    parser.add_argument("--name", default="quick")
    parser.add_argument("--trial", type=int, required=True, help="whose page is shown")
    parser.add_argument("--retrained", type=Path, default=Path("runs/final/quick-front"))
    parser.add_argument("--out", type=Path, default=Path("docs/img"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chrome = webdriver.ChromeOptions()
        chrome.binary_location = shutil.which("chromium") or sys.exit("Chromium is not installed.")
        for flag in [*FLAGS.split(), f"--user-data-dir={folder}/profile"]:
            chrome.add_argument(flag)
        browser = webdriver.Chrome(options=chrome, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            pictures = taken(Camera(browser), Path(folder), options)
        finally:
            browser.quit()
    for name, picture in pictures.items():
        picture.quantize(256, dither=Image.Dither.NONE).save(options.out / f"{name}.png", optimize=True)
        print(f"{options.out / name}.png: {picture.size[0]} x {picture.size[1]}")


if __name__ == "__main__":
    main()
