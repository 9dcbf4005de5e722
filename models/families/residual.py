"""Residual networks: two 3x3 convolutions and a shortcut a block (He et al. 2015, arXiv:1512.03385)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimfront.spaces.family import Axis, Blocks, Family

if TYPE_CHECKING:
    from slimfront.spaces.candidate import Architecture

SHORTCUT = Axis(key="shortcut", default="padding", among=("projection", "padding"))


def _build(architecture: Architecture) -> Blocks:
    from slimfront.models.blocks import BasicBlock

    width, shortcut = architecture.stem_width, str(architecture.shortcut)
    stages = []
    for outputs, depth, stride in zip(architecture.widths, architecture.depths, architecture.strides, strict=True):
        blocks: list[Any] = []
        for block in range(depth):
            blocks.append(BasicBlock(width, outputs, stride if block == 0 else 1, shortcut))
            width = outputs
        stages.append(blocks)
    return stages, width


def _told(architecture: Architecture) -> str:
    return "" if architecture.shortcut == SHORTCUT.default else f"{architecture.shortcut} shortcuts"


RESIDUAL = Family(
    name="residual",
    build=_build,
    title="Residual networks",
    words="two 3×3 convolutions and a shortcut",
    paper="He et al. 2015, arXiv:1512.03385",
    told=_told,
    axes=(SHORTCUT,),
)
