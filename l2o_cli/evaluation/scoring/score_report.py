"""What `l2o score` prints: tables of optimizers, problems and diverged runs, and the verdict, or JSON."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from l2o_cli.evaluation.cells import OPTIMIZER_HEADINGS, PROBLEM_HEADINGS, notes, optimizer_cells, problem_cells
from l2o_cli.evaluation.scoring.scored import Scoring
from l2o_cli.evaluation.scoring.verdict import verdict, verdicts


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
    console = Console(highlight=False, soft_wrap=True)
    tables = [
        _table(OPTIMIZER_HEADINGS, 1, [optimizer_cells(scoring, score) for score in scoring.optimizers]),
        _table(PROBLEM_HEADINGS, 2, [problem_cells(scoring, score) for score in scoring.problems]),
    ]
    for table in tables:
        # Numbers are never cut or folded, however narrow the terminal.
        width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
        Console(highlight=False, width=width).print(table)
        console.print()
    for line in (*notes(scoring), *dict.fromkeys((verdict(scoring), *verdicts(scoring)))):
        console.print(line, markup=False)


def _table(headings: tuple[str, ...], names: int, rows: list[tuple[str, ...]]) -> Table:
    result = Table(box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        result.add_column(heading, justify="left" if index < names else "right", no_wrap=True)
    for row in rows:
        result.add_row(*map(Text, row))  # brackets in names are not markup
    return result
