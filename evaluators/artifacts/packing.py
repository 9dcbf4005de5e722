"""Exact packing: numbers of b bits take b bits, and pruned weights what `evaluators.scoring.strict` says.

Streams begin at a byte and fill each byte from its lowest bit on. Unpacking checks before it allocates, and refuses
what packing never writes: spare bits that are set, positions that do not rise.

    dense     a value for every weight; pruned ones are zeros
    bitmap    a bit for every weight (1: there), then, from the next byte on, the values of those
    index     the positions of the weights that are there, then, from the next byte on, their values
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from slimfront.evaluators.scoring.strict import DENSE, index_bits, weight_storage

CODINGS = (DENSE, "bitmap", "index")

Unsigned = NDArray[np.uint32]
Integers = NDArray[np.int8]
Flags = NDArray[np.bool_]

_CHUNK = 1 << 20  # numbers expanded into single bits at a time


class PackingError(ValueError):
    """Bytes that no packing wrote."""


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` numbers of `bits` bits take."""
    return (count * bits + 7) // 8


def pack(values: NDArray[np.generic], bits: int) -> bytes:
    """Unsigned numbers below 2^bits, (n,), in `packed_bytes(n, bits)` bytes. 1 to 32 bits.

    >>> pack(np.array([1, 2, 3]), 2).hex()
    '39'
    """
    numbers = np.ascontiguousarray(values, dtype=np.uint32)
    if numbers.size and int(numbers.max()) >> bits:
        raise ValueError(f"Numbers of {bits} bits end below {2**bits}, but there is {int(numbers.max())}.")
    places = np.arange(bits, dtype=np.uint32)
    parts = []
    for start in range(0, len(numbers), _CHUNK):  # a chunk fills whole bytes: its length is a multiple of 8
        single = (numbers[start : start + _CHUNK, None] >> places & 1).astype(np.uint8)
        parts.append(np.packbits(single.reshape(-1), bitorder="little").tobytes())
    return b"".join(parts)


def unpack(data: bytes, count: int, bits: int) -> Unsigned:
    """The inverse of `pack`, (count,).

    Raises:
        PackingError: another number of bytes, or spare bits that are not zero.
    """
    if len(data) != packed_bytes(count, bits):
        raise PackingError(f"{count} numbers of {bits} bits take {packed_bytes(count, bits)} bytes, not {len(data)}.")
    spare = len(data) * 8 - count * bits
    if spare and data[-1] >> (8 - spare):
        raise PackingError("spare bits at the end are set.")
    result = np.zeros(count, dtype=np.uint32)
    raw = np.frombuffer(data, dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        end = min(start + _CHUNK, count)
        part = raw[start * bits // 8 : packed_bytes(end, bits)]
        single = np.unpackbits(part, count=(end - start) * bits, bitorder="little").reshape(-1, bits)
        for place in range(bits):
            result[start:end] |= single[:, place].astype(np.uint32) << np.uint32(place)
    return result


def to_codes(integers: Integers, bits: int) -> Unsigned:
    """Signed integers of `bits` bits (1: -1 and 1) as unsigned codes, in ascending order."""
    wide = integers.astype(np.int64)
    return ((wide > 0) if bits == 1 else wide + 2 ** (bits - 1)).astype(np.uint32)


def from_codes(codes: Unsigned, bits: int) -> Integers:
    """The inverse of `to_codes`."""
    wide = codes.astype(np.int64)
    return (2 * wide - 1 if bits == 1 else wide - 2 ** (bits - 1)).astype(np.int8)


def stored_bytes(weights: int, stored: int, bits: int) -> int:
    """Bytes that `encode` writes, known before anything is read."""
    coding = weight_storage(weights, stored, bits).coding
    if coding == DENSE:
        return packed_bytes(weights, bits)
    positions = packed_bytes(weights, 1) if coding == "bitmap" else packed_bytes(stored, index_bits(weights))
    return positions + packed_bytes(stored, bits)


def encode(codes: Unsigned, there: Flags, bits: int, zero: int) -> bytes:
    """Weights in the cheapest coding.

    Args:
        codes: (n,), unsigned numbers of `bits` bits: `to_codes` of integers, or the bits of floats.
        there: (n,), False where a weight is pruned.
        bits: 1 to 8, 16 or 32.
        zero: The code of a pruned weight where coding is dense.
    """
    coding = weight_storage(len(codes), int(there.sum()), bits).coding
    if coding == DENSE:
        return pack(np.where(there, codes, np.uint32(zero)), bits)
    positions = pack(there, 1) if coding == "bitmap" else pack(np.flatnonzero(there), index_bits(len(codes)))
    return positions + pack(codes[there], bits)


def decode(data: bytes, weights: int, stored: int, bits: int, zero: int) -> tuple[Unsigned, Flags]:
    """The inverse of `encode`: codes (weights,), `zero` where pruned, and which weights are there (weights,).

    Dense coding does not tell a pruned weight from one that is zero: as many zeros as there have to be count as there,
    the first ones.

    Raises:
        PackingError: bytes that `encode` does not write for these numbers.
    """
    if len(data) != stored_bytes(weights, stored, bits):
        raise PackingError(f"{weights} weights, {stored} of them stored, take another number of bytes.")
    coding = weight_storage(weights, stored, bits).coding
    if coding == DENSE:
        codes = unpack(data, weights, bits)
        return codes, pad_mask(codes != zero, stored)
    if coding == "bitmap":
        split = packed_bytes(weights, 1)
        there = unpack(data[:split], weights, 1).astype(np.bool_)
        if int(there.sum()) != stored:
            raise PackingError(f"the bitmap has {int(there.sum())} weights, but {stored} are stored.")
    else:
        split = packed_bytes(stored, index_bits(weights))
        positions = unpack(data[:split], stored, index_bits(weights)).astype(np.int64)
        if stored and (int(positions[-1]) >= weights or bool((np.diff(positions) <= 0).any())):
            raise PackingError("positions of weights must rise and stay inside the layer.")
        there = np.zeros(weights, dtype=np.bool_)
        there[positions] = True
    codes = np.full(weights, zero, dtype=np.uint32)
    codes[there] = unpack(data[split:], stored, bits)
    return codes, there


def pad_mask(nonzero: Flags, stored: int) -> Flags:
    """`nonzero`, with the first zeros added until `stored` weights count as there.

    Raises:
        PackingError: more than `stored` are nonzero, or fewer weights than that exist.
    """
    missing = stored - int(nonzero.sum())
    zeros = np.flatnonzero(~nonzero)
    if not 0 <= missing <= len(zeros):
        raise PackingError(f"{int(nonzero.sum())} of {len(nonzero)} weights are not zero, but {stored} are stored.")
    there = nonzero.copy()
    there[zeros[:missing]] = True
    return there
