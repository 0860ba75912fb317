"""The pictures of a report on a meta-training run, as SVG to put into a page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from l2o_cli.reports.drawing import FIRST, INK, NARROW, SECOND, name_decades, panels_svg

POINTS = 300  # of a curve, about
FEW = 30  # points, up to which each is marked
BINS = 30
WIDE = 50.0  # values beyond this, above or below 0, get a logarithmic axis that goes through 0


def smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean over about a twentieth of the values, at least 5, centred, over those that are finite; [N] -> [N]."""
    half = max(2, len(values) // 40)
    finite = np.isfinite(values)
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(finite, values, 0.0), finite))
    place = np.arange(len(values))
    low, high = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    known = counts[high] - counts[low]
    return np.where(known > 0, (sums[high] - sums[low]) / np.maximum(known, 1), np.nan)


def thinned(x: np.ndarray, y: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most about `points` of the points of a curve, among them the least and the greatest of each stretch."""
    if len(x) <= points:
        return x, y
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(x)), points // 2):
        known = part[np.isfinite(y[part])]
        if len(known):
            kept |= {int(known[y[known].argmin()]), int(known[y[known].argmax()])}
    places = sorted(kept)
    return x[places], y[places]


def _raw_and_smoothed(axes: Axes, x: np.ndarray, y: np.ndarray, log: bool) -> None:
    """The values faint, and their running mean; on a logarithmic axis that of their logarithms."""
    y = np.where(np.isfinite(y) & ((y > 0) | (not log)), y, np.nan)
    middle = np.exp(smoothed(np.log(y))) if log else smoothed(y)
    marker = "." if len(x) <= FEW else ""
    axes.plot(*thinned(x, y), color=FIRST, alpha=0.4, linewidth=0.8, marker=marker)
    axes.plot(*thinned(x, middle), color=FIRST, linewidth=1.8)
    _scale(axes, y, log)


def _scale(axes: Axes, y: np.ndarray, log: bool) -> None:
    known = y[np.isfinite(y)]
    if not len(known):
        axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center", va="center")
    elif log and known.max() > NARROW * known.min():
        axes.set_yscale("log")
        name_decades(axes.yaxis, known.max() / known.min())
    elif not log and np.abs(known).max() > WIDE:
        axes.set_yscale("symlog", linthresh=1.0)


def curves(x: Sequence[float], named: Sequence[tuple[str, Sequence[float], bool]]) -> str:
    """A panel for each (label with unit, values, whether its axis is logarithmic), over the same x."""

    def draw(panels: Sequence[Axes]) -> None:
        for axes, (label, values, log) in zip(panels, named, strict=True):
            _raw_and_smoothed(axes, np.asarray(x, float), np.asarray(values, float), log)
            axes.set_ylabel(label)
        panels[-1].set_xlabel("meta-steps")

    return panels_svg(repr((x[-1:], named)), draw, len(named))


def line(x: Sequence[float], label: str, values: Sequence[float]) -> str:
    """One quantity that is no sample of anything, such as a learning rate."""

    def draw(panels: Sequence[Axes]) -> None:
        y = np.asarray(values, float)
        panels[0].plot(*thinned(np.asarray(x, float), y), color=FIRST, linewidth=1.8)
        _scale(panels[0], y, log=False)
        panels[0].set_ylabel(label)
        panels[0].set_xlabel("meta-steps")

    return panels_svg(label, draw)


def validation(
    x: Sequence[float],
    objective: Sequence[float],
    label: str,
    ratio: Sequence[float] = (),
    levels: Sequence[tuple[str, float] | None] = (None, None),
    kept: int | None = None,
) -> str:
    """The validation objective over meta-steps, and below it the final loss divided by the initial one, where it is known.

    Args:
        x: meta-steps.
        levels: (name, value) to compare the two with, None where there is nothing comparable.
        kept: the meta-step whose weights are kept, a dotted line.
    """
    parts = [(label, objective, False), ("final / initial loss", ratio, True)]

    def draw(panels: Sequence[Axes]) -> None:
        for axes, (name, values, log), level in zip(panels, parts, levels, strict=False):
            y = np.asarray(values, float)
            y = np.where(np.isfinite(y) & ((y > 0) | (not log)), y, np.nan)
            axes.plot(x, y, color=FIRST, linewidth=1.8, marker="o" if len(y) <= FEW else "", markersize=4)
            if kept is not None:
                axes.axvline(kept, color=INK, linewidth=1, linestyle=":")
            if level is not None:
                axes.axhline(level[1], color=SECOND, linewidth=1.5, linestyle="--", label=level[0])
                axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, fontsize=8)
            _scale(axes, y, log)
            axes.set_ylabel(name)
        panels[-1].set_xlabel("meta-steps")

    return panels_svg(repr((label, list(objective))), draw, 2 if len(ratio) else 1)


def bin_edges(lengths: Sequence[float], logarithmic: bool) -> np.ndarray:
    """At most `BINS` + 1 whole numbers: a bin that holds no length, beside one that holds two, would look like a gap."""
    low, high = min(lengths), max(lengths) + 1
    edges = np.geomspace(max(low, 1), high, BINS + 1) if logarithmic else np.linspace(low, high, BINS + 1)
    return np.unique(np.round(edges))


def histogram(lengths: Sequence[float], label: str, logarithmic: bool) -> str:
    """Counts of lengths in inner steps; on a logarithmic axis bins of about equal ratio."""
    edges = bin_edges(lengths, logarithmic)

    def draw(panels: Sequence[Axes]) -> None:
        panels[0].hist(lengths, edges.tolist(), color=FIRST, alpha=0.8)
        if logarithmic:
            panels[0].set_xscale("log")
            name_decades(panels[0].xaxis, edges[-1] / edges[0])
        panels[0].set_xlabel(label)
        panels[0].set_ylabel("how many")

    return panels_svg(label, draw)
