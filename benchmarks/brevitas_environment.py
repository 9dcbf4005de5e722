"""Makes an environment of its own for brevitas, the yardstick of `brevitas_w4a4.py`.

    python benchmarks/brevitas_environment.py FOLDER

Brevitas wants an older setuptools than ours, so it cannot live in the project's environment. Everything else, torch
above all, is taken from there: a path file makes this Python's packages visible behind the new environment's own, and
pip is told to bring nothing but what is named below.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

PACKAGES = ("brevitas==0.13.4", "dependencies==2.0.1", "unfoldNd==0.2.3", "setuptools<81")


def python_of(folder: Path) -> Path:
    """The environment's interpreter."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make(folder: Path) -> None:
    """Make the environment, or do nothing where brevitas can be imported there already."""
    python = python_of(folder)
    check = [
        str(python),
        "-c",
        "import brevitas, torch; print('brevitas', brevitas.__version__, 'torch', torch.__version__)",
    ]
    if not python.exists() or subprocess.run(check, check=False, capture_output=True).returncode != 0:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        packages = "import sysconfig; print(sysconfig.get_path('purelib'))"
        place = subprocess.run([str(python), "-c", packages], check=True, capture_output=True, text=True).stdout.strip()
        Path(place, "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        # --ignore-installed: what lies in the project's environment is left alone, not replaced.
        install = ["-m", "pip", "--python", str(python), "install", "--ignore-installed", "--no-deps", *PACKAGES]
        subprocess.run([sys.executable, *install], check=True)
    subprocess.run(check, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    make(Path(sys.argv[1]))
