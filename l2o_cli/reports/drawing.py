"""What pictures have in common: sizes, colours and dashes, names at line ends, titles; as files, and as SVG to put into a page.

Text and axes on a page have the colour of its text, so that they can be read on a light and on a dark one.
"""

from __future__ import annotations

import io
import itertools
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import LogLocator, NullFormatter

from l2o_cli.files import write_atomically

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

# Okabe and Ito's colours, which colour-blind readers tell apart; learned optimizers take from the front.
LEARNED_COLOURS = ("#D55E00", "#CC79A7", INK)
OTHER_COLOURS = ("#0072B2", "#009E73", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (6, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
CHARACTERS = 11.5  # of a title in an inch
NAME = 17  # characters of a name at a line's end
NAME_SIZE = 8  # points
LEADER = 0.03  # of the width of the axes, from a line's end to its name
CEILING = 30  # the axis ends at this multiple of the greatest initial loss: what explodes must not flatten the rest


class Style(NamedTuple):
    """How an optimizer is drawn; a learned one with wider lines."""

    colour: str
    dash: Any
    learned: bool

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib takes it."""
        return {"color": self.colour, "linestyle": self.dash, "linewidth": 2.6 if self.learned else 1.5}


End = tuple[str, float, Style]  # of a line: its name, y and style


def styles(learned: Sequence[bool]) -> list[Style]:
    """Of each optimizer, learned ones in their own colours."""
    of_learned = itertools.cycle((colour, dash) for dash in DASHES for colour in LEARNED_COLOURS)
    rounds = (DASHES[start:] + DASHES[:start] for start in itertools.cycle(range(len(DASHES))))  # no two alike among 16
    of_others = (style for dashes in rounds for style in zip(OTHER_COLOURS, dashes, strict=True))
    return [Style(*next(of_learned if one else of_others), one) for one in learned]


def literal(name: str) -> str:
    """A name for a picture in which matplotlib sees no formula, whatever is in it."""
    return name.replace("$", r"\$")


def shortened(name: str, length: int = NAME) -> str:
    """At most `length` characters of a name: its beginning and its end, where names of one kind differ; for a picture."""
    if len(name) <= length:
        return literal(name)
    end = (length - 1) // 3
    return literal(f"{name[: length - 1 - end]}…{name[-end:]}")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Places at least `gap` apart in the order of the heights, as near to them as can be (least squares).

    Within 0 and 1, as long as there is room.
    """
    from scipy.optimize import isotonic_regression  # not at the top: it takes a second

    order = np.argsort(heights, kind="stable")
    offsets = gap * np.arange(len(order))
    nearest = isotonic_regression(np.asarray(heights)[order] - offsets).x if len(order) else offsets
    places = np.empty(len(order))
    places[order] = np.clip(nearest, 0, max(1 - offsets[-1:].sum(), 0)) + offsets
    return places.tolist()


def panel(height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure of the width of a phone, for a page."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def lay_out(figure: Figure) -> None:
    """Give the axes their places, without drawing anything."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def name_line_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Beside the end of each line its name, moved apart where names would overlap.

    Args:
        axes: with its final scale and limits, in a figure whose height is laid out already.
        ends: what is not finite is not named.
    """
    ends = [end for end in ends if np.isfinite(end[1])]
    points = axes.get_position().height * axes.get_figure().get_figheight() * 72  # type: ignore[union-attr]
    gap = 1.25 * NAME_SIZE / points
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [float(np.clip(to_axes.transform((axes.get_xlim()[1], y))[1], 0, 1)) for _, y, _ in ends]
    for (name, _, style), height, place in zip(ends, heights, spread(heights, gap), strict=True):
        leader = style.line | {"linewidth": 2.0 if style.learned else 1.3, "transform": axes.transAxes, "clip_on": False}
        axes.plot([1, 1 + LEADER], [height, place], label="_", **leader)
        axes.annotate(
            shortened(name),
            (1 + 1.4 * LEADER, place),
            xycoords="axes fraction",
            color=INK,
            fontsize=NAME_SIZE,
            weight="bold" if style.learned else "normal",
            va="center",
        )


def scale_losses(axes: Axes, values: Sequence[np.ndarray], initial: float) -> None:
    """A logarithmic axis where all losses are positive, cut where exploding runs would flatten the rest."""
    known = np.concatenate([part[np.isfinite(part)] for part in values]) if values else np.array([])
    if not known.size:
        axes.text(0.5, 0.5, "no finite losses", transform=axes.transAxes, ha="center", va="center")
        return
    low = float(known.min())
    if low > 0 and known.max() > NARROW * low:
        axes.set_yscale("log")
        high = min(float(known.max()), CEILING * initial)
        if high > low:
            margin = (high / low) ** 0.05
            axes.set_ylim(low / margin, high * margin)
            name_decades(axes.yaxis, high / low)
        return
    high = min(float(known.max()), 2 * initial - low)  # as far above the initial loss as the least one is below
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def heading(figure: Figure, text: str) -> None:
    """A title above everything, in as many lines as it takes."""
    figure.suptitle(textwrap.fill(literal(text), int(CHARACTERS * figure.get_figwidth())), x=0.01, ha="left", fontsize=11)


def save(figure: Figure, path: Path) -> Path:
    """Write the picture in one step, in the format that the suffix names; the same figure gives the same bytes."""
    image = io.BytesIO()
    kind = path.suffix[1:].lower()
    figure.savefig(image, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(path, image.getvalue())
    return path


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
