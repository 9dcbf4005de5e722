"""The digits that come with scikit-learn: 1,797 grey images of 8x8, in the package, so never downloaded.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from slimfront.evaluators.data.images import Collection, Images, stratified

TEST = 500
VALIDATION = 300
# 8x8 would leave a network with a total stride of 4 a map of 2x2, where a 3x3 kernel sees more padding than image.
# Two pixels on each side make 12x12, and so 3x3, of which one position is free of padding, for 2.25 times the work.
PAD = 2


def digits() -> Collection:
    """1,297 training and 500 test images of (1, 12, 12); 0..16 become 0..255, the margin is paper (0)."""
    import sklearn
    from sklearn.datasets import load_digits

    loaded = load_digits()
    pixels = torch.from_numpy(loaded.images).mul(255 / 16).round().to(torch.uint8)
    every = Images(F.pad(pixels[:, None], (PAD, PAD, PAD, PAD)), torch.from_numpy(loaded.target).to(torch.int64))
    chosen = stratified(every.labels, TEST)
    rest = torch.ones(len(every), dtype=torch.bool)
    rest[chosen] = False
    train = every.subset(rest.nonzero()[:, 0])
    return Collection(
        train=train,
        test=every.subset(chosen),
        validation=stratified(train.labels, VALIDATION),
        class_names=tuple(str(name) for name in loaded.target_names),
        origin=f"scikit-learn {sklearn.__version__}",
        check="shipped with the package",
    )


def digits_path() -> Path:
    """Where the package keeps them."""
    import sklearn.datasets

    return Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"
