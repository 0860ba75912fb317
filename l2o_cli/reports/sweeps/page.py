"""Sweeps as a section of a report and as files of pictures, from what is on disk alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import matplotlib

from l2o_cli.reports.drawing import STYLE, Style, inline_svg, save, styles
from l2o_cli.reports.html import figure, grid, note, number, table, tag
from l2o_cli.reports.sweeps.plots import page_figure, shading, sweep_figure
from l2o_cli.scoring.record import part
from l2o_cli.scoring.results_folder import Results
from l2o_cli.scoring.sweep_tables import MEASURED, Line, SweepTable, axis_label, value_texts

TUNED = "Baselines are tuned at each value, as their tier says; what is learned runs as it is."
SENTENCES = {
    "learning_rate": "Nothing is tuned: each hand-designed optimizer runs with each rate, a learned one that draws its initial "
    "rates has all of them there, and one that has none is the same everywhere.",
    "horizon": f"Runs of several lengths, each from the start. {TUNED}",
    "input_scale": f"The inputs of the model are multiplied by a factor. {TUNED}",
    "step_time": "Wall-clock of one step of one instance alone, compiled, medians of several rounds over all optimizers; "
    "what it says is the ratio between them on this machine.",
    "training_problems": "Checkpoints of a learned optimizer, by the number of problems that each was meta-trained on; the "
    "other optimizers are the same everywhere.",
}


def title_of(sweep: SweepTable) -> str:
    """What is measured against what, in one line."""
    what = "time of a step" if sweep.over == "step_time" else "loss"
    return f"{sweep.problem}: {what} against {axis_label(sweep)}"


def sweep_section(results: Results) -> Iterator[str]:
    """The elements of a page about the sweeps in a results folder; none if there are none."""
    sweeps = results.sweeps
    if not sweeps:
        return
    looks = _looks(results)
    yield tag("h2", "Sweeps")
    yield note(
        "One quantity at several values. Lines are medians over the seeds, bands reach from the best to the worst seed; a cross "
        "stands where a run diverged, a triangle where the median is beyond the axis."
    )
    for sweep in sweeps:
        yield tag("h3", title_of(sweep))
        yield note(" ".join([SENTENCES.get(sweep.over, TUNED), *_shaded(sweep)]))
        yield from (tag("p", text) for text in findings(sweep))
        yield grid(
            figure(MEASURED[measure], inline_svg(f"{sweep.name} {measure}", partial(page_figure, sweep, measure, looks)))
            for measure in sweep.measures
        )
        yield from (_table(sweep, measure) for measure in sweep.measures)


def write_sweep_pictures(results: Results) -> list[Path]:
    """FOLDER/pictures/sweep-NAME.png and .svg of each sweep; none if there are no sweeps."""
    folder, looks, files = results.folder, _looks(results), []
    for sweep in results.sweeps:
        (folder / "pictures").mkdir(exist_ok=True)
        seeds = "" if sweep.over == "step_time" else f", median and range of {sweep.seeds} seed{'s' if sweep.seeds > 1 else ''}"
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": sweep.name}):
            picture = sweep_figure(sweep, title_of(sweep) + seeds, looks)
            files += [save(picture, folder / "pictures" / f"sweep-{sweep.name}{suffix}") for suffix in (".png", ".svg")]
    return files


def _looks(results: Results) -> dict[str, Style]:
    """Colour and dashes of each optimizer, those of the comparison as in its other pictures."""
    compared = part(results.record, "optimizers")
    learned = {str(label): bool(part(compared, label).get("learned")) for label in compared}
    for sweep in results.sweeps:
        learned |= {line.label: line.learned for line in sweep.lines if line.label not in learned}
    return dict(zip(learned, styles(list(learned.values())), strict=True))


def _shaded(sweep: SweepTable) -> list[str]:
    texts = [text for line in sweep.lines if (text := shading(sweep, line))]
    return [f"Shaded: {'; '.join(texts)}."] if texts else []


def findings(sweep: SweepTable) -> list[str]:
    """What the numbers say, in a sentence; nothing of one optimizer alone."""
    measure = sweep.measures[0] if sweep.measures else ""
    lines = [line for line in sweep.lines if measure and any(line.measured[measure])]
    if len(lines) < 2:
        return []
    medians = [line.medians(measure) for line in lines]
    if sweep.over == "step_time":
        ratios = [f"{max(column) / min(column):.2g} at {value}" for value, column in _columns(sweep, medians)]
        return [f"The slowest step takes a multiple of the fastest one's time: {', '.join(ratios)}."]
    best: dict[str, list[str]] = {}
    for value, column in _columns(sweep, medians):
        if math.isfinite(min(column)):
            best.setdefault(lines[column.index(min(column))].label, []).append(value)
    places = [f"{label} at {', '.join(values)}" for label, values in best.items()]
    return [f"Least {MEASURED[measure]}: {'; '.join(places)}."] if places else ["At all values most runs diverged."]


def _columns(sweep: SweepTable, medians: Sequence[Sequence[float]]) -> Iterator[tuple[str, list[float]]]:
    """Each value, as text, with the medians of all optimizers there, inf for what is missing."""
    for value, column in zip(value_texts(sweep), zip(*medians, strict=True), strict=True):
        yield value, [math.inf if math.isnan(one) else one for one in column]


def _table(sweep: SweepTable, measure: str) -> str:
    headings = [f"{MEASURED[measure]} at", *value_texts(sweep)]
    lines = [line for line in sweep.lines if any(line.measured[measure])]
    return table(headings, ([tag("span", line.label), *_cells(line, measure)] for line in lines))


def _cells(line: Line, measure: str) -> Iterator[str]:
    """The median at each value, and how many runs diverged."""
    for middle, diverged, runs in zip(line.medians(measure), line.diverged(measure), line.measured[measure], strict=True):
        text = number(middle)
        yield tag("span", f"{text} ({diverged} of {len(runs)} diverged)" if diverged else text)
