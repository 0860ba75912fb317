"""What `l2o score` prints: tables of optimizers, problems and diverged runs, and the verdict, or JSON."""

from __future__ import annotations

import json
import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from l2o_cli.evaluation.scored import OptimizerScore, ProblemScore, Scoring
from l2o_cli.evaluation.statistics import Estimate
from l2o_cli.evaluation.verdict import label, verdict, verdicts

OPTIMIZER_HEADINGS = (
    "optimizer",
    "best on",
    "normalized loss",
    "at equal time",
    "speed-up in steps",
    "in seconds",
    "profile in steps",
    "in seconds",
    "diverged",
)
PROBLEM_HEADINGS = (
    "problem",
    "optimizer",
    "final train loss",
    "at equal time",
    "validation loss",
    "speed-up in steps",
    "in seconds",
    "steps to target",
    "seconds to target",
)


def as_json(scoring: Scoring) -> str:
    content = {
        "verdict": verdict(scoring),
        "verdicts": verdicts(scoring),
        "reference": scoring.reference,
        "measure": scoring.measure,
        "left_out": scoring.left_out,
        **scoring.rows(),
    }
    return json.dumps(content, indent=2, allow_nan=False)


def print_scoring(scoring: Scoring) -> None:
    console = Console(highlight=False, soft_wrap=True)
    tables = [
        _table(OPTIMIZER_HEADINGS, 1, [_optimizer_cells(scoring, score) for score in scoring.optimizers]),
        _table(PROBLEM_HEADINGS, 2, [_problem_cells(scoring, score) for score in scoring.problems]),
    ]
    for table in tables:
        # Numbers are never cut or folded, however narrow the terminal.
        width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
        Console(highlight=False, width=width).print(table)
        console.print()
    for line in (*_notes(scoring), *dict.fromkeys((verdict(scoring), *verdicts(scoring)))):
        console.print(line, markup=False)


def _table(headings: tuple[str, ...], names: int, rows: list[tuple[str, ...]]) -> Table:
    result = Table(box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        result.add_column(heading, justify="left" if index < names else "right", no_wrap=True)
    for row in rows:
        result.add_row(*map(Text, row))  # brackets in names are not markup
    return result


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if math.isfinite(value) else "never"


def _loss(value: float | None) -> str:
    return "diverged" if value == math.inf else _number(value)


def _estimate(value: Estimate | None, at_least: bool = False) -> str:
    return "-" if value is None else ("at least " if at_least else "") + str(value)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _optimizer_cells(scoring: Scoring, score: OptimizerScore) -> tuple[str, ...]:
    return (
        label(scoring, score.optimizer),
        str(score.best_on),
        *(_estimate(score.pooled[name], score.pooled_at_least[name]) for name in score.pooled),
        _share(score.profile_steps),
        _share(score.profile_seconds),
        f"{score.diverged}/{score.runs}",
    )


def _problem_cells(scoring: Scoring, score: ProblemScore) -> tuple[str, ...]:
    medians = score.medians
    losses = ("final_train_loss", "equal_time_train_loss", "final_validation_loss")
    others = ("speedup_steps", "speedup_seconds", "steps_to_target", "seconds_to_target")
    return (
        score.problem,
        score.optimizer + (" *" if score.best else ""),
        *(_loss(medians[name]) for name in losses),
        *(_number(medians[name]) for name in others),
    )


def _notes(scoring: Scoring) -> list[str]:
    notes = [f"* best by the median of {scoring.measure}"]
    for run in scoring.diverged:
        notes.append(
            f"diverged, and counted as the worst: {run.optimizer} on {run.problem}, seed {run.seed}, after step"
            f" {run.last_finite_step}"
        )
    for name, problems in scoring.left_out.items():
        notes.append(f"{name} leaves out: {', '.join(problems)}")
    if scoring.reference is None:
        notes.append("no tuned Adam among the optimizers: no speed-up, no target; --reference names another one")
    return notes
