"""The picture of loss ratios: how much greater an optimizer's loss is than the reference's, against size."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from l2o_cli.reports.drawing import INK, LEARNED_COLOURS, OTHER_COLOURS, lay_out, name_decades, shortened
from l2o_cli.scoring.loss_ratios import LossRatios, Point

PARAMETERS = "parameters"
BY_SIZE = (None, "width")  # axes of points that stand by their parameters
COLOURS = (*OTHER_COLOURS, *LEARNED_COLOURS[:2], "#8B6914", "#7E57C2")
MARKERS = "osD^vP*X"
PANEL = (5.6, 4.0)  # inches
COLUMNS = 2
NAME, NAME_SIZE = 20, 8  # characters and points of a name
FURTHEST = 10.0**3  # beyond this multiple, or its inverse, a ratio stands at the edge
ROOM = 1.25  # factor between the outermost ratios and the edge, at least
GAPS = (7, 14, 24, 38)  # points between a point and its name, tried in turn
LINE, POINT, WORD = 1, 3, 10  # what it costs a name to stand on one
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))  # of the point on which its name may stand


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour: a sweep, or one problem."""

    name: str
    colour: str
    marker: str
    points: Sequence[Point]
    places: Sequence[float]  # of the points on the axis
    joined: bool


def panels_of(ratios: LossRatios) -> dict[str, list[Series]]:
    """{what the axis is: its series}: parameters for problems, widths and values that are no numbers, else what is varied.

    Points without a ratio are left out, and so are those whose parameters are not known where they stand by these.
    """
    grouped: dict[tuple[str | None, str], list[Point]] = {}
    for point in ratios.points:
        if point.ratio is not None:
            grouped.setdefault((point.sweep, point.sweep or point.where), []).append(point)
    looks = ((colour, marker) for marker in MARKERS for colour in COLOURS)
    panels: dict[str, list[Series]] = {}
    for ((sweep, name), points), (colour, marker) in zip(grouped.items(), itertools.cycle(looks)):
        by_size = points[0].axis in BY_SIZE or points[0].place is None
        axis = PARAMETERS if by_size else str(points[0].axis)
        placed = [(place, point) for point in points if (place := point.parameters if by_size else point.place) and place > 0]
        if placed:
            places, own = zip(*sorted(placed, key=lambda pair: pair[0]), strict=True)
            series = Series(name, colour, marker, own, places, joined=sweep is not None and points[0].place is not None)
            panels.setdefault(axis, []).append(series)
    return panels


def ratio_figure(ratios: LossRatios) -> Figure:
    """A panel for each kind of axis, at least one; both axes logarithmic, the line at 1, names beside the points."""
    panels = panels_of(ratios)
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL[0] * columns + 0.8 * (columns == 1), PANEL[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    limits = _limits([point for series in panels.values() for one in series for point in one.points])
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    for axes, (axis, series) in zip(all_axes, panels.items(), strict=False):
        _draw(axes, axis, series, limits)
    for axes in all_axes[: len(panels) : columns]:
        axes.set_ylabel(f"final training loss / that of {shortened(ratios.reference)}")
    lay_out(figure)
    for axes, series in zip(all_axes, panels.values(), strict=False):
        _name(axes, series)
    return figure


def _limits(points: Sequence[Point]) -> tuple[float, float]:
    """Around 1 and all ratios within FURTHEST; room where arrows stand for the others."""
    known = [point.ratio for point in points if point.ratio is not None and 1 / FURTHEST <= point.ratio <= FURTHEST]
    low, high = min([1.0, *known]), max([1.0, *known])
    room = max(ROOM, (high / low) ** 0.08)
    below = any(point.ratio is not None and point.ratio < low for point in points)
    above = any(point.ratio is not None and point.ratio > high for point in points)
    return low / room ** (1 + below), high * room ** (1 + above)


def _height(point: Point, axes: Axes) -> float:
    """The ratio, or a little within the edge that it is beyond."""
    low, high = axes.get_ylim()
    edge = (high / low) ** 0.03
    return min(max(point.ratio or 0.0, low * edge), high / edge)


def _draw(axes: Axes, axis: str, series: Sequence[Series], limits: tuple[float, float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    places = [place for one in series for place in one.places]
    room = max(1.3, (max(places) / min(places)) ** 0.12)
    axes.set_xlim(min(places) / room, max(places) * room)
    axes.axhline(1.0, color=INK, linewidth=1.2, zorder=5)
    axes.set_xlabel(axis)
    for kind, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, limits)):
        name_decades(kind, ends[1] / ends[0])
    for one in series:
        heights = [_height(point, axes) for point in one.points]
        if one.joined:
            axes.plot(one.places, heights, color=one.colour, linewidth=1.8, zorder=10)
        for place, height, point in zip(one.places, heights, one.points, strict=True):
            # What is beyond the axis, a diverged run among it, stands at its edge as an arrow.
            marker = one.marker if point.ratio == height else "^" if height > 1 else "v"
            axes.plot(place, height, marker, color=one.colour, markersize=6.5, markeredgecolor="white", zorder=20)


def _name(axes: Axes, series: Sequence[Series]) -> None:
    """The name of each series beside one of its points, where it covers neither points nor lines nor other names."""
    scale = axes.figure.dpi / 72
    inside = axes.get_window_extent()
    points = {
        one.name: axes.transData.transform(
            [(place, _height(point, axes)) for place, point in zip(one.places, one.points, strict=True)]
        )
        for one in series
    }
    taken = [
        (Bbox.from_bounds(x - 5 * scale, y - 5 * scale, 10 * scale, 10 * scale), POINT)
        for part in points.values()
        for x, y in part
    ]
    for one in series:
        taken += [(box, LINE) for box in _along(points[one.name], scale)] if one.joined else []
    one_line = axes.transData.transform((axes.get_xlim()[0], 1.0))[1]
    taken.append((Bbox.from_extents(inside.x0, one_line - scale, inside.x1, one_line + scale), LINE))
    names = _names(series)
    for one in series:
        best, least = None, math.inf
        for text in _candidates(axes, one, points[one.name], names[one.name]):
            cost = _cost(text, inside, taken)
            if cost < least:
                if best is not None:
                    best.remove()
                best, least = text, cost
            else:
                text.remove()
            if least == 0:
                break
        assert best is not None
        taken.append((best.get_window_extent(), WORD))


def _names(series: Sequence[Series]) -> dict[str, str]:
    """Without options, where that is no other's name."""
    bare = Counter(one.name.partition("(")[0] for one in series)
    return {one.name: short if bare[short := one.name.partition("(")[0]] == 1 else one.name for one in series}


def _along(corners: np.ndarray, scale: float) -> Iterator[Bbox]:
    """Small boxes along a line."""
    for (x, y), (to_x, to_y) in itertools.pairwise(corners):
        count = max(2, int(math.hypot(to_x - x, to_y - y) / (6 * scale)))
        for share in np.linspace(0, 1, count):
            x_here, y_here = x + share * (to_x - x), y + share * (to_y - y)
            yield Bbox.from_bounds(x_here - 2 * scale, y_here - 2 * scale, 4 * scale, 4 * scale)


def _candidates(axes: Axes, one: Series, corners: np.ndarray, name: str) -> Iterator[Annotation]:
    """The name around its last point, at growing distances, then around the others."""
    for index, gap, (right, up) in itertools.product(reversed(range(len(corners))), GAPS, SIDES):
        text = axes.annotate(
            shortened(name, NAME),
            (one.places[index], _height(one.points[index], axes)),
            (gap * right, gap * up),
            textcoords="offset points",
            ha={1: "left", 0: "center", -1: "right"}[right],
            va={1: "bottom", 0: "center", -1: "top"}[up],
            fontsize=NAME_SIZE,
            color=one.colour,
            zorder=30,
            arrowprops={"arrowstyle": "-", "color": one.colour, "linewidth": 0.7} if gap > GAPS[0] else None,
        )
        text.set_in_layout(False)
        yield text


def _cost(text: Annotation, inside: Bbox, taken: Sequence[tuple[Bbox, float]]) -> float:
    """What a name covers, what lies outside the axes counting most."""
    own = text.get_window_extent()
    within = Bbox.intersection(own, inside)
    outside = 1.0 if within is None else 1 - within.width * within.height / (own.width * own.height)
    return 100 * (outside > 0.01) + sum(cost for other, cost in taken if own.overlaps(other))
