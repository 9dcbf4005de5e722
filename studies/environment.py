"""What a result was measured with: versions of the libraries, the machine, and the commit of the code."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

VECTORS = {  # by flag in /proc/cpuinfo, the widest first
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
PACKAGES = ("torch", "torchvision", "optuna", "optuna-dashboard", "thop", "numpy", "safetensors")


@functools.cache
def environment() -> dict[str, str]:
    """Versions of Python and of the libraries, the machine, and the commit: asked once a process."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"machine": machine(), "commit": commit()}


def machine() -> str:
    """Processor and its vectors, number of cores that this process may use, and system; not the machine's name.

    >>> machine().count(",")
    2
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count()
    return f"{_processor()}{_vectors()}, {cores} cores, {platform.system()} {platform.machine()}"


def _processor(information: Path = Path("/proc/cpuinfo")) -> str:
    try:
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def _vectors(information: Path = Path("/proc/cpuinfo")) -> str:
    """The widest vectors that training can use, in brackets; "" where nothing is known of them.

    The name alone does not tell: virtual machines of one name differ by four times in speed.
    """
    try:
        flags = set(re.findall(r"^flags\s*:(.*)$", information.read_text(errors="replace"), re.MULTILINE)[0].split())
    except (OSError, IndexError):
        return ""
    return next((f" ({name})" for flag, name in VECTORS.items() if flag in flags), "")


def commit(folder: Path | None = None) -> str:
    """Git commit of the code in `folder` (this project), "+changes" added where files differ from it.

    "unknown" without git, and where the code is installed outside of its repository, even inside of another one.
    """
    place = Path(__file__).resolve().parent if folder is None else folder
    probe = Path(__file__).name if folder is None else "."
    if not _git(place, "ls-files", "--", probe):
        return "unknown"
    head = _git(place, "rev-parse", "HEAD")
    if not head:
        return "unknown"
    return head + ("+changes" if _git(place, "status", "--porcelain", "--untracked-files=no", "--", ":/") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},  # never touch the index of someone who is working
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
