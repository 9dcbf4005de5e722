"""Installs slimfront into a virtual environment: through uv, or through pip where uv cannot be had.

    .venv/bin/python tools/install.py .venv [--extra dev] [--torch cpu] [--installer pip]

`make` calls it with the environment's own Python, when nothing but the standard library is there. uv resolves,
downloads and unpacks side by side what pip takes one by one. It does not read pip's settings, so they are handed over
to it: who has told pip of a mirror, a constraint or a certificate has told uv as well. Its own variables (UV_...) go
first.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZES = {  # by extra, where nothing is there yet, measured on Linux x86_64
    "": "about 3 GB to download and 6 GB on disk, nearly all of it PyTorch with CUDA (TORCH=cpu: without)",
    "dev": "about 3.2 GB to download and 6.5 GB on disk, most of it PyTorch with CUDA (TORCH=cpu: without)",
}
PIP_TO_UV = {  # pip's setting: uv's variable, and what separates several values there
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
SECTIONS = ("global", "install", ":env:")  # of pip's settings; a later one goes first


class InstallError(Exception):
    """What the user can mend; its text is one line."""


def pip_settings(listed: str) -> dict[str, str]:
    """Settings that hold for `pip install`, from what `pip config list` printed.

    >>> pip_settings("global.index-url='https://a/simple'\\n:env:.index-url='https://b/simple'\\ndownload.pre='yes'")
    {'index-url': 'https://b/simple'}
    """
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            found[section][name] = str(ast.literal_eval(value))
    return {name: value for section in SECTIONS for name, value in found[section].items()}


def uv_variables(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that make uv look where pip looks; those that the user has set are left out.

    >>> uv_variables({"index-url": "https://mirror/simple", "find-links": "a b"}, {"UV_FIND_LINKS": "c"})
    {'UV_DEFAULT_INDEX': 'https://mirror/simple'}
    """
    found = {}
    for name, (variable, separator) in PIP_TO_UV.items():
        if name in settings and variable not in environment:
            found[variable] = separator.join(settings[name].split())
    if "UV_INDEX" in found:
        # pip takes the best version of all indexes; uv alone would stop at the first one that has the package.
        found.setdefault("UV_INDEX_STRATEGY", environment.get("UV_INDEX_STRATEGY", "unsafe-best-match"))
    return found


def find_uv(venv: Path) -> Path | None:
    """uv of the environment, or on the path, or freshly installed by pip; None where none of these works."""
    own = venv / "bin" / "uv"
    if own.exists():
        return own
    other = shutil.which("uv")
    if other is not None:
        return Path(other)
    done = subprocess.run([*pip_install(venv), "--quiet", "uv"], check=False)
    return own if done.returncode == 0 and own.exists() else None


def pip_install(venv: Path) -> list[str]:
    """The beginning of a command."""
    return [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]


def run_uv(uv: Path, venv: Path, *arguments: str) -> bool:
    """`uv pip install` into the environment with pip's settings; whether it succeeded."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    environment = os.environ | uv_variables(pip_settings(listed.stdout), os.environ)
    command = [str(uv), "pip", "install", "--python", str(venv / "bin" / "python"), *arguments]
    try:
        return subprocess.run(command, check=False, env=environment, cwd=ROOT).returncode == 0
    except OSError as error:
        print(f"{uv}: {error.strerror}", file=sys.stderr)
        return False


def compiled() -> tuple[str, ...]:
    """uv's option for environments of tests, which start Python many times: where it may keep no bytecode, each start
    would compile PyTorch anew (five seconds).
    """
    return ("--compile-bytecode",) if sys.dont_write_bytecode else ()


def torch_requirements() -> list[str]:
    """torch and torchvision as pyproject.toml bounds them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [line for line in project["dependencies"] if line.startswith("torch") and not line.startswith("torch-")]


def install_torch(uv: Path | None, venv: Path, build: str) -> None:
    """Put another build of PyTorch into the environment, before the rest finds it there.

    Args:
        uv: The tool; pip cannot take single packages from an index of their own.
        venv: The environment.
        build: What uv calls a backend (cpu, cu126, auto), or the address of an index that carries the build.

    Raises:
        InstallError: There is no uv, or the index cannot be reached, or has no such build.
    """
    remembered = venv / ".torch"
    if remembered.exists() and remembered.read_text() == build:
        return
    if uv is None:
        raise InstallError(f"TORCH={build} needs uv, and there is none.")
    # First-index: what this index has is taken from it, though another may have a newer release with CUDA.
    source = ("--index", build, "--index-strategy", "first-index") if "://" in build else ("--torch-backend", build)
    again = ("--reinstall-package", "torch", "--reinstall-package", "torchvision")
    if not run_uv(uv, venv, *source, *again, *torch_requirements()):
        raise InstallError(
            f"TORCH={build}: that build of PyTorch could not be installed, see above; TORCH=ADDRESS takes it from an "
            "index of your own, and without TORCH the usual one is installed."
        )
    remembered.write_text(build)


def install(venv: Path, extra: str, build: str, installer: str) -> None:
    """Install the project, editable, with an extra of pyproject.toml.

    Raises:
        InstallError: Neither uv nor pip could do it.
    """
    size = SIZES[extra] if not build else f"PyTorch ({build}), and some 0.2 GB to download for the rest"
    print(f"Installing into {os.path.relpath(venv)} what is not there yet of {size}.", flush=True)
    uv = find_uv(venv) if installer == "uv" else None
    if build:
        install_torch(uv, venv, build)
    project = f".[{extra}]" if extra else "."
    if uv is not None and run_uv(uv, venv, *(compiled() if extra else ()), "--editable", project):
        return
    if installer == "uv":
        print("uv could not do it: pip does, which takes some times as long.", file=sys.stderr, flush=True)
    if subprocess.run([*pip_install(venv), "--editable", project], check=False, cwd=ROOT).returncode:
        raise InstallError("the packages could not be installed, see above; the same command tries again.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--extra", default="", choices=list(SIZES))
    parser.add_argument("--torch", default="", metavar="cpu|ADDRESS", help="another build of PyTorch")
    parser.add_argument("--installer", default="uv", choices=["uv", "pip"])
    options = parser.parse_args()
    try:
        install(options.venv.absolute(), options.extra, options.torch, options.installer)
    except InstallError as error:
        print(f"make: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
