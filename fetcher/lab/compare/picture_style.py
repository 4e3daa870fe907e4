"""Style of pictures: text, lines and colours, which are Okabe and Ito's, told apart by all eyes."""

from __future__ import annotations

import textwrap
from typing import Any, Final

INK: Final = "#222222"
SOFT: Final = "#5f6a72"
FAINT: Final = "#d9dee2"
PLAIN: Final = "#b4c0c9"  # a bar among others
BEST: Final = "#0072b2"
ALARM: Final = "#d55e00"
CALM: Final = "#cfe3f1"

WIDTH: Final = 8.333  # inches; 800 px where the screen has 96 to the inch
LINE: Final = 0.19  # inches of a line of text
STYLE: Final[dict[str, Any]] = {
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],  # the first two are of one width
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "figure.titlesize": 9,
    "figure.labelsize": 7.5,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.titlecolor": SOFT,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.7,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "fetcher",  # the same picture is the same file
    "path.simplify": False,
}
LEFT: Final[dict[str, Any]] = {"x": 0.02, "horizontalalignment": "left"}  # of text above and below
LABEL: Final[dict[str, Any]] = {  # at the end of a bar, on white, so that no line of the grid runs through it
    "fontsize": 8,
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8},
}


def wrapped(text: str) -> str:
    """Break a text where it must be, for the whole width; a number and its sign stay in one line."""
    return textwrap.fill(text.replace(" ×", "\u00a0×"), 116).replace("\u00a0", " ")
