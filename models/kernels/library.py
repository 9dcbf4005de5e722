"""Compiles the C files of this folder once for this machine and loads them.

Without a C compiler everything still works, more slowly.

The library lies in the user's cache under a name that depends on the source, the compiler's flags and the processor, so
that a home directory shared by different machines is safe. SLIMFRONT_KERNELS=0 switches the kernels off.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from torch import Tensor

# No fast-math: a division stays a division, so that rounded values equal those of the torch operations bit for bit.
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_FOLDER = Path(__file__).parent
_SOURCES = tuple(
    _FOLDER / name for name in ("rounding.c", "norm_act.c", "depthwise.c", "weight_gradient.c", "winograd.c")
)
_HEADERS = (_FOLDER / "storage.h", _FOLDER / "lanes.h")
_SECONDS = 300  # a compiler that takes longer, though it needs ten, is stuck


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there are none."""
    if os.environ.get("SLIMFRONT_KERNELS", "1") == "0":
        return None
    try:
        return _declare(ctypes.CDLL(str(_built())))
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None


def compiled() -> ctypes.CDLL:
    """The compiled kernels, for an operator that has been told that they serve."""
    kernels = library()
    assert kernels is not None
    return kernels


@functools.cache
def has_weight_gradient() -> bool:
    """Whether the kernels were compiled for a processor that multiplies bfloat16."""
    kernels = library()
    return kernels is not None and bool(kernels.slimfront_has_weight_gradient())


@functools.cache
def has_winograd() -> bool:
    """Whether the kernels were compiled for a processor on which minimal filtering has been found to be faster."""
    kernels = library()
    return kernels is not None and bool(kernels.slimfront_has_winograd())


def pointers(*tensors: Tensor | None) -> list[int | None]:
    """Addresses of the tensors' numbers, null for None; the caller holds on to the tensors."""
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _built() -> Path:
    """Path of the library, compiled if it is not there yet. Raises OSError or SubprocessError where that fails."""
    source = b"".join(path.read_bytes() for path in (*_SOURCES, *_HEADERS))
    key = hashlib.sha256(source + " ".join(_FLAGS).encode() + _processor().encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slimfront"
    target = folder / f"kernels-{key}.so"
    if not target.exists():
        compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
        if compiler is None:
            raise FileNotFoundError("no C compiler")
        folder.mkdir(parents=True, exist_ok=True)
        # Compiled under another name and moved: another process sees all of it or nothing.
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = Path(place) / "kernels.so"
            _compile(compiler, made)
            made.replace(target)
    return target


def _compile(compiler: str, target: Path) -> None:
    for threading in (["-fopenmp"], []):
        command = [compiler, *_FLAGS, *threading, "-o", str(target), *map(str, _SOURCES), "-lm"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
        if done.returncode == 0:
            return
    raise OSError(f"{compiler} failed")


def _processor() -> str:
    """What code for "native" depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    return " ".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def _declare(loaded: ctypes.CDLL) -> ctypes.CDLL:
    pointer, count, number, integer = ctypes.c_void_p, ctypes.c_long, ctypes.c_float, ctypes.c_int
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "round": (None, (pointer, pointer, count, integer, number, number, number, integer)),
        "round_backward": (
            ctypes.c_double,
            (pointer, pointer, pointer, count, integer, number, number, number, integer),
        ),
        "round_rows": (None, (pointer, pointer, count, count, pointer, number, number)),
        "round_rows_backward": (
            None,
            (pointer, pointer, pointer, count, count, pointer, number, number, pointer),
        ),
    }
    signatures["norm_act"] = (
        None,
        (
            *(pointer,) * 3,
            count,
            count,
            integer,
            pointer,
            pointer,
            integer,
            number,
            number,
            *(pointer,) * 5,
            count,
            integer,
        ),
    )
    signatures["norm_act_backward"] = (
        None,
        (*(pointer,) * 5, count, count, integer, pointer, pointer, integer, *(pointer,) * 5, count, integer),
    )
    geometry = (count,) * 6
    signatures["depthwise_room"] = (count, (*geometry, integer))
    signatures["depthwise_backward"] = (None, (*(pointer,) * 5, *geometry, integer, pointer, integer))
    signatures["has_weight_gradient"] = (integer, ())
    signatures["weight_gradient_room"] = (count, (*geometry, integer))
    signatures["weight_gradient"] = (None, (*(pointer,) * 3, count, *geometry, pointer, integer))
    signatures["has_winograd"] = (integer, ())
    signatures["winograd_room"] = (count, (count, count, integer, integer))
    signatures["winograd"] = (None, (*(pointer,) * 3, *(count,) * 5, integer, pointer, integer))
    signatures["winograd_gradient_room"] = (count, (*(count,) * 5, integer))
    signatures["winograd_gradient"] = (None, (*(pointer,) * 3, *(count,) * 5, pointer, integer))
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, f"slimfront_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded
