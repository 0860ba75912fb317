"""What pictures of optimizers have in common: colours and dashes, names at line ends, titles, files."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o_cli.files import write_atomically
from l2o_cli.reports.svg import INK, NARROW, name_decades

# Okabe and Ito's colours, which colour-blind readers tell apart; learned optimizers take from the front.
LEARNED_COLOURS = ("#D55E00", "#CC79A7", INK)
OTHER_COLOURS = ("#0072B2", "#009E73", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (6, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
CHARACTERS = 11.5  # of a title in an inch
NAME = 17  # characters of a name at a line's end
NAME_SIZE = 8  # points
LEADER = 0.03  # of the width of the axes, from a line's end to its name
CEILING = 30  # the axis ends at this multiple of the greatest initial loss: what explodes must not flatten the rest

Style = tuple[str, Any]  # colour and dashes
End = tuple[str, float, Style, bool]  # of a line: its name, y, style and whether it is emphasised


def styles(learned: Sequence[bool]) -> list[Style]:
    """(colour, dashes) of each optimizer, learned ones in their own colours."""
    of_learned = itertools.cycle((colour, dash) for dash in DASHES for colour in LEARNED_COLOURS)
    rounds = (DASHES[start:] + DASHES[:start] for start in itertools.cycle(range(len(DASHES))))  # no two alike among 16
    of_others = (style for dashes in rounds for style in zip(OTHER_COLOURS, dashes, strict=True))
    return [next(of_learned if one else of_others) for one in learned]


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
    heights = [float(np.clip(to_axes.transform((axes.get_xlim()[1], y))[1], 0, 1)) for _, y, _, _ in ends]
    for (name, _, (colour, dash), emphasised), height, place in zip(ends, heights, spread(heights, gap), strict=True):
        leader = {"color": colour, "linestyle": dash, "linewidth": 2.0 if emphasised else 1.3}
        axes.plot([1, 1 + LEADER], [height, place], transform=axes.transAxes, clip_on=False, label="_", **leader)
        axes.annotate(
            shortened(name),
            (1 + 1.4 * LEADER, place),
            xycoords="axes fraction",
            color=INK,
            fontsize=NAME_SIZE,
            weight="bold" if emphasised else "normal",
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
