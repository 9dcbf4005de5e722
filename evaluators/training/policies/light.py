"""Light changes: one of brightness, contrast and saturation in every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimfront.spaces.policies import Policy

if TYPE_CHECKING:
    from torch import Generator, Tensor


LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in perceived brightness (ITU-R BT.601)


def _apply(
    images: Tensor, labels: Tensor, strength: float, _classes: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """By a factor of 1 - strength to 1 + strength.

    All three are the same: they move a pixel away from, or towards, an anchor. It is black for brightness, the image's
    mean brightness for contrast, the pixel's own brightness for saturation. One channel has no saturation.
    """
    import torch
    from slimfront.evaluators.training.augmentation import BLACK, WHITE, channels_last, planes

    pixels = planes(images)
    batch, channels = pixels.shape[:2]
    kinds = 3 if channels == 3 else 2
    device = pixels.device
    kind = torch.randint(0, kinds, (batch, 1, 1, 1), generator=generator, device=device)
    factor = 1 + strength * (2 * torch.rand(batch, 1, 1, 1, generator=generator, device=device) - 1)
    if kinds == 3:
        brightness = LUMA[0] * pixels[:, :1] + LUMA[1] * pixels[:, 1:2] + LUMA[2] * pixels[:, 2:]  # (B, 1, H, W)
    else:
        brightness = pixels.mean(1, keepdim=True)
    anchor = torch.where(kind == 1, brightness.mean((2, 3), keepdim=True), brightness)
    anchor = torch.where(kind == 0, BLACK, anchor)
    return channels_last(torch.lerp(anchor, pixels, factor).clamp_(BLACK, WHITE)), labels


LIGHT = Policy("light", _apply, title="Light changes", words="brightness, contrast or saturation")
