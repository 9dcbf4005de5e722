"""Augmentation: what comes out is exactly a shifted, mirrored, covered or mixed version of what went in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.evaluators.training.augmentation import augment, normalise
from slimfront.spaces.candidate import Augmentation
from torch import Generator, Tensor

SHAPES = st.tuples(st.integers(1, 6), st.sampled_from([1, 3]), st.integers(4, 11), st.integers(4, 11))
STRENGTHS = {"none": 0.0, "cutout": 0.5, "mixup": 0.4, "cutmix": 1.0, "light": 0.5}
PLAIN = Augmentation(flip=False, crop=0)


def random_batch(shape: tuple[int, int, int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(seed)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 5, shape[:1], generator=generator)


def pixels(inputs: Tensor) -> Tensor:
    return (inputs * 64 + 128).round().to(torch.uint8)


def policy(name: str, flip: bool = False, crop: int = 0, strength: float | None = None) -> Augmentation:
    return Augmentation(flip=flip, crop=crop, policy=name, strength=STRENGTHS[name] if strength is None else strength)


def test_normalise_is_exact_and_reversible() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    inputs = normalise(every)
    assert inputs.dtype == torch.float32
    assert inputs.flatten().tolist() == [(value - 128) / 64 for value in range(256)]
    assert torch.equal(pixels(inputs), every)


def test_normalise_refuses_floats() -> None:
    with pytest.raises(ValueError, match="uint8"):
        normalise(torch.zeros(1, 3, 4, 4))


@given(SHAPES, st.sampled_from(sorted(STRENGTHS)), st.booleans(), st.integers(0, 5), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_every_policy_keeps_shape_type_range_and_its_input(
    shape: tuple[int, int, int, int], name: str, flip: bool, crop: int, seed: int
) -> None:
    images, labels = random_batch(shape)
    before = images.clone()
    augmentation = policy(name, flip, crop)
    inputs, targets = augment(images, labels, augmentation, 5, Generator().manual_seed(seed))
    again, targets_again = augment(images, labels, augmentation, 5, Generator().manual_seed(seed))

    assert inputs.shape == shape
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert inputs.min() >= -2
    assert inputs.max() <= 127 / 64
    assert torch.equal(images, before)
    assert torch.equal(inputs, again)
    assert torch.equal(targets, targets_again)
    if name in ("mixup", "cutmix"):
        assert targets.dtype == torch.float32
        assert targets.shape == (shape[0], 5)
        assert targets.min() >= 0
        torch.testing.assert_close(targets.sum(1), torch.ones(shape[0]))
    else:
        assert torch.equal(targets, labels)


@pytest.mark.parametrize("name", sorted(STRENGTHS))
def test_the_generator_decides(name: str) -> None:
    images, labels = random_batch((16, 3, 8, 8))
    generator = Generator().manual_seed(0)
    first, _ = augment(images, labels, policy(name, True, 2), 5, generator)
    second, _ = augment(images, labels, policy(name, True, 2), 5, generator)
    assert not torch.equal(first, second)


def test_no_augmentation_is_normalisation() -> None:
    images, labels = random_batch((4, 3, 8, 8))
    generator = Generator().manual_seed(0)
    before = generator.get_state()
    inputs, _ = augment(images, labels, PLAIN, 5, generator)
    assert torch.equal(inputs, normalise(images))
    assert torch.equal(generator.get_state(), before)


@given(SHAPES, st.integers(0, 4), st.booleans(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_flip_and_crop_give_a_window_of_the_grey_padded_image(
    shape: tuple[int, int, int, int], crop: int, flip: bool, seed: int
) -> None:
    images, labels = random_batch(shape)
    _, _, height, width = shape
    inputs, _ = augment(images, labels, Augmentation(flip=flip, crop=crop), 5, Generator().manual_seed(seed))
    for image, result in zip(images, pixels(inputs), strict=True):
        padded = torch.full((len(image), height + 2 * crop, width + 2 * crop), 128, dtype=torch.uint8)
        padded[:, crop : crop + height, crop : crop + width] = image
        windows = [
            padded[:, top : top + height, left : left + width]
            for top in range(2 * crop + 1)
            for left in range(2 * crop + 1)
        ]
        allowed = windows + [window.flip(2) for window in windows] if flip else windows
        assert any(torch.equal(result, window) for window in allowed)


def test_half_of_the_images_are_mirrored_and_all_shifts_occur() -> None:
    images = torch.full((4000, 1, 5, 5), 128, dtype=torch.uint8)
    images[:, :, 2, 2] = 255
    images[:, :, 2, 3] = 0  # right of the bright pixel, unless mirrored
    labels = torch.zeros(4000, dtype=torch.int64)
    inputs, _ = augment(images, labels, Augmentation(flip=True, crop=1), 2, Generator().manual_seed(0))
    bright, dark = (pixels(inputs) == 255).flatten(1).int().argmax(1), (pixels(inputs) == 0).flatten(1).int().argmax(1)
    mirrored = (dark < bright).float().mean()
    assert 0.45 < mirrored < 0.55
    counts = bright.bincount(minlength=25)
    assert (counts > 0).nonzero().flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


@pytest.mark.parametrize(("strength", "side"), [(0.25, 2), (0.5, 4), (1.0, 8), (0.01, 1)])
def test_cutout_covers_one_square_that_may_be_cut_off_at_the_edge(strength: float, side: int) -> None:
    images = torch.zeros(500, 3, 8, 8, dtype=torch.uint8)
    labels = torch.zeros(500, dtype=torch.int64)
    inputs, _ = augment(images, labels, policy("cutout", strength=strength), 5, Generator().manual_seed(0))
    covered = pixels(inputs) == 128
    assert torch.equal(covered[:, 0], covered[:, 1])
    heights, widths = covered[:, 0].any(2).sum(1), covered[:, 0].any(1).sum(1)
    assert torch.equal(covered[:, 0].sum((1, 2)), heights * widths)  # a full rectangle
    assert heights.max() == min(side, 8)
    assert heights.min() >= max(1, side // 2)
    assert widths.max() == min(side, 8)
    if side < 8:
        assert (heights * widths == side * side).float().mean() > 0.25


def test_mixup_blends_images_as_it_blends_targets() -> None:
    # Image i is the flat colour i, its label is i: pixel and target must tell the same mixture.
    images = (torch.arange(64) * 4).to(torch.uint8).view(64, 1, 1, 1).expand(64, 3, 4, 4).contiguous()
    inputs, targets = augment(images, torch.arange(64), policy("mixup"), 64, Generator().manual_seed(0))
    expected = (targets * (torch.arange(64) * 4)).sum(1)
    torch.testing.assert_close(inputs.mean((1, 2, 3)) * 64 + 128, expected, rtol=0, atol=1e-2)
    assert ((targets > 0).sum(1) <= 2).all()
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_mixup_strength_is_alpha() -> None:
    images, labels = torch.zeros(4000, 1, 4, 4, dtype=torch.uint8), torch.arange(4000)
    for alpha in (0.2, 1.0, 4.0):
        _, targets = augment(images, labels, policy("mixup", strength=alpha), 4000, Generator().manual_seed(1))
        own = targets.diagonal()
        assert own.mean().item() == pytest.approx(0.5, abs=0.03)
        assert own.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)  # of Beta(alpha, alpha)


def test_a_tiny_alpha_gives_no_nan() -> None:
    images, labels = random_batch((512, 3, 4, 4))
    for name in ("mixup", "cutmix"):
        inputs, targets = augment(images, labels, policy(name, strength=0.001), 5, Generator().manual_seed(0))
        assert torch.isfinite(inputs).all()
        assert torch.isfinite(targets).all()


def test_cutmix_pastes_one_box_and_counts_its_pixels() -> None:
    images = torch.arange(64).to(torch.uint8).view(64, 1, 1, 1).expand(64, 3, 8, 8).contiguous()
    inputs, targets = augment(images, torch.arange(64), policy("cutmix"), 64, Generator().manual_seed(0))
    result = pixels(inputs)[:, 0].long()  # (B, H, W), the label of the image that each pixel is from
    counts = torch.stack([(result == label).sum((1, 2)) for label in range(64)], dim=1)
    torch.testing.assert_close(targets, counts / 64, rtol=0, atol=1e-6)
    foreign = result != torch.arange(64)[:, None, None]
    heights, widths = foreign.any(2).sum(1), foreign.any(1).sum(1)
    assert torch.equal(foreign.sum((1, 2)), heights * widths)
    assert (foreign.sum((1, 2)) > 0).float().mean() > 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_light_changes_brightness_contrast_or_saturation(channels: int) -> None:
    images, labels = random_batch((200, channels, 6, 6))
    images = images // 2 + 64  # far from black and white, so that nothing is clipped
    inputs, _ = augment(images, labels, policy("light", strength=0.3), 5, Generator().manual_seed(0))
    before, after = normalise(images).double() + 2, inputs.double() + 2  # 0 is black
    weights = torch.tensor([0.299, 0.587, 0.114] if channels == 3 else [1.0], dtype=torch.float64)
    grey = (before * weights[:, None, None]).sum(1, keepdim=True)
    anchors = [torch.zeros_like(grey), grey.mean((2, 3), keepdim=True).expand_as(grey)]
    anchors += [grey] if channels == 3 else []
    fits = []
    for anchor in anchors:
        away = before - anchor
        factor = (away * (after - anchor)).flatten(1).sum(1) / away.square().flatten(1).sum(1)
        error = (anchor + factor[:, None, None, None] * away - after).abs().flatten(1).amax(1)
        fits.append((error < 1e-5) & (factor > 0.7 - 1e-6) & (factor < 1.3 + 1e-6))
    kinds = torch.stack(fits, dim=1)
    assert kinds.any(1).all()
    assert kinds.any(0).all()


def test_light_leaves_white_and_black_in_range() -> None:
    images, labels = random_batch((64, 3, 6, 6))
    inputs, _ = augment(images, labels, policy("light", strength=1.0), 5, Generator().manual_seed(0))
    assert inputs.min() == -2
    assert inputs.max() == 127 / 64
