"""The outside of a `.slim` file: a safetensors file of a few flat tensors, JSON beside them, and a seal over it all.

The header's metadata has two entries: `slimfront`, a JSON text, and `sha256`, the digest of the whole file with the
digest's own 64 digits replaced by zeros. So no bit of the file can change unnoticed, header and offsets included.

Files may come from strangers. Everything is read as plain bytes and numbers, nothing is allocated that is larger than
the file, and whatever is wrong is an ArtifactError of one line.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

LARGEST_FILE = 2**30  # bytes
LARGEST_HEADER = 2**20  # bytes
LARGEST_WHOLE = 2**62  # of a number in JSON, which knows no end: beyond it torch and NumPy have no type
LARGEST_NUMBER = 1e18
PLAIN_TEXT = 1500  # characters of JSON; a longer table of layers, or provenance, is compressed
LARGEST_TEXT = 2**20  # characters, decompressed
DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype("u1"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}

_MARK = b'"sha256":"'
_BLANK = b"0" * 64
_SIGNS = (_MARK, b'"slimfront":"{')  # of a header of ours; one changed byte cannot spoil both

Array = NDArray[Any]
Json = TypeVar("Json", list[list[int]], dict[str, Any])


class ArtifactError(ValueError):
    """A file that is no artifact, or a network that cannot become one: one line that says what and where."""


class _RangeError(Exception):
    """A number in JSON that is too large."""


class TamperedError(ArtifactError):
    """An artifact whose contents contradict each other or its seal: it was changed, or written wrongly."""


class IncompleteError(ArtifactError):
    """A file that was cut off, or that something was added to."""


def seal(arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> bytes:
    """The bytes of a file with one-dimensional `arrays` (uint8, float16, float32) and JSON-able `facts`."""
    # Written here, not by the library, whose metadata come in a random order: equal networks give equal files.
    text = json.dumps(facts, separators=(",", ":"), allow_nan=False)
    header: dict[str, Any] = {"__metadata__": {"slimfront": text, "sha256": _BLANK.decode()}}
    names = {dtype: name for name, dtype in DTYPES.items()}
    place, parts = 0, []
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):  # the widest first: all are aligned
        array = np.ascontiguousarray(arrays[name])
        offsets = [place, place + array.nbytes]
        header[name] = {"dtype": names[array.dtype], "shape": [array.size], "data_offsets": offsets}
        place += array.nbytes
        parts.append(array.tobytes())
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)
    data = len(packed).to_bytes(8, "little") + packed + b"".join(parts)
    place = _place_of_digest(data, _header_length(data))
    return data[:place] + _digest(data, place) + data[place + 64 :]


def unseal(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """The inverse of `seal`.

    Raises:
        ArtifactError: not a file of ours, or not all of it.
        TamperedError: a file of ours that was changed.
    """
    try:
        return _unseal(data)
    except (TamperedError, IncompleteError):
        raise
    except ArtifactError as error:
        if _is_damaged(data):
            raise TamperedError(f"its header was changed after it was written: {error}") from None
        raise


def _unseal(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    length = _header_length(data)
    header = parse_json(data[8 : 8 + length], "the header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not all(isinstance(metadata.get(key), str) for key in ("slimfront", "sha256")):
        raise ArtifactError("it is a safetensors file, but was not written by slimfront.")
    arrays = _arrays(data, 8 + length, header)
    place = _place_of_digest(data, length)
    if _digest(data, place) != data[place : place + 64]:
        raise TamperedError("its checksum does not fit: the file was changed after it was written.")
    try:
        return arrays, parse_json(metadata["slimfront"].encode(), "its description")
    except ArtifactError as error:  # under a right seal: it was not changed, but never right
        raise TamperedError(str(error)) from None


def read(path: Path) -> bytes:
    """A file's bytes. Raises ArtifactError where it cannot be read or is too large for an artifact."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ArtifactError("it is not a file.")
        if size > LARGEST_FILE:
            raise ArtifactError(f"it has {size:,} bytes, more than the {LARGEST_FILE:,} that are read.")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"it cannot be read: {error.strerror or type(error).__name__}.") from None


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object without repeated names, NaN, infinity or numbers beyond all use. Raises ArtifactError."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            raise ValueError("a repeated name")
        return result

    def constant(name: str) -> None:
        raise ValueError(name)

    def whole(digits: str) -> int:
        if len(digits) > 20 or abs(int(digits)) > LARGEST_WHOLE:
            raise _RangeError(digits)
        return int(digits)

    def real(digits: str) -> float:
        if not abs(float(digits)) <= LARGEST_NUMBER:
            raise _RangeError(digits)
        return float(digits)

    kinds: dict[str, Any] = {"parse_int": whole, "parse_float": real, "parse_constant": constant}
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=pairs, **kinds)
    except _RangeError as error:
        raise ArtifactError(f"{what} holds a number that no artifact has: {str(error)[:20]}.") from None
    except (ValueError, RecursionError):
        raise ArtifactError(f"{what} is not valid JSON.") from None
    if not isinstance(found, dict):
        raise ArtifactError(f"{what} is not a JSON object.")
    return found


def _header_length(data: bytes) -> int:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= length <= min(LARGEST_HEADER, len(data) - 8):
        raise ArtifactError("it is not a .slim file (these are safetensors files), or its end is missing.")
    return length


def _arrays(data: bytes, start: int, header: Mapping[str, Any]) -> dict[str, Array]:
    """The tensors that the header describes. They have to fill the file without gaps and overlaps."""
    found = []
    for name, entry in header.items():
        right = isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"}
        dtype = DTYPES.get(entry["dtype"]) if right and isinstance(entry["dtype"], str) else None
        if not right or dtype is None or not _whole(entry["shape"], 1) or not _whole(entry["data_offsets"], 2):
            raise ArtifactError(f"tensor {name[:40]!r} is not described as one of ours.")
        (count,), (first, last) = entry["shape"], entry["data_offsets"]
        if last - first != count * dtype.itemsize:
            raise ArtifactError(f"tensor {name[:40]!r} has another number of bytes than its shape says.")
        found.append((first, last, name, dtype, count))
    end = 0
    arrays = {}
    for first, last, name, dtype, count in sorted(found):
        if first != end or start + last > len(data):
            raise IncompleteError("its tensors do not fill the file: it was cut off, or never was an artifact.")
        end = last
        arrays[name] = np.frombuffer(data, dtype=dtype, count=count, offset=start + first)
    if start + end != len(data):
        raise IncompleteError(f"it has {len(data) - start - end:,} bytes behind its tensors.")
    return arrays


def _is_damaged(data: bytes) -> bool:
    """Whether a file that cannot be read has all of a header of ours: then it was changed, not cut off."""
    start = data[8 : 8 + LARGEST_HEADER]
    if not any(sign in start for sign in _SIGNS):
        return False
    if int.from_bytes(data[:8], "little") <= len(start):
        return True
    try:  # The length itself may be what was changed.
        json.JSONDecoder().raw_decode(start.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return False
    return True


def _whole(value: object, count: int) -> bool:
    """Whether `value` is a list of `count` whole numbers that a file's size could hold."""
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(v) is int and 0 <= v <= LARGEST_FILE for v in value)
    )


def _place_of_digest(data: bytes, length: int) -> int:
    header = data[8 : 8 + length]
    if header.count(_MARK) != 1:  # quotes inside the JSON text are escaped: the mark can only be the real one
        raise ArtifactError("it has no checksum where artifacts have one.")
    place = 8 + header.index(_MARK) + len(_MARK)
    if place + 64 > 8 + length:
        raise ArtifactError("its checksum is cut off.")
    return place


def _digest(data: bytes, place: int) -> bytes:
    digest = hashlib.sha256(data[:place])
    digest.update(_BLANK)
    digest.update(data[place + 64 :])
    return digest.hexdigest().encode()


def squeeze(value: Json) -> Json | str:
    """A list or an object as it is, or compressed where that keeps the metadata small."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return value if len(text) <= PLAIN_TEXT else base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def expand(value: object) -> object:
    """The inverse of `squeeze`. Raises ArtifactError."""
    if not isinstance(value, str):
        return value
    try:
        engine = zlib.decompressobj()
        text = engine.decompress(base64.b85decode(value), LARGEST_TEXT)
    except (ValueError, zlib.error):
        raise TamperedError("its table of layers, or its provenance, cannot be decompressed.") from None
    if not engine.eof:
        raise TamperedError("its table of layers, or its provenance, is cut off or too large.")
    try:
        return parse_json(b'{"value":' + text + b"}", "a compressed part").get("value")
    except ArtifactError as error:
        raise TamperedError(str(error)) from None
