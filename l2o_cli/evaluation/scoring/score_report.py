"""What `l2o score` prints: tables of optimizers, problems and diverged runs, and the verdict, or JSON."""

from __future__ import annotations

import json

from l2o_cli.evaluation.cells import OPTIMIZER_HEADINGS, PROBLEM_HEADINGS, notes, optimizer_cells, problem_cells
from l2o_cli.evaluation.scoring.scored import Scoring
from l2o_cli.evaluation.scoring.verdict import verdict, verdicts
from l2o_cli.terminal import plain_console, print_table


def as_json(scoring: Scoring) -> str:
    content = {
        "verdict": verdict(scoring),
        "verdicts": verdicts(scoring),
        "reference": scoring.reference,
        "measure": scoring.measure,
        "left_out": scoring.left_out,
        "not_normalized": scoring.not_normalized,
        "cut": scoring.cut,
        **scoring.rows(),
    }
    return json.dumps(content, indent=2, allow_nan=False)


def print_scoring(scoring: Scoring) -> None:
    console = plain_console()
    print_table(OPTIMIZER_HEADINGS, [optimizer_cells(scoring, score) for score in scoring.optimizers])
    console.print()
    print_table(PROBLEM_HEADINGS, [problem_cells(scoring, score) for score in scoring.problems], names=2)
    console.print()
    for line in (*notes(scoring), *dict.fromkeys((verdict(scoring), *verdicts(scoring)))):
        console.print(line)
