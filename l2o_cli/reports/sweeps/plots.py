"""Pictures of sweeps: what was measured against what was varied, all optimizers, all seeds.

Shape letters: V values.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from l2o_cli.reports.drawing import INK, Style, heading, literal, name_line_ends, panel, scale_losses
from l2o_cli.scoring.sweep_tables import MEASURED, Line, SweepTable, axis_label, value_text, value_texts

# What an optimizer was meta-trained with, around a range.
SHADINGS = {"horizon": "on horizons of {} steps", "learning_rate": "with initial rates of {}"}
LEGEND = 13.0  # characters of a legend in an inch
LABELS = 7  # on the axis, at most
DIVERGED, BEYOND = "X", "^"
MARKS = {DIVERGED: "some or all runs diverged", BEYOND: "the median is beyond the axis"}
MARK_GAP = 0.07  # of the height of the axes, between marks of several optimizers at one value
BESIDE = 0.08  # of the distance between two values that are no numbers, between optimizers
USUAL = 0.75  # quantile of all medians, far above which the axis ends
MARGIN = 0.03  # of the width of the axes, beside the first and the last value
SHADE = 0.13  # opacity of the range of meta-training


def ends_of(known: tuple[float, float]) -> str:
    """A range for people."""
    low, high = (f"{end:,g}" if end >= 1 else value_text(end) for end in known)
    return low if low == high else f"{low} to {high}"


def shading(table: SweepTable, line: Line) -> str | None:
    """What the shaded range of a line means; None where it has none."""
    if line.meta_trained is None or not table.joined:
        return None
    return f"{line.label}, meta-trained {SHADINGS[table.over].format(ends_of(line.meta_trained))}"


def draw_sweep(axes: Axes, table: SweepTable, measure: str, looks: Mapping[str, Style]) -> None:
    """Medians over the seeds, bands from the best to the worst; a cross where a run diverged, a triangle beyond the axis."""
    lines = [line for line in table.lines if any(line.measured[measure])]
    medians = np.array([line.medians(measure) for line in lines])
    places = np.array(table.places) if table.places and table.joined else np.arange(len(table.values), dtype=float)
    # Of each line, [lines, V].
    all_places = [places + (0 if table.joined else BESIDE * (order - (len(lines) - 1) / 2)) for order in range(len(lines))]
    _scale_places(axes, table, places)
    for order, (line, own_places, middle) in enumerate(zip(lines, all_places, medians, strict=True)):
        known = np.where(np.isfinite(middle), middle, np.nan)
        _draw_line(axes, line, measure, own_places, known, looks[line.label], order, table.joined)
    values = [np.array([value for runs in line.measured[measure] for value in runs]) for line in lines]
    finite = medians[np.isfinite(medians)]
    usual = float(np.quantile(finite, USUAL)) if finite.size and measure != "step_milliseconds" else math.inf
    scale_losses(axes, values, usual)
    if table.joined:
        _shade(axes, lines, looks)
    _mark(axes, lines, measure, all_places, medians, looks)
    axes.set_xlabel(axis_label(table))
    axes.set_ylabel(MEASURED[measure])


def _scale_places(axes: Axes, table: SweepTable, places: np.ndarray) -> None:
    """Logarithmic where all values are positive numbers; labels at the values."""
    low, high = places.min(), places.max()
    if not table.joined:
        axes.set_xlim(low - 0.5, high + 0.5)
    elif low > 0:
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** MARGIN, high * (high / low) ** MARGIN)
    else:
        axes.set_xlim(low - MARGIN * (high - low), high + MARGIN * (high - low))
    axes.xaxis.set_minor_locator(NullLocator())
    shown = range(0, len(places), -(-len(places) // LABELS))
    texts = value_texts(table)
    if table.over == "horizon":
        texts = [f"{steps:,.0f}\n{text}" for steps, text in zip(table.places or (), texts, strict=True)]
    axes.set_xticks([places[index] for index in shown], [texts[index] for index in shown])


def _draw_line(
    axes: Axes, line: Line, measure: str, places: np.ndarray, middle: np.ndarray, style: Style, order: int, joined: bool
) -> None:
    """A line with a band; where there is nothing between the values, a point and a range at each."""
    some, least, greatest = _range(line, measure)
    if joined:
        axes.fill_between(places[some], least, greatest, color=style.colour, alpha=0.15, linewidth=0, zorder=order + 1)
        axes.plot(places, middle, zorder=20 + order, **style.line)
        size = 4.5
    else:
        axes.vlines(places[some], least, greatest, **style.line)
        size, order = 7 if style.learned else 5.5, 0
    axes.plot(places, middle, color=style.colour, linestyle="", marker="o", markersize=size, zorder=20 + order)


def _range(line: Line, measure: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At which values there is a run that did not diverge, [V] bool, and the best and the worst of these there."""
    finite = [[value for value in runs if math.isfinite(value)] for runs in line.measured[measure]]
    least, greatest = (np.array([end(runs) for runs in finite if runs]) for end in (min, max))
    return np.array([bool(runs) for runs in finite]), least, greatest


def _shade(axes: Axes, lines: Sequence[Line], looks: Mapping[str, Style]) -> None:
    """The range of meta-training, as far as it is in sight."""
    left, right = axes.get_xlim()
    for line in lines:
        if line.meta_trained is not None and line.meta_trained[0] <= right and line.meta_trained[1] >= left:
            low, high = (min(max(end, left), right) for end in line.meta_trained)
            axes.axvspan(low, high, color=looks[line.label].colour, alpha=SHADE, linewidth=0 if high > low else 3, zorder=0)


def _mark(
    axes: Axes,
    lines: Sequence[Line],
    measure: str,
    all_places: Sequence[np.ndarray],
    medians: np.ndarray,
    looks: Mapping[str, Style],
) -> None:
    """Below the upper end of the axis, one below the other where several optimizers have a mark at one value."""
    top, used = axes.get_ylim()[1], np.zeros(medians.shape[-1], int)
    for line, places, middle in zip(lines, all_places, medians, strict=True):
        for index, count in enumerate(line.diverged(measure)):
            beyond = math.isfinite(middle[index]) and middle[index] > top
            for shown, marker in ((count > 0, DIVERGED), (beyond, BEYOND)):
                if shown:
                    height = 1 - MARK_GAP * used[index]
                    used[index] += 1
                    axes.plot(
                        *(places[index], height, marker),
                        transform=axes.get_xaxis_transform(),
                        color=looks[line.label].colour,
                        markersize=8,
                        markeredgecolor="white",
                        zorder=60,
                        clip_on=False,
                    )


def page_figure(table: SweepTable, measure: str, looks: Mapping[str, Style]) -> Figure:
    """One measure, for a page: names at the ends of the lines."""
    figure, axes = panel()
    draw_sweep(axes, table, measure, looks)
    figure.draw_without_rendering()  # which lays it out
    top = axes.get_ylim()[1]  # where most runs diverged
    name_line_ends(axes, [(line.label, min(line.medians(measure)[-1], top), looks[line.label]) for line in table.lines])
    return figure


def sweep_figure(table: SweepTable, title: str, looks: Mapping[str, Style]) -> Figure:
    """All measures side by side with a title and a legend, to be shown alone."""
    measures = table.measures
    figure = Figure(figsize=(10 if len(measures) > 1 else 6.2, 4.4), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        draw_sweep(axes, table, measure, looks)
    handles = _legend(table, looks) + _marks_in(figure)
    width = int(LEGEND * figure.get_figwidth())
    texts = [textwrap.fill(literal(str(handle.get_label())), width, subsequent_indent="  ") for handle in handles]
    figure.legend(handles, texts, loc="outside lower left", ncols=1, fontsize=9, handlelength=3)
    heading(figure, title)
    return figure


def _legend(table: SweepTable, looks: Mapping[str, Style]) -> list[Artist]:
    handles: list[Artist] = [matplotlib.lines.Line2D([], [], label=line.label, **looks[line.label].line) for line in table.lines]
    for line in table.lines:
        text = shading(table, line)
        if text:
            handles.append(matplotlib.patches.Patch(color=looks[line.label].colour, alpha=2 * SHADE, linewidth=0, label=text))
    return handles


def _marks_in(figure: Figure) -> list[Artist]:
    """What the marks of a figure mean, those that are there."""
    there = {line.get_marker() for axes in figure.axes for line in axes.lines}
    return [
        matplotlib.lines.Line2D([], [], color=INK, marker=marker, linestyle="", markersize=8, markeredgecolor="white", label=text)
        for marker, text in MARKS.items()
        if marker in there
    ]
