"""One picture per problem: training and validation loss against steps, all optimizers, all seeds.

Shape letters: S seeds, R records of a run.
"""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from l2o_cli.evaluation.records import Run
from l2o_cli.evaluation.results import Entry
from l2o_cli.files import write_atomically

# Okabe and Ito's colours, which colour-blind readers tell apart; learned optimizers take from the front.
LEARNED_COLOURS = ("#D55E00", "#CC79A7", "#000000")
OTHER_COLOURS = ("#0072B2", "#009E73", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (6, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
NAME_HEIGHT = 0.05  # of the axes, between names at line ends
FORMATS = (".png", ".svg", ".pdf")
CHARACTERS = 11.5  # of a title in an inch
POINTS = 50  # of a training curve, at most: means over fewer steps of noisy minibatches hide each other
CEILING = 30  # the axis ends at this multiple of the greatest initial loss: what explodes must not flatten the rest

Curve = Callable[[Run], tuple[np.ndarray, np.ndarray]]  # of a run: steps and losses
Style = tuple[str, Any]  # colour and dashes


def entry_label(entry: Entry) -> str:
    """Name, learning rate, how it was found, and what diverged."""
    row = entry.row
    parts = [row.optimizer]
    if entry.learned:
        parts.append("learned, not tuned")
    else:
        if "learning_rate" in row.hyperparameters:
            parts.append(f"learning rate {row.hyperparameters['learning_rate']:.3g}")
        if entry.tuning and entry.tuning.problems > 1:
            parts.append(f"chosen for {entry.tuning.problems} problems together")
        else:
            parts.append(f"best of {row.trials} trials" if row.trials > 1 else "not tuned")
    if entry.tuning and entry.tuning.edge:
        parts.append(f"at the {entry.tuning.edge} edge of the grid")
    if row.diverged:
        parts.append(f"{row.diverged} of {row.seeds} diverged")
    return ", ".join(parts)


def _validation(run: Run) -> tuple[np.ndarray, np.ndarray]:
    assert run.validation is not None
    return run.record_steps, run.validation


def _of_all(entry: Entry, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of all runs: [R], [S, R]."""
    steps, losses = zip(*map(curve, entry.runs), strict=True)
    return steps[0], np.stack(losses)


def _band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[S, R] -> median, least and greatest, [R]. A diverged run counts as inf in the median, so it cannot flatter it."""
    worst = np.where(np.isnan(values), np.inf, values)
    middle = np.median(worst, axis=0)
    finite = np.where(np.isnan(values), -np.inf, values)
    return np.where(np.isfinite(middle), middle, np.nan), worst.min(axis=0), finite.max(axis=0)


def _draw(axes: Axes, entry: Entry, curve: Curve, style: Style, order: int) -> None:
    colour, dash = style
    steps, values = _of_all(entry, curve)
    middle, least, greatest = _band(values)
    some = np.isfinite(least)
    axes.plot(
        steps,
        middle,
        color=colour,
        linestyle=dash,
        linewidth=2.6 if entry.learned else 1.5,
        label=entry_label(entry),
        zorder=20 + order,
    )
    axes.fill_between(steps[some], least[some], greatest[some], color=colour, alpha=0.15, linewidth=0, zorder=order + 1)


def _mark_divergence(axes: Axes, entry: Entry, curve: Curve, colour: str) -> None:
    """A cross where each diverged run was last seen, at the axis' upper end if beyond it."""
    for run in entry.runs:
        steps, losses = curve(run)
        known = np.flatnonzero(np.isfinite(losses))
        if run.diverged_at is None or not len(known):
            continue
        height = min(losses[known[-1]], axes.get_ylim()[1])
        place = steps[known[-1]], height
        axes.plot(*place, "X", color=colour, markersize=9, markeredgecolor="white", zorder=60, clip_on=False)


def _name_lines(axes: Axes, entries: Sequence[Entry], curve: Curve, colours: Sequence[str]) -> None:
    """Each optimizer's name beside the end of its line, moved apart where they would overlap."""
    places = []
    for entry, colour in zip(entries, colours, strict=True):
        end = _band(_of_all(entry, curve)[1])[0][-1]
        if np.isfinite(end):
            height = axes.transAxes.inverted().transform(axes.transData.transform((0, end)))[1]
            places.append([min(max(height, 0), 1), entry, colour])
    places.sort(key=lambda place: place[0])
    for below, above in itertools.pairwise(places):
        above[0] = max(above[0], below[0] + NAME_HEIGHT)
    for height, entry, colour in places:
        weight = "bold" if entry.learned else "normal"
        axes.annotate(
            entry.row.optimizer, (1.01, height), xycoords="axes fraction", color=colour, fontsize=8, weight=weight, va="center"
        )


def _scale(axes: Axes, values: Sequence[np.ndarray], initial: float) -> None:
    """A logarithmic axis where all losses are positive, cut where exploding runs would flatten the rest."""
    known = np.concatenate([part[np.isfinite(part)] for part in values])
    if not len(known) or known.min() <= 0:
        return
    axes.set_yscale("log")
    low, high = known.min(), min(known.max(), CEILING * initial)
    if high > low:
        margin = (high / low) ** 0.05
        axes.set_ylim(low / margin, high * margin)
    decades = np.log10(high / low) if high > low else 0
    if decades < 3:
        # Few or no powers of ten in sight: label 2 and 5 too.
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def styles(learned: Sequence[bool]) -> list[Style]:
    """(colour, dashes) of each optimizer, learned ones in their own colours."""
    of_learned = itertools.cycle((colour, dash) for dash in DASHES for colour in LEARNED_COLOURS)
    rounds = (DASHES[start:] + DASHES[:start] for start in itertools.cycle(range(len(DASHES))))  # no two alike among 16
    of_others = (style for dashes in rounds for style in zip(OTHER_COLOURS, dashes, strict=True))
    return [next(of_learned if one else of_others) for one in learned]


def _panel(axes: Axes, entries: Sequence[Entry], curve: Curve, title: str) -> None:
    chosen = styles([entry.learned for entry in entries])
    for order, (entry, style) in enumerate(zip(entries, chosen, strict=True)):
        _draw(axes, entry, curve, style, order)
    curves = [curve(run)[1] for entry in entries for run in entry.runs]
    initial = max((part[0] for part in curves if np.isfinite(part[0])), default=1.0)
    axes.set_xlim(0, max(entry.runs[0].steps for entry in entries))
    _scale(axes, curves, initial)
    for entry, (colour, _) in zip(entries, chosen, strict=True):
        _mark_divergence(axes, entry, curve, colour)
    _name_lines(axes, entries, curve, [colour for colour, _ in chosen])
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("steps")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def heading(figure: Figure, text: str) -> None:
    """A title above everything, in as many lines as it takes."""
    figure.suptitle(textwrap.fill(text, int(CHARACTERS * figure.get_figwidth())), x=0.01, ha="left", fontsize=11)


def save(figure: Figure, path: Path) -> Path:
    """Write the picture in one step, in the format that the suffix names."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower())
    write_atomically(path, image.getvalue())
    return path


def plot_problem(path: Path, problem: str, source: str, entries: Sequence[Entry]) -> Path:
    """Write a picture of training loss, and validation loss where there is any, against steps.

    The suffix of `path` is its format, one of `FORMATS`.
    Lines are medians over the seeds, bands reach from the best to the worst one; a cross ends a diverged run.
    """
    held_out = entries[0].runs[0].validation is not None
    every, seeds = entries[0].runs[0].every, entries[0].row.seeds
    figure = Figure(figsize=(11 if held_out else 7, 4.6), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if held_out else 1, squeeze=False)[0]
    width = every * math.ceil(entries[0].runs[0].steps / (POINTS * every))
    windows = f"minibatches, mean of {width} steps" if width > 1 else "minibatches, each step"
    _panel(panels[0], entries, lambda run: run.mean_losses(width), f"training loss ({windows})")
    panels[0].set_ylabel("loss")
    if held_out:
        _panel(panels[1], entries, _validation, "validation loss (whole split)")
    heading(figure, f"{problem}  [{source}]: median and range of {seeds} seeds")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=1, frameon=False, fontsize=9, handlelength=3)
    return save(figure, path)
