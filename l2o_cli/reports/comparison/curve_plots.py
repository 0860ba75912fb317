"""Pictures of one problem: training and validation loss against steps, all optimizers, all seeds.

Shape letters: S seeds, R records of a run.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from l2o_cli.reports.drawing import (
    STYLE,
    End,
    Style,
    heading,
    lay_out,
    literal,
    name_line_ends,
    panel,
    save,
    scale_losses,
    styles,
)
from l2o_cli.scoring.curves import Curve, curve_of

if TYPE_CHECKING:  # which needs Keras
    from l2o_cli.comparison.results import Entry

FORMATS = (".png", ".svg", ".pdf")
POINTS = 50  # of a training curve, at most: means over fewer steps of noisy minibatches hide each other
LEGEND = 14.0  # characters of a legend in an inch
ROW = 0.2  # inches of a row of it
NAMES = {"train": "training loss", "validation": "validation loss"}  # of the splits that are drawn


@dataclass(frozen=True)
class Line:
    """One optimizer on one problem."""

    name: str
    label: str  # for the legend
    style: Style
    curves: Sequence[Curve]  # one for each seed


def describe(
    name: str,
    *,
    learned: bool | None,
    rate: float | None,
    trials: int,
    problems: int = 1,
    edge: str | None = None,
    diverged: tuple[int, int],
) -> str:
    """Name, learning rate, how it was found, and what diverged.

    Args:
        learned: None where it is not known, nor then how it was found.
        trials: settings that were tried; problems: for how many together.
        diverged: runs, of how many.
    """
    parts = [name]
    if learned:
        parts.append("learned, not tuned")
    elif learned is not None:
        if rate is not None:
            parts.append(f"learning rate {rate:.3g}")
        if problems > 1:
            parts.append(f"chosen for {problems} problems together")
        else:
            parts.append(f"best of {trials} trials" if trials > 1 else "not tuned")
    if edge:
        parts.append(f"at the {edge} edge of the grid")
    if diverged[0]:
        parts.append(f"{diverged[0]} of {diverged[1]} diverged")
    return ", ".join(parts)


def entry_label(entry: Entry) -> str:
    """`describe` of results in memory."""
    row, tuning = entry.summary, entry.tuning
    return describe(
        row.optimizer,
        learned=entry.learned,
        rate=row.hyperparameters.get("learning_rate"),
        trials=row.trials,
        problems=tuning.problems if tuning else 1,
        edge=tuning.edge if tuning else None,
        diverged=(row.diverged, row.seeds),
    )


def window(curves: Sequence[Curve]) -> int:
    """Steps that a point of the training curves is a mean of."""
    return max(_stride(curve) * int(np.diff(curve.steps).max()) for curve in curves)


def _stride(curve: Curve) -> int:
    return math.ceil((curve.steps.size - 1) / POINTS)


def series(curve: Curve, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses to draw.

    Of training the initial loss and then means over at most `POINTS` stretches of the steps; else every loss that was
    measured. NaN from the divergence on.
    """
    losses = curve.losses[split]
    if split != "train":
        known = np.isfinite(losses) | (curve.diverged & (curve.steps > curve.last_finite_step))
        return curve.steps[known], losses[known]
    starts = np.arange(1, curve.steps.size, _stride(curve))
    lengths = np.diff(curve.steps).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(losses[1:] * lengths, starts - 1)
        means = np.append(losses[0], sums / np.add.reduceat(lengths, starts - 1))
    ends = np.append(starts[1:] - 1, curve.steps.size - 1)
    return np.append(curve.steps[0], curve.steps[ends]), np.where(np.isfinite(means), means, np.nan)


def together(curves: Sequence[Curve], split: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps of all runs, [R], and their losses there, [S, R]: inf from a divergence on, NaN after a shorter run's end."""
    drawn = [series(curve, split) for curve in curves]
    steps = np.unique(np.concatenate([own for own, _ in drawn]))
    values = []
    for own, losses in drawn:
        worst = np.where(np.isnan(losses), np.inf, losses)
        values.append(worst if own.size == steps.size else _resampled(steps, own, worst))
    return steps, np.stack(values)


def _resampled(steps: np.ndarray, own: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Linear between the records; inf where the next one is."""
    known = np.isfinite(losses)
    if not known.any():
        return np.full(steps.shape, np.inf)
    values = np.interp(steps, own[known], losses[known], left=np.nan, right=np.nan)
    return np.where((steps > own[known][-1]) & (steps <= own[-1]), np.inf, values)


def _band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[S, R] -> median, least and greatest, [R]. A diverged run counts as inf in the median, so it cannot flatter it."""
    with np.errstate(invalid="ignore"):
        middle = np.nanmedian(values, axis=0)
    greatest = np.where(np.isfinite(values), values, -np.inf).max(axis=0)
    return np.where(np.isfinite(middle), middle, np.nan), np.nanmin(values, axis=0), greatest


def _draw(axes: Axes, line: Line, split: str, order: int) -> tuple[np.ndarray, float]:
    """Median and range; returns all losses and the last median."""
    steps, values = together(line.curves, split)
    middle, least, greatest = _band(values)
    some = np.isfinite(least) & np.isfinite(greatest)
    axes.plot(steps, middle, label=line.label, zorder=20 + order, **line.style.line)
    colour = line.style.colour
    axes.fill_between(steps[some], least[some], greatest[some], color=colour, alpha=0.15, linewidth=0, zorder=order + 1)
    return values, float(middle[-1])


def _mark_divergence(axes: Axes, line: Line, split: str) -> None:
    """A cross where each diverged run was last seen, at the axis' upper end if beyond it."""
    for curve in line.curves:
        steps, losses = series(curve, split)
        known = np.flatnonzero(np.isfinite(losses))
        if curve.diverged and len(known):
            place = steps[known[-1]], min(losses[known[-1]], axes.get_ylim()[1])
            axes.plot(*place, "X", color=line.style.colour, markersize=8, markeredgecolor="white", zorder=60, clip_on=False)


def draw_losses(axes: Axes, lines: Sequence[Line], split: str) -> list[End]:
    """Medians over the seeds, bands from the best to the worst, crosses where runs diverged; where to name the lines."""
    lines = [line for line in lines if all(split in curve.losses for curve in line.curves)]
    drawn = [_draw(axes, line, split, order) for order, line in enumerate(lines)]
    starts = np.array([losses[0] for line in lines for curve in line.curves if (losses := series(curve, split)[1]).size])
    axes.set_xlim(0, max(int(curve.steps[-1]) for line in lines for curve in line.curves))
    scale_losses(axes, [values for values, _ in drawn], float(starts[np.isfinite(starts)].max(initial=-np.inf)))
    for line in lines:
        _mark_divergence(axes, line, split)
    axes.set_xlabel("steps")
    axes.set_ylabel(NAMES[split])
    return [(line.name, last, line.style) for line, (_, last) in zip(lines, drawn, strict=True)]


def splits_of(lines: Sequence[Line]) -> list[str]:
    """The splits that there is anything to draw of."""
    return [split for split in NAMES if any(all(split in curve.losses for curve in line.curves) for line in lines)]


def loss_figure(lines: Sequence[Line], split: str) -> Figure:
    """One split, for a page."""
    figure, axes = panel()
    ends = draw_losses(axes, lines, split)
    lay_out(figure)
    name_line_ends(axes, ends)
    return figure


def problem_figure(problem: str, source: str, lines: Sequence[Line]) -> Figure:
    """All splits side by side with a title and a legend, to be shown alone."""
    splits, curves = splits_of(lines), [curve for line in lines for curve in line.curves]
    width = 11 if len(splits) > 1 else 7
    names = [textwrap.fill(literal(line.label), int(LEGEND * width), subsequent_indent="  ") for line in lines]
    rows = sum(name.count("\n") + 1 for name in names)
    figure = Figure(figsize=(width, 4.0 + ROW * rows), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    seeds = len({curve.seed for curve in curves})
    of = f"  [{source}]" if source else ""
    heading(figure, f"{problem}{of}: median and range of {seeds} seed{'s' if seeds > 1 else ''}")
    handles = [matplotlib.lines.Line2D([], [], **line.style.line) for line in lines]
    figure.legend(handles, names, loc="outside lower left", ncols=1, fontsize=9, handlelength=3)
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    mean_of = window(curves)
    titles = {
        "train": f"of minibatches, mean of {mean_of} steps" if mean_of > 1 else "of minibatches, each step",
        "validation": "of the whole split",
    }
    ends = [draw_losses(axes, lines, split) for axes, split in zip(panels, splits, strict=True)]
    for axes, split in zip(panels, splits, strict=True):
        axes.set_title(titles[split], loc="left", fontsize=10)
    lay_out(figure)
    for axes, of_panel in zip(panels, ends, strict=True):
        name_line_ends(axes, of_panel)
    return figure


def plot_problem(path: Path, problem: str, source: str, entries: Sequence[Entry]) -> Path:
    """Write a picture of results in memory; the suffix of `path` is its format, one of `FORMATS`."""
    chosen = styles([entry.learned for entry in entries])
    lines = [
        Line(entry.summary.optimizer, entry_label(entry), style, [curve_of(run) for run in entry.runs])
        for entry, style in zip(entries, chosen, strict=True)
    ]
    with matplotlib.rc_context(STYLE):
        return save(problem_figure(problem, source, lines), path)
