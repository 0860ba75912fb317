"""What commands print of a comparison: the rows of what has run, all scores, the verdict, the files; as tables or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2o_cli.reports import cells
from l2o_cli.reports.comparison.page import write_comparison_report
from l2o_cli.reports.ratios.page import ratio_lines, ratio_rows
from l2o_cli.scoring.results_folder import Results, read_results
from l2o_cli.scoring.run_scores import SUMMARIZED
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.verdict import verdict, verdicts
from l2o_cli.terminal import plain_console, print_table

if TYPE_CHECKING:  # scoring saved curves needs no TensorFlow
    from l2o_cli.comparison.results import Entry
    from l2o_cli.comparison.run import Outcome

HEADINGS = (
    "problem",
    "optimizer",
    "learning\nrate",
    "trials",
    "final\ntrain loss",
    "mean log\ntrain loss",
    "final vali-\ndation loss",
    "final\ntest loss",
    "diverged",
    "ms per\nstep",
)


def row_of(entry: Entry) -> tuple[str, ...]:
    """One optimizer on one problem, medians over the seeds, in the order of HEADINGS."""
    row, ends = entry.summary, [run.diverged_at for run in entry.runs if run.diverged_at is not None]
    rate = row.hyperparameters.get("learning_rate")
    first, last = min(ends, default=0), max(ends, default=0)
    steps = f" (step {first if first == last else f'{first} to {last}'})" if ends else ""
    return (
        row.problem,
        row.optimizer,
        "-" if rate is None else f"{rate:.3g}",
        str(row.trials),
        *(cells.loss(row.medians[name]) for name in SUMMARIZED),
        f"{row.diverged}/{row.seeds}{steps}",
        f"{row.step_milliseconds:.3g}",
    )


def conclude(outcome: Outcome, folder: Path, *, report: bool, json_only: bool) -> None:
    """Score what has run, write its page if `report`, and print all of it to stdout.

    With `json_only` the rows go to stdout as JSON, in which null stands for what diverged or has no held-out data, and the rest
    to stderr.
    """
    there = any((folder / name).exists() for name in ("curves.csv", "sweeps.csv"))
    results = read_results(folder) if there else None
    pages = write_comparison_report(results) if results and report else []
    console = plain_console(stderr=json_only)
    if json_only:
        print(json.dumps([entry.summary.as_json() for entry in outcome.entries], indent=2, allow_nan=False))
    elif outcome.entries:
        print_table(HEADINGS, [row_of(entry) for entry in outcome.entries], names=2)
        console.print()
    said = _conclusions(results) if results else []
    said += [*outcome.notes, *(f"{title}: data {source}" for title, source in outcome.sources.items())]
    for line in [*said, *cells.file_lines([*outcome.tables, *pages])]:
        console.print(line)


def _conclusions(results: Results) -> list[str]:
    """Who won, by the score that settings were chosen by, and how losses compare at all points."""
    scoring = results.scoring
    said = _said(scoring) if scoring and len(scoring.optimizers) > 1 else []
    return [*said, *ratio_lines(results.ratios)]


def _said(scoring: Scoring) -> list[str]:
    """Plain sentences, each with a line below it of what they rest on."""
    every = dict.fromkeys((verdict(scoring), *verdicts(scoring)))
    return [line for one in every for line in (one.plain, f"  {one.statistics}") if line.strip()]


def scores_as_json(results: Results) -> str:
    """Of a folder with sweeps alone, nothing but the ratios."""
    content: dict[str, Any] = {"loss_ratios": ratio_rows(results.ratios)}
    scoring = results.scoring
    if scoring is not None:
        content = {
            "verdict": verdict(scoring).text,
            "verdicts": [one.text for one in verdicts(scoring)],
            "reference": scoring.reference,
            "measure": scoring.measure,
            "left_out": scoring.left_out,
            "not_normalized": scoring.not_normalized,
            "cut": scoring.cut,
            **scoring.rows(),
            **content,
        }
    return json.dumps(content, indent=2, allow_nan=False)


def print_scores(results: Results) -> None:
    console, scoring = plain_console(), results.scoring
    lines = ratio_lines(results.ratios)
    if scoring is not None:
        print_table(cells.OPTIMIZER_HEADINGS, [cells.optimizer_cells(scoring, score) for score in scoring.optimizers])
        console.print()
        print_table(cells.PROBLEM_HEADINGS, [cells.problem_cells(scoring, score) for score in scoring.problems], names=2)
        console.print()
        lines = [*cells.notes(scoring), *_said(scoring), *lines]
    for line in lines:
        console.print(line)
