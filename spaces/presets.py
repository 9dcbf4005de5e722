"""Networks by name: three that the field knows, small starting points for low scores, and a teacher for them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from slimfront.spaces.candidate import Architecture, Augmentation, Candidate, Recipe

DEFAULT_FAMILY = "residual"  # of a study file that names none


def _residual(stem: int, widths: tuple[int, ...], depths: tuple[int, ...], **other: object) -> Architecture:
    strides = (1,) + (2,) * (len(widths) - 1)
    values = {"stem_stride": 1, "strides": strides, "shortcut": "projection"} | other
    return Architecture("residual", stem_width=stem, widths=widths, depths=depths, **values)  # type: ignore[arg-type]


@functools.cache
def _made() -> Mapping[str, Candidate]:
    long = Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, epochs=100)
    tiny = Recipe(optimizer="muon", learning_rate=0.02, weight_decay=1e-4, epochs=30, decay="linear")
    return MappingProxyType(
        {
            # He et al. 2015 for ImageNet, in the form that is usual on CIFAR: 3x3 stem, no pooling after it.
            "resnet18": Candidate(_residual(64, (64, 128, 256, 512), (2, 2, 2, 2)), recipe=long),
            # He et al. 2015, section 4.2: n = 3, shortcut option A.
            "resnet20": Candidate(_residual(16, (16, 32, 64), (3, 3, 3), shortcut="padding"), recipe=long),
            # MLPerf Tiny (Banbury et al. 2021): one block a stage, projection shortcuts.
            "resnet8": Candidate(_residual(16, (16, 32, 64), (1, 1, 1)), recipe=long),
            "small_residual": Candidate(
                _residual(20, (20, 40, 80), (1, 2, 2), stem_stride=2, shortcut="padding"), recipe=tiny
            ),
            "small_inverted": Candidate(
                Architecture(
                    "inverted",
                    stem_width=24,
                    stem_stride=2,
                    widths=(24, 48, 80),
                    depths=(3, 4, 2),
                    strides=(1, 2, 2),
                    kernels=(3, 3, 3),
                    expansions=(3, 3, 3),
                ),
                recipe=tiny,
            ),
            "small_dense": Candidate(
                Architecture(
                    "dense",
                    stem_width=24,
                    stem_stride=2,
                    widths=(12, 12, 12),
                    depths=(4, 6, 6),
                    strides=(1, 2, 2),
                    compression=0.5,
                ),
                recipe=tiny,
            ),
            # A teacher: far better than what it teaches, and trained in under an hour of one core on CIFAR-10.
            "wide_residual": Candidate(
                _residual(32, (32, 96, 192), (1, 2, 2)),
                recipe=Recipe(
                    optimizer="muon", learning_rate=0.04, weight_decay=5e-3, epochs=10, batch_size=256, decay="linear"
                ),
            ),
            # 8x8 digits: enough for more than 90 % in seconds.
            "digits": Candidate(
                _residual(8, (8, 16), (1, 1), shortcut="padding"),
                augmentation=Augmentation(flip=False, crop=1),
                recipe=Recipe(optimizer="sgd", learning_rate=0.1, epochs=20, batch_size=64),
            ),
        }
    )


class _Presets(Mapping[str, Candidate]):
    """Made when they are first asked for: a candidate is checked against the members that there are.

    The files of those import `slimfront.spaces`, and must not be read in the midst of it.
    """

    def __getitem__(self, name: str) -> Candidate:
        return _made()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_made())

    def __len__(self) -> int:
        return len(_made())


presets: Mapping[str, Candidate] = _Presets()
