"""The outcome of an ablation experiment: one row for each run, what they come to for each spec, a table and a picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pydantic_core import to_jsonable_python

from l2o_cli.errors import BadInput
from l2o_cli.files import read_csv, write_csv
from l2o_cli.meta.run_tables import best_validation, read_run, total, validation_scores
from l2o_cli.reports.drawing import save
from l2o_cli.terminal import print_table

BASE = "base"
BAR, BASE_BAR, START = "#56B4E9", "#0072B2", "#D55E00"  # Okabe and Ito's, which colour-blind readers tell apart
MEANS, SUMS = ("best_score", "start_score", "meta_steps", "inner_steps"), ("nonfinite_entries", "diverged")
HEADINGS = ("spec", "seeds", "best score", "against base", "untrained", "meta-steps", "inner steps", "non-finite", "diverged")


@dataclass(frozen=True)
class AblationRow:
    """One run. Scores are mean objectives over the validation problems: less is better."""

    spec: str
    seed: int
    minutes: float  # that it was given
    meta_steps: int
    inner_steps: int
    seconds: float  # of its meta-steps
    start_score: float  # of its weights as they were drawn
    best_score: float  # the least of all validations, that at the start included
    best_meta_step: int
    nonfinite_entries: int  # of the families' meta-gradients
    diverged: int  # instances, over all truncations

    @property
    def key(self) -> tuple[str, int]:
        return self.spec, self.seed


def outcome(spec: str, seed: int, minutes: float, path: Path) -> AblationRow:
    """The row of the run in the directory `path`."""
    run = read_run(path)
    scores, best = validation_scores(run), best_validation(run)
    start = scores[0][1] if scores and scores[0][0] == 0 else math.nan
    best_meta_step, best_score = best or (0, math.nan)
    seconds = {row["meta_step"]: row["seconds"] for row in run.metrics}
    spent = round(sum(seconds.values()), 1)
    inner_steps, *counts = (total(run.metrics, name) for name in ("inner_steps", "nonfinite_entries", "diverged"))
    return AblationRow(spec, seed, minutes, run.meta_steps, inner_steps, spent, start, best_score, best_meta_step, *counts)


def write_rows(path: Path, rows: Iterable[AblationRow]) -> None:
    write_csv(path, [field.name for field in fields(AblationRow)], map(astuple, rows))


def read_rows(path: Path) -> list[AblationRow]:
    """Those that `write_rows` wrote, none if there is no file; BadInput if it is something else."""
    if not path.exists():
        return []
    kinds = {"str": str, "int": int, "float": float}
    rows = []
    for line, cells in read_csv(path):
        try:
            rows.append(AblationRow(**{field.name: kinds[str(field.type)](cells[field.name]) for field in fields(AblationRow)}))
        except (KeyError, ValueError) as error:
            raise BadInput(f"{path}: not a table of ablations: line {line}: {error}") from None
    return rows


@dataclass(frozen=True)
class Summary:
    """What the seeds of a spec come to."""

    spec: str
    seeds: int
    best_score: float  # mean
    best_score_error: float | None  # standard error of that mean, where it is known
    against_base: float  # difference of the mean scores
    start_score: float  # mean
    meta_steps: float  # mean
    inner_steps: float  # mean
    nonfinite_entries: int
    diverged: int


def summaries(rows: Sequence[AblationRow]) -> list[Summary]:
    """One for each spec, the best first; a score that is not a number is the worst."""
    groups = {spec: [row for row in rows if row.spec == spec] for spec in dict.fromkeys(row.spec for row in rows)}
    base = statistics.fmean(row.best_score for row in groups[BASE]) if BASE in groups else math.nan
    result = []
    for spec, group in groups.items():
        columns = {name: [getattr(row, name) for row in group] for name in (*MEANS, *SUMS)}
        best, start, meta_steps, inner_steps = (statistics.fmean(columns[name]) for name in MEANS)
        error = _standard_error(columns["best_score"])
        counts = (sum(columns[name]) for name in SUMS)
        result.append(Summary(spec, len(group), best, error, best - base, start, meta_steps, inner_steps, *counts))
    return sorted(result, key=lambda entry: math.inf if math.isnan(entry.best_score) else entry.best_score)


def _standard_error(values: Sequence[float]) -> float | None:
    """Of their mean; None for a single value, or where not all are finite."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return statistics.stdev(values) / math.sqrt(len(values))


def as_plain(entries: Sequence[Summary]) -> list[dict[str, Any]]:
    """For JSON: null stands for what is not known or not finite."""
    return to_jsonable_python(entries, inf_nan_mode="null")


def print_summaries(entries: Sequence[Summary]) -> None:
    """One line for each spec, the best first, on stdout."""
    rows = []
    for entry in entries:
        error = "" if entry.best_score_error is None else f" +- {entry.best_score_error:.2g}"
        apart = "-" if math.isnan(entry.against_base) else f"{entry.against_base:+.3g}"
        scores = (f"{entry.best_score:.4g}{error}", apart, f"{entry.start_score:.4g}")
        counts = (entry.meta_steps, entry.inner_steps, entry.nonfinite_entries, entry.diverged)
        rows.append((entry.spec, str(entry.seeds), *scores, *(f"{count:,.0f}" for count in counts)))
    print_table(HEADINGS, rows)


def draw(entries: Sequence[Summary], paths: Iterable[Path], unit: str, title: str) -> None:
    """A bar for each spec, the best at the top, and a line at the base; written to each path in the format of its suffix.

    Args:
        unit: of the scores.
    """
    figure = Figure(figsize=(7.0, 1.6 + 0.32 * len(entries)), dpi=150, layout="constrained")
    axes = figure.subplots()
    shown = entries[::-1]
    places, starts = range(len(shown)), [entry.start_score for entry in shown]
    names = [entry.spec if entry.seeds == 1 else f"{entry.spec} ({entry.seeds} seeds)" for entry in shown]
    colours = [BASE_BAR if entry.spec == BASE else BAR for entry in shown]
    errors = [entry.best_score_error or 0.0 for entry in shown] if any(entry.best_score_error for entry in shown) else None
    axes.barh(places, [entry.best_score for entry in shown], color=colours, xerr=errors, ecolor="black", capsize=3)
    axes.plot(starts, places, "|", color=START, markersize=13, markeredgewidth=2, label="untrained")
    axes.set_yticks(places, names)
    for place, entry in zip(places, shown, strict=True):
        if not math.isfinite(entry.best_score):
            axes.text(0, place, "no finite score ", ha="right", va="center")
        elif entry.spec == BASE:
            axes.axvline(entry.best_score, color=BASE_BAR, linestyle="--", linewidth=1.2, label=BASE)
    axes.axvline(0, color="black", linewidth=0.8)
    bars = "; black: standard error of the mean over the seeds" if errors else ""
    axes.set_xlabel(f"best meta-validation score: {unit}\nlower is better{bars}")
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    for path in paths:
        save(figure, path)
