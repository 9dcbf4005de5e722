"""Pre-activation bottlenecks: 1x1 reduction, 3x3 in groups, 1x1 expansion (arXiv:1603.05027, arXiv:1611.05431).

`reduction` says how many times narrower the inside of a stage's blocks is than the stage, `groups` into how many groups
its 3x3 convolutions are split. The inside is rounded up to a multiple of the groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimfront.spaces.family import Axis, Blocks, Family, joined

if TYPE_CHECKING:
    from slimfront.spaces.candidate import Architecture


def inside(width: int, reduction: int, groups: int) -> int:
    """Channels inside of a block: a multiple of `groups`.

    >>> inside(64, 4, 8), inside(8, 4, 8)
    (16, 8)
    """
    return groups * max(1, -(-width // (reduction * groups)))


def _build(architecture: Architecture) -> Blocks:
    from slimfront.models.blocks import NormAct
    from slimfront.models.bottleneck import PreActivationBottleneck

    reductions, groups = architecture.options["reduction"], architecture.options["groups"]
    assert isinstance(reductions, tuple)
    assert isinstance(groups, tuple)
    width = architecture.stem_width
    stages = []
    for stage, outputs in enumerate(architecture.widths):
        narrow = inside(outputs, int(reductions[stage]), int(groups[stage]))
        blocks: list[Any] = []
        for block in range(architecture.depths[stage]):
            stride = architecture.strides[stage] if block == 0 else 1
            blocks.append(PreActivationBottleneck(width, outputs, stride, narrow, int(groups[stage])))
            width = outputs
        stages.append(blocks)
    stages[-1].append(NormAct(width))
    return stages, width


def _told(architecture: Architecture) -> str:
    reductions, groups = (joined(architecture.options[key], once=True) for key in ("reduction", "groups"))
    return f"reduction {reductions}" + ("" if groups == "1" else f", groups {groups}")


BOTTLENECK = Family(
    name="bottleneck",
    build=_build,
    title="Pre-activation bottlenecks",
    words="1×1 reduction, 3×3 convolution in groups, 1×1 expansion",
    paper="He et al. 2016, arXiv:1603.05027; Xie et al. 2016, arXiv:1611.05431",
    told=_told,
    axes=(
        Axis(key="reduction", default=4, per_stage=True, among=(1, 2, 4, 8)),
        Axis(key="groups", default=1, per_stage=True, among=(1, 2, 4, 8, 16, 32)),
    ),
)
