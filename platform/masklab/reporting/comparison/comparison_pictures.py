"""Figures as SVG: for a file of its own, and for a page whose colours it takes, light or dark."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from masklab.reporting.comparison.blocks import Picture
from masklab.reporting.comparison.plots import GRID
from masklab.reporting.plots import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIABLES = {INK: "ink", FAINT: "faint", GRID: "rule", "#ffffff": "paper"} | {colour.lower(): f"c{i}" for i, colour in enumerate(COLOURS)}
"""The variable of the page's style that stands for each colour of the figures."""


def svg_of(figure: Figure, name: str) -> str:
    """The figure as SVG, the same bytes each time; letters stay text. `name` keeps its marks apart from those of other pictures."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", facecolor="white", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", buffer.getvalue())


def picture(name: str, figure: Figure, caption: str) -> Picture:
    """The figure as a block of a report."""
    return Picture(name, svg_of(figure, name), caption)


def inline(svg: str, words: str) -> str:
    """The picture as an element of a page: without its head, in the page's colours, with `words`, escaped already, for a reader's voice."""
    element = svg[svg.index("<svg") :]
    for colour, variable in VARIABLES.items():
        element = element.replace(colour, f"var(--{variable})")
    element = re.sub(r' xmlns(:xlink)?="[^"]*"', "", element).replace("xlink:href", "href")
    return re.sub(r"<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 role="img" aria-label="{words}">', element, count=1).rstrip()
