import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.evaluators.artifacts.packing import (
    PackingError,
    decode,
    encode,
    from_codes,
    pack,
    packed_bytes,
    pad_mask,
    stored_bytes,
    to_codes,
    unpack,
)
from slimfront.evaluators.scoring.strict import weight_storage


@settings(max_examples=60, deadline=None)
@given(bits=st.integers(1, 32), count=st.integers(0, 300), seed=st.integers(0, 999))
def test_packing_is_exact_and_exactly_as_long_as_it_says(bits, count, seed):
    values = np.random.default_rng(seed).integers(0, 2**bits, count, dtype=np.uint64).astype(np.uint32)
    data = pack(values, bits)
    assert len(data) == packed_bytes(count, bits) == -(-count * bits // 8)
    assert (unpack(data, count, bits) == values).all()


def test_long_streams_cross_chunks(monkeypatch):
    monkeypatch.setattr("slimfront.evaluators.artifacts.packing._CHUNK", 16)
    values = np.random.default_rng(0).integers(0, 8, 1000)
    assert (unpack(pack(values, 3), 1000, 3) == values).all()


@given(bits=st.integers(1, 8), seed=st.integers(0, 999))
def test_codes_are_a_bijection_of_the_grid(bits, seed):
    low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    grid = np.array([-1, 1] if bits == 1 else range(low, high + 1), dtype=np.int8)
    codes = to_codes(grid, bits)
    assert codes.tolist() == list(range(2**bits))
    assert (from_codes(codes, bits) == grid).all()


@settings(max_examples=80, deadline=None)
@given(
    bits=st.sampled_from([1, 2, 3, 4, 8, 16, 32]),
    count=st.integers(1, 400),
    share=st.sampled_from([0.0, 0.02, 0.3, 0.7, 0.97, 1.0]),
    seed=st.integers(0, 999),
)
def test_weights_survive_in_the_cheapest_coding(bits, count, share, seed):
    generator = np.random.default_rng(seed)
    zero = 2 ** (bits - 1) if 1 < bits <= 8 else 0
    there = generator.random(count) < share
    codes = generator.integers(0, 2**bits, count, dtype=np.uint64).astype(np.uint32)
    codes[~there] = zero
    data = encode(codes, there, bits, zero)
    stored = int(there.sum())
    storage = weight_storage(count, stored, bits)
    assert len(data) == stored_bytes(count, stored, bits)
    assert 0 <= len(data) * 8 - storage.bits <= 14  # two streams, each to a full byte
    again, mask = decode(data, count, stored, bits, zero)
    assert (again == codes).all()
    assert int(mask.sum()) == stored
    if storage.coding != "dense":
        assert (mask == there).all()


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=60),
    weights=st.integers(1, 60),
    stored=st.integers(0, 60),
    bits=st.sampled_from([1, 2, 4, 8]),
)
def test_garbage_is_refused_or_decodes_to_what_encodes_to_it(data, weights, stored, bits):
    stored = min(stored, weights)
    zero = 0 if bits == 1 else 2 ** (bits - 1)
    data = data[: stored_bytes(weights, stored, bits)]
    try:
        codes, there = decode(data, weights, stored, bits, zero)
    except PackingError:
        return
    assert encode(codes, there, bits, zero) == data


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="end below 4, but there is 4"):
        pack(np.array([4]), 2)
    with pytest.raises(PackingError, match="take 1 bytes, not 2"):
        unpack(b"ab", 3, 2)
    with pytest.raises(PackingError, match="spare bits"):
        unpack(b"\xff", 3, 2)
    with pytest.raises(PackingError, match="2 of 3 weights are not zero, but 1 are stored"):
        pad_mask(np.array([True, True, False]), 1)
    with pytest.raises(PackingError, match="must rise"):
        decode(pack(np.array([5, 5]), 7) + pack(np.array([1, 1]), 4), 100, 2, 4, 8)
    with pytest.raises(PackingError, match="the bitmap has"):
        decode(pack(np.ones(10), 1) + pack(np.ones(5), 4), 10, 5, 4, 8)
