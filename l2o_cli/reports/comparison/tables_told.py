"""What a command prints of its outcome: a table, the data's sources and the files, or JSON."""

from __future__ import annotations

import json
import math

from l2o_cli.comparison.evaluate import Outcome
from l2o_cli.reports.cells import file_lines
from l2o_cli.scoring.scores import Row
from l2o_cli.terminal import plain_console, print_table

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


def _loss(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if math.isfinite(value) else "diverged"


def _cells(row: Row, steps_of_divergence: list[int]) -> tuple[str, ...]:
    rate = row.hyperparameters.get("learning_rate")
    first, last = min(steps_of_divergence, default=0), max(steps_of_divergence, default=0)
    steps = f" (step {first if first == last else f'{first} to {last}'})" if steps_of_divergence else ""
    return (
        row.problem,
        row.optimizer,
        "-" if rate is None else f"{rate:.3g}",
        str(row.trials),
        _loss(row.final_train_loss),
        _loss(row.mean_log_train_loss),
        _loss(row.final_validation_loss),
        _loss(row.final_test_loss),
        f"{row.diverged}/{row.seeds}{steps}",
        f"{row.step_milliseconds:.3g}",
    )


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """The cells of each problem and optimizer, medians over the seeds, in the order of HEADINGS."""
    diverged = [[run.diverged_at for run in entry.runs if run.diverged_at is not None] for entry in outcome.entries]
    return [_cells(entry.row, steps) for entry, steps in zip(outcome.entries, diverged, strict=True)]


def as_json(outcome: Outcome) -> str:
    """The rows as a JSON list; null stands for what diverged or has no held-out data."""
    return json.dumps([entry.row.as_json() for entry in outcome.entries], indent=2, allow_nan=False)


def print_outcome(outcome: Outcome, json_only: bool) -> None:
    """Everything to stdout; with `json_only` the rows as JSON to stdout and the rest to stderr."""
    console = plain_console(stderr=json_only)
    if json_only:
        print(as_json(outcome))
    elif outcome.entries:
        print_table(HEADINGS, rows(outcome), names=2)
        console.print()
    for note in outcome.notes:
        console.print(note)
    for name, source in outcome.sources.items():
        console.print(f"{name}: data {source}")
    for line in file_lines(outcome.files):
        console.print(line)
