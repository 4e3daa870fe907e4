"""A page to draw on: blocks below each other, of known heights in inches, all text and colours alike.

Lengths are inches from the top left corner; `Page` is the only place that knows of matplotlib's fractions
of a figure. The colours are Okabe and Ito's, told apart by all eyes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 8.333  # 800 px where the screen has 96 to the inch
MARGIN: Final = 0.17
NAMES: Final = 1.75  # what the names of models take at the left
MB: Final = 1024**2
SUFFIXES: Final = (".svg", ".png")

INK: Final = "#222222"
SOFT: Final = "#5f6a72"
FAINT: Final = "#d9dee2"
PLAIN: Final = "#b4c0c9"  # a bar among others
BEST: Final = "#0072b2"
ALARM: Final = "#d55e00"
CALM: Final = "#cfe3f1"

_STYLE: Final[dict[str, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],  # the first two are of one width
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.7,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "fetcher",  # the same picture is the same file
    "path.simplify": False,
}


class Block(msgspec.Struct, frozen=True):
    """A part of the page: how high it is, and how it is drawn once its top is known."""

    height: float
    draw: Callable[[Page, float], None]


class Page:
    """A figure, measured in inches from its top left corner."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.height = figure.get_figheight()

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without a frame but the line below."""
        axes = self.figure.add_axes(
            (left / WIDTH, 1 - (top + height) / self.height, width / WIDTH, height / self.height)
        )
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """A text by its top left corner, unless the style says otherwise."""
        place = {"ha": "left", "va": "top", **style}
        self.figure.text(left / WIDTH, 1 - top / self.height, text, **place)


def paragraph(
    text: str, *, size: float = 9, color: str = INK, weight: str = "normal", gap: float = 0
) -> Block:
    """Text over the whole width, broken where it must be, and a gap after it."""
    columns = int((WIDTH - 2 * MARGIN) * 72 / size / (0.585 if weight == "bold" else 0.53))
    tied = text.replace(" ×", "\u00a0×")  # a number and its sign stay in one line
    lines = [line.replace("\u00a0", " ") for line in textwrap.wrap(tied, columns)] or [""]
    leading = size * 1.45 / 72

    def draw(page: Page, top: float) -> None:
        for number, line in enumerate(lines):
            page.text(MARGIN, top + number * leading, line, fontsize=size, color=color, fontweight=weight)

    return Block(len(lines) * leading + gap, draw)


def space(height: float) -> Block:
    """Nothing."""
    return Block(height, lambda _page, _top: None)


def rule() -> Block:
    """A line across the page."""

    def draw(page: Page, top: float) -> None:
        axes = page.axes(MARGIN, top, WIDTH - 2 * MARGIN, 0.01)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines["bottom"].set_color(FAINT)

    return Block(0.02, draw)


def checked_suffix(path: Path) -> str:
    """The suffix of a picture that can be made.

    Raises:
        ConfigError: it is another one, or matplotlib is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"cannot draw {path}: pictures end in {' or '.join(SUFFIXES)}", hint="rename it")
    try:
        import matplotlib.figure  # noqa: F401, PLC0415  (an extra, and slow to import)
    except ImportError as cause:
        raise ConfigError("pictures need matplotlib", hint="install fetcher[plot]") from cause
    return suffix


def write(blocks: list[Block], path: Path) -> None:
    """Draw the blocks below each other into a file; the same blocks give the same SVG.

    Raises:
        ConfigError: neither `.svg` nor `.png`, matplotlib is missing, or the file can't be written.
    """
    suffix = checked_suffix(path)
    with _style():
        from matplotlib.figure import Figure  # noqa: PLC0415

        height = sum(block.height for block in blocks) + 2 * MARGIN
        page = Page(Figure(figsize=(WIDTH, height), facecolor="white"))
        top = MARGIN
        for block in blocks:
            block.draw(page, top)
            top += block.height
        metadata = {"Date": None, "Creator": "fetcher compare"} if suffix == ".svg" else {}
        try:
            page.figure.savefig(path, format=suffix[1:], dpi=192, metadata=metadata)
        except OSError as cause:
            raise ConfigError(f"cannot write {path}: {cause.strerror or cause}") from cause


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own matplotlibrc says
        mpl.rcParams.update(cast("Any", _STYLE))
        yield
