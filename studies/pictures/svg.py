"""matplotlib figures as SVG inside of a page: text in the page's own font, colours that follow light and dark.

Colours become CSS variables (`--ink`, `--paper`, ...; see `report.css`), so one picture serves a bright screen, a dark
one and paper. Nothing is loaded from anywhere.
"""

from __future__ import annotations

import html
import io
import re

import matplotlib
from matplotlib.figure import Figure
from slimfront.studies.pictures.plots import BLUE, DARK, GREY, GRID, INK, MUTED, ORANGE, SKY

_VARIABLES = {
    INK: "ink",
    DARK: "dark",
    MUTED: "muted",
    GRID: "grid",
    GREY: "grey",
    BLUE: "blue",
    SKY: "sky",
    ORANGE: "orange",
    "#ffffff": "paper",
}

_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element as wide as its container.

    Args:
        figure: Drawn; its background is left out.
        name: Put before all identifiers, so that several pictures fit into one page.
        description: What can be seen, for those who cannot see it. Escaped here.
    """
    for axes in figure.axes:
        for text in axes.texts:
            text.set_path_effects([])  # would turn letters into outlines; the page draws the halo
    buffer = io.StringIO()
    figure.patch.set_alpha(0.0)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    markup = buffer.getvalue()
    markup = markup[markup.index("<svg") :]
    markup = re.sub(r"<metadata>.*?</metadata>", "", markup, flags=re.DOTALL)
    markup = re.sub(r"<style.*?</style>", "", markup, flags=re.DOTALL)  # for all of the page
    markup = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', markup)
    markup = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', markup)
    markup = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", markup)
    markup = re.sub(r"font-family: ?[^;\"]*;?", "", markup)
    markup = re.sub(r"font: ((?:[\w.]+ )*?)([\d.]+px) [^;\"]*", r"font-size: \2; \1", markup)
    markup = re.sub(r"font-size: ([\d.]+px); (?:bold|700) ", r"font-size: \1; font-weight: 600", markup)
    for color, variable in _VARIABLES.items():
        markup = re.sub(re.escape(color), f"var(--{variable})", markup, flags=re.IGNORECASE)
    box = re.search(r'viewBox="[^"]*"', markup)
    assert box is not None
    head = f'<svg class="picture" role="img" aria-label="{html.escape(description)}" {box[0]}'
    markup = re.sub(
        r"^<svg[^>]*>", head + ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">', markup
    )
    return re.sub(r"\n\s*", "\n", markup).strip()
