"""DenseNets: bottlenecked 3x3 convolutions whose outputs are concatenated (Huang et al. 2016, arXiv:1608.06993).

A width is the growth rate, the channels that each block adds. Before each stage but the first a transition keeps the
share `compression` of the channels, and has the stage's stride.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimfront.spaces.family import Axis, Blocks, Family

if TYPE_CHECKING:
    from slimfront.spaces.candidate import Architecture


def _build(architecture: Architecture) -> Blocks:
    from slimfront.models.blocks import DenseLayer, NormAct, Transition, halving

    width = architecture.stem_width
    stages = []
    for stage, growth in enumerate(architecture.widths):
        stride = architecture.strides[stage]
        blocks: list[Any] = []
        if stage > 0:
            outputs = max(1, int(width * architecture.compression))
            blocks.append(Transition(width, outputs, stride))
            width = outputs
        elif stride == 2:
            blocks.append(halving())  # nothing to compress yet: the stem's own width
        for _ in range(architecture.depths[stage]):
            blocks.append(DenseLayer(width, growth))
            width += growth
        stages.append(blocks)
    stages[-1].append(NormAct(width))
    return stages, width


DENSE = Family(
    name="dense",
    build=_build,
    title="Densely connected networks",
    words="bottlenecked convolutions whose outputs are concatenated",
    paper="Huang et al. 2016, arXiv:1608.06993",
    widths="growth",
    axes=(Axis(key="compression", default=0.5, low=0, high=1, whole=False, positive=True),),
)
