"""What `l2o score` prints: tables of optimizers, problems and diverged runs, and the verdict, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from l2o_cli.reports.cells import OPTIMIZER_HEADINGS, PROBLEM_HEADINGS, notes, optimizer_cells, problem_cells
from l2o_cli.reports.ratios.told import ratio_lines, ratio_rows
from l2o_cli.scoring.loss_ratios import LossRatios
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.verdict import verdict, verdicts
from l2o_cli.terminal import plain_console, print_table


def as_json(scoring: Scoring | None, ratios: Sequence[LossRatios]) -> str:
    """Without `scoring`, of a folder with sweeps alone, nothing but the ratios."""
    content = {"loss_ratios": ratio_rows(ratios)}
    return json.dumps(content if scoring is None else {**_scores(scoring), **content}, indent=2, allow_nan=False)


def _scores(scoring: Scoring) -> dict[str, Any]:
    return {
        "verdict": verdict(scoring),
        "verdicts": verdicts(scoring),
        "reference": scoring.reference,
        "measure": scoring.measure,
        "left_out": scoring.left_out,
        "not_normalized": scoring.not_normalized,
        "cut": scoring.cut,
        **scoring.rows(),
    }


def print_scoring(scoring: Scoring | None, ratios: Sequence[LossRatios]) -> None:
    console = plain_console()
    if scoring is not None:
        _print_scores(console, scoring)
    for line in ratio_lines(ratios):
        console.print(line)


def _print_scores(console: Console, scoring: Scoring) -> None:
    print_table(OPTIMIZER_HEADINGS, [optimizer_cells(scoring, score) for score in scoring.optimizers])
    console.print()
    print_table(PROBLEM_HEADINGS, [problem_cells(scoring, score) for score in scoring.problems], names=2)
    console.print()
    for line in (*notes(scoring), *dict.fromkeys((verdict(scoring), *verdicts(scoring)))):
        console.print(line)
