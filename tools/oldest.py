"""Runs the main commands and a part of the tests with the oldest versions that pyproject.toml allows, on Python 3.11.

    make oldest

Pieces that have passed are not run again until code or bounds change, so the same command goes on after an
interruption. Everything lies in .venv-oldest: the environment, and in `work` what the pieces left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from install import ROOT, InstallError, compiled, find_uv, run_uv

VENV = ROOT / ".venv-oldest"
PYTHON = VENV / "bin" / "python"


class PieceError(Exception):
    """A piece failed; its text is what was run, and the end of what it printed."""


def fingerprint(*suffixes: str) -> str:
    """Digest of the project's files with these endings: pieces that passed are valid for it alone."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256()
    for name in sorted(name for name in listed.split("\0") if name.endswith(suffixes)):
        if (ROOT / name).exists():
            digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def run(*command: str | Path, folder: Path) -> str:
    """Standard output of a command. Raises PieceError where it fails."""
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "120"}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PieceError(f"{' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def slimfront(folder: Path, *words: str | Path) -> dict[str, Any]:
    """What a command of slimfront says with --json, with the oldest versions."""
    found: dict[str, Any] = json.loads(run(PYTHON, ROOT / "run_search.py", *words, "--json", folder=folder))
    return found


def search(folder: Path) -> str:
    found = slimfront(folder, "search", ROOT / "studies" / "quick.toml")
    if not found["front"]:
        raise PieceError("the quick search ended without a front")
    return f"{found['trials']['complete']} trials complete, {len(found['front'])} on the front"


def score(folder: Path) -> str:
    return f"resnet20 {slimfront(folder, 'score', 'resnet20')['score']:.4f}"


def retrain(folder: Path) -> str:
    trial = slimfront(folder, "front", "--plot", "front.png", "--csv", "trials.csv")["front"][0]["trial"]
    found = slimfront(folder, "retrain", "--trial", str(trial), "--seeds", "2", "--epochs", "20", "--out", "retrained")
    return f"{found['mean']:.4f} on average over two seeds"


def artifact(folder: Path) -> Path:
    return folder / str(json.loads((folder / "retrained" / "summary.json").read_text())["artifact"])


def verify(folder: Path) -> str:
    found = slimfront(folder, "verify", artifact(folder))
    if not found["ok"]:
        raise PieceError(f"verify: {found}")
    return f"{found['bytes']:,} bytes, accuracy {found['accuracy']:.4f}"


def export(folder: Path) -> str:
    return f"{slimfront(folder, 'export', artifact(folder), '--onnx', 'network.onnx')['bytes']:,} bytes"


def report(folder: Path) -> str:
    slimfront(folder, "report", "--out", "page.html", "--slides", "slides.html", "--retrained", "retrained")
    return f"{(folder / 'page.html').stat().st_size:,} bytes"


def tests(folder: Path) -> str:
    told = run("make", "--no-print-directory", "smoke", f"VENV={VENV}", folder=ROOT)
    return told.strip().splitlines()[-1].strip("= ")


PIECES: tuple[Callable[[Path], str], ...] = (search, score, retrain, verify, export, report, tests)


def install() -> str:
    """An environment of exactly the lower bounds, unless it is there; torch's version."""
    stamp, wanted = VENV / ".installed", fingerprint("pyproject.toml")
    if not stamp.exists() or stamp.read_text() != wanted:
        uv = find_uv(Path(sys.prefix))
        if uv is None:
            raise InstallError("`make oldest` needs uv, and there is none.")
        if not PYTHON.exists():
            subprocess.run([uv, "venv", "--quiet", "--no-python-downloads", "--python", "3.11", VENV], check=True)
        bounds = ("--requirements", "pyproject.toml", "--extra", "test", "--editable", ".")
        if not run_uv(uv, VENV, *compiled(), "--resolution", "lowest-direct", *bounds):
            raise InstallError("the oldest versions could not be installed, see above.")
        stamp.write_text(wanted)
    return run(PYTHON, "-c", "import torch; print('torch', torch.__version__)", folder=ROOT).strip()


def say(name: str, began: float, result: str) -> None:
    print(f"oldest: {name:8} {time.monotonic() - began:4.0f} s  {result}", flush=True)


def main() -> int:
    began = time.monotonic()
    try:
        say("install", began, install())
        folder = VENV / "work" / fingerprint(".py", ".toml", ".c", ".h", ".css")
        if not folder.exists():
            shutil.rmtree(VENV / "work", ignore_errors=True)
            folder.mkdir(parents=True)
        for piece in PIECES:
            passed, started = folder / f".{piece.__name__}", time.monotonic()
            if passed.exists():
                say(piece.__name__, started, f"{passed.read_text()}  (has passed before)")
                continue
            result = piece(folder)
            passed.write_text(result)
            say(piece.__name__, started, result)
    except (InstallError, PieceError) as error:
        print(f"oldest: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("oldest: interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(f"oldest: everything passed, in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
