"""The pictures of a whole comparison: performance profiles, speed-ups, histograms of improvement, probabilities.

Each function draws on a new figure of the width of a phone. Shape letters: N runs, T points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from l2o_cli.reports.drawing import INK, Style, lay_out, name_line_ends, panel, shortened
from l2o_cli.scoring.curves import Curve
from l2o_cli.scoring.improvements import Improvements
from l2o_cli.scoring.scored import PairScore, ProfilePoint
from l2o_cli.scoring.speedup import envelope, speedup_curve
from l2o_cli.scoring.statistics import LARGEST_FACTOR

BINS = 20  # of a histogram, about
SHARES = np.linspace(0.02, 1, 50)  # of a run, at which speed-ups are shown
LEAST_SPEEDUP = 0.05  # what is less is drawn as this
ROW = 0.42  # inches of a row of the dot plot
PAIR_NAME, SIDE_NAME = 18, 16  # characters of a name in the dot plot and above a histogram


def profile_figure(points: Sequence[ProfilePoint], unit: str, styles: Mapping[str, Style]) -> Figure:
    """The share of problems that each optimizer solves within a factor of the fastest; `unit`: steps or seconds."""
    figure, axes = panel()
    ends = []
    for name, style in styles.items():
        own = [(point.factor, getattr(point, unit)) for point in points if point.optimizer == name]
        if own:
            axes.step(*zip(*own, strict=True), where="post", clip_on=False, **style.line)
            ends.append((name, own[-1][1], style))
    axes.set_xlim(1, LARGEST_FACTOR)
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"{unit} to the target / those of the fastest")
    axes.set_ylabel("share of problems")
    lay_out(figure)
    name_line_ends(axes, ends)
    return figure


@dataclass(frozen=True)
class Speedups:
    """Of one optimizer over the reference's run with the same seed, at the ends of `SHARES` of each run, [N, T]."""

    values: np.ndarray
    at_least: np.ndarray  # bool: the reference never got there, and its whole run is counted


def speedups_of(curves: Sequence[Curve], reference: str, unit: str) -> dict[str, Speedups]:
    """{optimizer: speed-ups in steps or seconds}, of all but the reference."""
    theirs = {(curve.problem, curve.seed): curve for curve in curves if curve.optimizer == reference}
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for curve in curves:
        other = theirs.get((curve.problem, curve.seed))
        if curve.optimizer != reference and other is not None:
            ratios = speedup_curve(curve, envelope([other], unit), unit)
            # The last record within each share; the first one where there is none yet.
            places = np.searchsorted(curve.steps, SHARES * curve.steps[-1] * (1 + 1e-9), side="right") - 2
            at_least, values = (np.array([getattr(ratio, name) for ratio in ratios]) for name in ("at_least", "value"))
            found.setdefault(curve.optimizer, []).append((values[places.clip(0)], at_least[places.clip(0)]))
    return {name: Speedups(*map(np.stack, zip(*runs, strict=True))) for name, runs in found.items()}


def speedup_figure(speedups: Mapping[str, Speedups], reference: str, unit: str, styles: Mapping[str, Style]) -> Figure:
    """Median and quartiles over all runs, along the run; on a logarithmic axis, 1 being as fast as the reference.

    Where half of the runs or more are better than the reference ever was, the median is a lower bound, and dotted.
    """
    figure, axes = panel()
    axes.axhline(1, **styles[reference].line | {"linewidth": 1.5})
    ends = [(reference, 1.0, styles[reference])]
    for name, known in speedups.items():
        style = styles[name]
        low, middle, high = np.quantile(np.maximum(known.values, LEAST_SPEEDUP), [0.25, 0.5, 0.75], axis=0)
        bound = 2 * known.at_least.sum(axis=0) >= len(known.at_least)
        # A point on either side of a change belongs to both parts, so that the line has no gap.
        sure = ~bound | np.append(~bound[1:], False) | np.append(False, ~bound[:-1])
        axes.plot(SHARES, np.where(sure, middle, np.nan), **style.line)
        axes.plot(SHARES, np.where(bound, middle, np.nan), **style.line | {"linestyle": (0, (1, 2))})
        axes.fill_between(SHARES, low, high, color=style.colour, alpha=0.12, linewidth=0)
        ends.append((f"≥ {name}" if bound[-1] else name, float(middle[-1]), style))
    axes.set_yscale("log")
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, 0.45), max(top, 2.2))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}×")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of the run's steps")
    axes.set_ylabel(f"speed-up in {unit}")
    lay_out(figure)
    name_line_ends(axes, ends)
    return figure


def bin_edges(values: np.ndarray) -> np.ndarray:
    """About `BINS` bins of one width, 1, 2 or 5 times a power of ten, one edge being 0."""
    low, high = min(values.min(initial=0.0), 0.0), max(values.max(initial=0.0), 0.0)
    if high == low:
        low, high = -1.0, 1.0
    rough = (high - low) / BINS
    power = 10 ** math.floor(math.log10(rough))
    width = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return np.arange(math.floor(low / width * (1 - 1e-9) - 1e-9), math.ceil(high / width) + 2) * width


def histogram_figure(improvements: Improvements, styles: Mapping[str, Style]) -> Figure:
    """How many problems (or runs) are improved by how much; what diverged, and has no amount, has bars of its own at the ends."""
    figure, axes = panel()
    amounts = np.array([one.amount for one in improvements.differences])
    finite = amounts[np.isfinite(amounts) & (amounts != 0)]
    edges = bin_edges(finite)
    width = edges[1] - edges[0]
    better, worse = (styles[name].colour for name in (improvements.optimizer, improvements.other))
    counts, _ = np.histogram(finite, edges)
    centres = (edges[1:] + edges[:-1]) / 2
    colours = [better if centre > 0 else worse for centre in centres]
    axes.bar(centres, counts, width, color=colours, alpha=0.85, edgecolor="white", linewidth=0.4)
    axes.bar(0, np.sum(amounts == 0), width / 3, color=INK)
    for sign, place, colour in ((-1, edges[0] - 1.5 * width, worse), (1, edges[-1] + 1.5 * width, better)):
        infinite = int(np.sum(amounts == sign * np.inf))
        if infinite:
            axes.bar(place, infinite, width, color="none", edgecolor=colour, hatch="////", linewidth=1)
            axes.annotate("diverged", (place, infinite), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    axes.axvline(0, color=INK, linewidth=1.2)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.margins(y=0.25)
    one, other = (shortened(name, SIDE_NAME) for name in (improvements.optimizer, improvements.other))
    for x, side, text in ((0.01, "left", f"← {other} better"), (0.99, "right", f"{one} better →")):
        axes.text(x, 1.02, text, transform=axes.transAxes, ha=side, va="bottom", fontsize=8)
    normalized = "improvement of the normalized loss"
    axes.set_xlabel(normalized if improvements.normalized else "improvement: log10 of the ratio of losses")
    axes.set_ylabel(f"{improvements.each}s")
    return figure


def probability_figure(pairs: Sequence[PairScore], styles: Mapping[str, Style]) -> Figure:
    """A row for each pair: the probability of improvement with its interval; 1/2 is a coin flip."""
    figure, axes = panel(0.6 + ROW * len(pairs))
    for row, pair in enumerate(pairs):
        colour, estimate = styles[pair.optimizer].colour, pair.improvement
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=2.6, clip_on=False)
        axes.plot(estimate.value, row, "o", color=colour, markersize=7, clip_on=False, zorder=5)
        names = f"{shortened(pair.optimizer, PAIR_NAME)} over {shortened(pair.other, PAIR_NAME)}"
        for x, side, text in ((0, "left", names), (1, "right", str(estimate))):
            axes.annotate(text, (x, row), (0, 6), textcoords="offset points", fontsize=8, ha=side, va="bottom")
    axes.axvline(0.5, color=INK, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(pairs) - 0.6, -0.85)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("probability of improvement (0.5: a coin flip)")
    return figure
