"""Random small architectures of every family, and bits for them, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from slimfront.spaces.candidate import BIT_WIDTHS, Architecture, Bits
from slimfront.spaces.family import FAMILIES, SPECIAL
from slimfront.spaces.options import Options


@st.composite
def architectures(draw: st.DrawFn, families: tuple[str, ...] = FAMILIES.names) -> Architecture:
    """Up to three stages of one or two blocks, at most 8 channels wide, in any mix of strides."""
    family = draw(st.sampled_from(families))
    stages = draw(st.integers(1, 3))

    def per_stage(values: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return tuple(draw(st.lists(values, min_size=stages, max_size=stages)))

    special: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for axis in FAMILIES[family].axes:
        if axis.among:
            values = st.sampled_from(axis.among[:3])
        elif axis.whole:
            values = st.integers(int(axis.low), int(min(axis.high, 3)))
        else:
            values = st.sampled_from((0.1, 0.5, 1.0))
        (special if axis.place in SPECIAL else options)[axis.place] = (
            per_stage(values) if axis.per_stage else draw(values)
        )
    return Architecture(
        family,
        stem_width=draw(st.integers(1, 8)),
        stem_stride=draw(st.sampled_from((1, 2, 4))),
        widths=per_stage(st.integers(1, 8)),
        depths=per_stage(st.integers(1, 2)),
        strides=per_stage(st.integers(1, 2)),
        head_width=draw(st.sampled_from((0, 5))),
        options=Options(options),
        **special,
    )


@st.composite
def mixed_bits(draw: st.DrawFn, architecture: Architecture) -> Bits:
    """Any mix of widths by stage, at the edges, and for the stem's input and weight on their own."""
    width, stages = st.sampled_from(BIT_WIDTHS), len(architecture.widths)
    weights, activations = (tuple(draw(st.lists(width, min_size=stages, max_size=stages))) for _ in range(2))
    return Bits(
        weights=weights,
        activations=activations,
        stem=draw(width),
        classifier=draw(width),
        layers=draw(st.sampled_from(((), (("stem.conv", draw(width), draw(width)),)))),
        ternary=2 in weights and draw(st.booleans()),
    )
