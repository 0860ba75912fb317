"""Pictures as SVG to put into a page.

Text and axes have the colour of the page's text, so that they can be read on a light and on a dark one; the width is the page's.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import LogLocator, NullFormatter

WIDTH, HEIGHT = 4.2, 2.3  # of one panel, in inches: a phone shows it at about its own size
INK = "#010203"  # stands for the page's text colour in what matplotlib writes
FIRST, SECOND = "#3b8fd6", "#e0701f"  # both at least 3:1 against white and against near-black
NARROW = 3.0  # greatest over least, up to which a logarithmic axis would have no labels to show

# Of Chinese, Japanese and Korean characters, for the PNG files; on a page the reader's own fonts have them.
EAST_ASIAN = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
)

# Characters that no font here has are boxes in PNG files; matplotlib would warn of each of them.
warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")

STYLE = {
    "font.family": ["DejaVu Sans", *(name for name in EAST_ASIAN if name in get_font_names())],
    "svg.fonttype": "none",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}


def inline_svg(name: str, draw: Callable[[], Figure]) -> str:
    """The figure that `draw` makes in `STYLE`, as an element; `name` tells its ids from those of other pictures of the page."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = draw()
        FigureCanvasSVG(figure)
        image = io.StringIO()
        figure.savefig(image, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = image.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg class="plot" role="img" \1>', text, count=1)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*">', "<g>", text)


def panels_svg(name: str, draw: Callable[[Sequence[Axes]], None], panels: int = 1) -> str:
    """What `draw` draws on panels one below the other, over the same x."""

    def make() -> Figure:
        figure = Figure(figsize=(WIDTH, HEIGHT + 1.5 * (panels - 1)), layout="constrained")
        draw(list(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]))
        figure.align_ylabels()
        return figure

    return inline_svg(name, make)


def name_decades(axis: Axis, ratio: float) -> None:
    """Labels at powers of ten, also at 2 and 5 where there are few of them, on a logarithmic axis over the `ratio`."""
    if ratio < 100:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, position: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
