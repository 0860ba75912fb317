"""Drawing the loss over two parameters, and trajectories over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, MaxNLocator

from l2o_cli.portraits.landscape import levels
from l2o_cli.portraits.trajectories import Trajectory
from l2o_cli.reports.drawing import Style, heading, literal, save, styles

# Low losses are light: that is where the lines end, and they stand out in any colour.
SHADES = ListedColormap(colormaps["Greys"](np.linspace(0.0, 0.7, 256)))
DOTTED = 60  # steps up to which each one is marked

Grid = tuple[np.ndarray, np.ndarray, np.ndarray]  # coordinates [X], [Y] and losses [Y, X]


def run_label(runs: Sequence[Trajectory]) -> str:
    """Name, learning rates and how they were found, and what diverged, of one optimizer's runs from all starts."""
    parts = [runs[0].label]
    tunings = [run.tuning for run in runs if run.tuning]
    if not tunings:
        parts.append("learned, not tuned")
    else:
        low, high = (bound(tuning.rate for tuning in tunings) for bound in (min, max))
        parts.append(f"learning rate {low:.3g}" if low == high else f"learning rates {low:.3g} to {high:.3g}")
        tried = max(len(tuning.rates) for tuning in tunings)
        parts.append(f"best of {tried} on {'this start' if len(runs) == 1 else 'each start'}")
        parts += sorted({f"at the {tuning.edge} edge of those tried" for tuning in tunings if tuning.edge})
    diverged = [run.diverged_at for run in runs if run.diverged_at is not None]
    if diverged:
        parts.append(f"diverged at step {diverged[0]}" if len(runs) == 1 else f"{len(diverged)} of {len(runs)} diverged")
    return ", ".join(parts)


def _draw_loss(figure: Figure, axes: Axes, grid: Grid) -> None:
    x, y, losses = grid
    steps, logarithmic = levels(losses)
    norm = (LogNorm if logarithmic else Normalize)(steps[0], steps[-1])
    # What lies below the lowest level, or is not finite, is drawn as the lowest or the highest.
    inside = np.clip(np.nan_to_num(losses, nan=steps[-1], posinf=steps[-1]), steps[0], steps[-1])
    filled = axes.contourf(x, y, inside, steps, cmap=SHADES, norm=norm)
    axes.contour(x, y, inside, steps[1:], colors="0.45", linewidths=0.3)
    bar = figure.colorbar(filled, ax=axes, label="loss", ticks=MaxNLocator(8), shrink=0.9, pad=0.02)
    if logarithmic:
        few_decades = steps[-1] < 1000 * steps[0]
        bar.locator = LogLocator(subs=(1, 2, 5) if few_decades else (1,), numticks=12)
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}") if few_decades else LogFormatterSciNotation()
    bar.minorticks_off()
    bar.outline.set_linewidth(0.5)


def _draw_run(axes: Axes, run: Trajectory, style: Style, order: int, below: float) -> None:
    """One trajectory; `below` is the share of the others that are drawn over it: it is wider, since they may coincide."""
    x, y = run.points.T
    width = 1.6 + 2.4 * below
    marker = "." if len(x) <= DOTTED else None
    axes.plot(x, y, color="white", linewidth=width + 1.6, zorder=9)
    axes.plot(x, y, marker=marker, markersize=width + 3.5, zorder=10 + order, **style.line | {"linewidth": width})
    axes.plot(x[0], y[0], "o", color="white", markeredgecolor="black", markeredgewidth=1.4, markersize=8, zorder=39)
    end = "X" if run.diverged_at is not None else "s"
    axes.plot(x[-1], y[-1], end, color=style.colour, markeredgecolor="white", markersize=6 + 5 * below, zorder=40 + order)


def _markers(diverged: bool, minima: int) -> list[Line2D]:
    """What the markers mean, for the legend."""

    def entry(marker: str, label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, label=label, **style)

    entries = [
        entry("o", "start", color="white", markeredgecolor="black", markeredgewidth=1.4, markersize=8),
        entry("s", "end", color="0.3", markeredgecolor="white", markersize=8),
    ]
    if diverged:
        entries.append(entry("X", "diverged", color="0.3", markeredgecolor="white", markersize=8))
    if minima:
        entries.append(entry("*", "minimum" if minima == 1 else "minima", color="gold", markeredgecolor="black", markersize=11))
    return entries


def plot_surface(
    path: Path, title: str, names: Sequence[str], grid: Grid, runs: Sequence[Trajectory], minima: np.ndarray, equal: bool
) -> Path:
    """Write the picture, in the format that the suffix of `path` names.

    Args:
        names: of the two parameters.
        runs: those of one optimizer have its label.
        minima: [M, 2].
        equal: whether both axes have one scale.
    """
    figure = Figure(figsize=(7.4, 7), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _draw_loss(figure, axes, grid)
    by_label: dict[str, list[Trajectory]] = {}
    for run in runs:
        by_label.setdefault(run.label, []).append(run)
    lines = []
    chosen = styles([own[0].learned for own in by_label.values()])
    for order, (own, style) in enumerate(zip(by_label.values(), chosen, strict=True)):
        # Dashes would hide steps; there are colours for all hand-designed optimizers.
        style = style if style.learned else style._replace(dash="-")
        for run in own:
            _draw_run(axes, run, style, order, below=(len(by_label) - 1 - order) / len(by_label))
        lines.append(Line2D([], [], label=literal(run_label(own)), **style.line | {"linewidth": 2}))
    if len(minima):
        axes.plot(*minima.T, "*", color="gold", markeredgecolor="black", markeredgewidth=0.7, markersize=11, zorder=60)
    x, y, _ = grid
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel=names[0], ylabel=names[1])
    if equal:
        axes.set_aspect("equal")
    heading(figure, title)
    markers = _markers(any(run.diverged_at is not None for run in runs), len(minima))
    figure.legend(handles=[*lines, *markers], loc="outside lower left", frameon=False, fontsize=9, handlelength=3)
    return save(figure, path)
