"""Random small architectures of every family, and bits for them, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from slimfront.spaces.candidate import BIT_WIDTHS, FAMILIES, SHORTCUTS, Architecture, Bits


@st.composite
def architectures(draw: st.DrawFn, families: tuple[str, ...] = FAMILIES) -> Architecture:
    """Up to three stages of one or two blocks, at most 8 channels wide, in any mix of strides."""
    family = draw(st.sampled_from(families))
    stages = draw(st.integers(1, 3))

    def per_stage(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(values, min_size=stages, max_size=stages)))

    special: dict[str, Any] = {}
    if family == "residual":
        special["shortcut"] = draw(st.sampled_from(SHORTCUTS))
    elif family == "inverted":
        special["kernels"] = per_stage(st.sampled_from((1, 3, 5)))
        special["expansions"] = per_stage(st.integers(1, 3))
    else:
        special["compression"] = draw(st.sampled_from((0.1, 0.5, 1.0)))
    return Architecture(
        family,
        stem_width=draw(st.integers(1, 8)),
        stem_stride=draw(st.sampled_from((1, 2, 4))),
        widths=per_stage(st.integers(1, 8)),
        depths=per_stage(st.integers(1, 2)),
        strides=per_stage(st.integers(1, 2)),
        head_width=draw(st.sampled_from((0, 5))),
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
