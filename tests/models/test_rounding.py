import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.models.kernels import guard
from slimfront.models.kernels import library as kernels
from slimfront.models.quantization import rounding

STEP = torch.tensor(0.5)


@pytest.fixture(scope="module")
def compiled():
    if kernels.library() is None:
        pytest.skip("no C compiler here")


def without_kernels(function, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "library", lambda: None)
        return function(*arguments)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(1,), (3, 5), (2, 3, 7, 5), (5, 16, 33, 3), (0, 4)]),
    step=st.floats(1e-3, 10),
    grid=st.sampled_from([(0, 1), (0, 15), (-8, 7), (-1, 1), (-128, 127)]),
    channels_last=st.booleans(),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 999),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_kernels_and_torch_agree_bit_for_bit(compiled, shape, step, grid, channels_last, threads, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    x, gradient = torch.randn(2, *shape, generator=generator)
    if channels_last and len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    step = torch.tensor(step)
    # Ties and the bounds themselves are where implementations differ.
    x = torch.where(torch.rand(x.shape, generator=generator) < 0.3, (x * 8).round() / 2 * step, x)
    x, gradient = x.to(dtype), gradient.to(dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = rounding.round_tensor(x, step, *grid)
        back = rounding.round_tensor_backward(gradient, x, step, *grid)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, without_kernels(rounding.round_tensor, x, step, *grid))
    assert y.stride() == x.stride()
    assert y.dtype == back[0].dtype == dtype
    expected = without_kernels(rounding.round_tensor_backward, gradient, x, step, *grid)
    assert torch.equal(back[0], expected[0])
    torch.testing.assert_close(back[1], exact_step_gradient(gradient, x, step, *grid), rtol=1e-3, atol=2e-3)


def exact_step_gradient(gradient, x, step, low, high):
    v = x.float() / step
    inside = (v > low) & (v < high)
    return (gradient.double() * (v.clamp(low, high).round() - v * inside).double()).sum().float()


def test_the_sum_does_not_depend_on_the_number_of_threads(compiled):
    x, gradient = torch.randn(2, 9, 4, 50, 50)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(rounding.round_tensor_backward(gradient, x, torch.tensor(0.1), -8, 7)[1])
    torch.set_num_threads(1)
    assert results[0] == results[1] == results[2]


@settings(max_examples=30, deadline=None)
@given(shape=st.sampled_from([(3, 5), (4, 3, 3, 3), (6, 1, 5, 5)]), seed=st.integers(0, 999), last=st.booleans())
def test_rows_agree_whatever_the_memory_order_of_the_gradient(compiled, shape, seed, last):
    generator = torch.Generator().manual_seed(seed)
    x, gradient = torch.randn(2, *shape, generator=generator)
    steps = torch.rand(shape[0], generator=generator) + 0.05
    if last and len(shape) == 4:
        gradient = gradient.to(memory_format=torch.channels_last)
    assert torch.equal(rounding.round_rows(x, steps, -4, 3), without_kernels(rounding.round_rows, x, steps, -4, 3))
    ours = rounding.round_rows_backward(gradient, x, steps, -4, 3)
    theirs = without_kernels(rounding.round_rows_backward, gradient, x, steps, -4, 3)
    assert torch.equal(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-4)


def test_tensors_with_gaps_and_other_types_work_too():
    x = torch.randn(4, 6, 8, 8)[:, ::2]
    assert torch.equal(rounding.round_tensor(x, STEP, 0, 15), rounding.round_tensor(x.contiguous(), STEP, 0, 15))
    double = rounding.round_tensor(x.double(), STEP, 0, 15)
    assert double.dtype == torch.float64


def test_not_a_number_stays_one(compiled):
    x = torch.tensor([float("nan"), 1.0, float("inf"), -float("inf")])
    y = rounding.round_tensor(x, STEP, -8, 7)
    assert y.isnan().tolist() == [True, False, False, False]
    assert y[1:].tolist() == [1.0, 3.5, -4.0]


@pytest.mark.parametrize("reason", ["switched off", "no compiler", "compiler fails", "folder"])
def test_without_kernels_everything_goes_on(monkeypatch, tmp_path, reason):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if reason == "switched off":
        monkeypatch.setenv("SLIMFRONT_KERNELS", "0")
    elif reason == "no compiler":
        monkeypatch.setattr(kernels.shutil, "which", lambda name: None)
    elif reason == "compiler fails":
        monkeypatch.setattr(kernels.shutil, "which", lambda name: "/bin/false")
    else:
        (tmp_path / "cache").write_text("not a folder")
    kernels.library.cache_clear()
    try:
        assert kernels.library() is None
        assert rounding.round_tensor(torch.tensor([1.26]), STEP, 0, 15).tolist() == [1.5]
    finally:
        kernels.library.cache_clear()
