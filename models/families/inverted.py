"""Inverted residuals: 1x1 expansion, depthwise kernel, 1x1 projection (Sandler et al. 2018, arXiv:1801.04381)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimfront.spaces.family import Axis, Blocks, Family, joined

if TYPE_CHECKING:
    from slimfront.spaces.candidate import Architecture


def _build(architecture: Architecture) -> Blocks:
    from slimfront.models.blocks import InvertedBlock

    width = architecture.stem_width
    stages = []
    for stage, outputs in enumerate(architecture.widths):
        kernel, expansion = architecture.kernels[stage], architecture.expansions[stage]
        blocks: list[Any] = []
        for block in range(architecture.depths[stage]):
            stride = architecture.strides[stage] if block == 0 else 1
            blocks.append(InvertedBlock(width, outputs, stride, kernel, expansion))
            width = outputs
        stages.append(blocks)
    return stages, width


def _told(architecture: Architecture) -> str:
    kernels, expansions = joined(architecture.kernels, once=True), joined(architecture.expansions, once=True)
    return f"kernel {kernels}, expansion {expansions}"


INVERTED = Family(
    name="inverted",
    build=_build,
    title="Inverted residuals",
    words="1×1 expansion, depthwise convolution, 1×1 projection",
    paper="Sandler et al. 2018, arXiv:1801.04381",
    told=_told,
    axes=(
        Axis(key="kernel", field="kernels", default=3, per_stage=True, among=(1, 3, 5, 7)),
        Axis(key="expansion", field="expansions", default=4, per_stage=True, low=1, high=12),
    ),
)
