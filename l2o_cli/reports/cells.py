"""How numbers and rows of scores are written, wherever they are shown: `l2o score`, `l2o compare`, the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from l2o_cli.scoring.measures import MEASURES, POOLED
from l2o_cli.scoring.run_scores import RunScore
from l2o_cli.scoring.scored import OptimizerScore, ProblemScore, Scoring
from l2o_cli.scoring.statistics import Estimate, decimals
from l2o_cli.scoring.verdict import label
from l2o_cli.terminal import several

_PROFILES = ("profile\nin steps", "profile\nin seconds")
_POOLED = (MEASURES[name].title.replace(" in ", "\nin ") for name in POOLED)
OPTIMIZER_HEADINGS = ("optimizer", "best on", *_POOLED, *_PROFILES, "diverged")
PROBLEM_COLUMNS = {
    "final_train_loss": "final train loss",
    "equal_time_train_loss": "at equal time",
    "final_validation_loss": "validation loss",
    "speedup_steps": "speed-up\nin steps",
    "speedup_seconds": "speed-up\nin seconds",
    "steps_to_target": "steps\nto target",
    "seconds_to_target": "seconds\nto target",
}
PROBLEM_HEADINGS = ("problem", "optimizer", *PROBLEM_COLUMNS.values())


def number(value: float | None) -> str:
    """With 4 significant digits; a number of steps or seconds that is infinite is never reached."""
    if value is None:
        return "-"
    return f"{value:.4g}" if math.isfinite(value) else "never"


def loss(value: float | None) -> str:
    return "diverged" if value == math.inf else number(value)


def estimate(value: Estimate | None, at_least: bool = False) -> str:
    return "-" if value is None else ("at least " if at_least else "") + str(value)


def share(value: float | None) -> str:
    return "-" if value is None else decimals(value)


def optimizer_cells(scoring: Scoring, score: OptimizerScore) -> tuple[str, ...]:
    """In the order of OPTIMIZER_HEADINGS."""
    return (
        label(scoring, score.optimizer),
        str(score.best_on),
        *(estimate(score.pooled[name], score.pooled_at_least[name]) for name in score.pooled),
        share(score.profile_steps),
        share(score.profile_seconds),
        f"{score.diverged}/{score.runs}",
    )


def problem_cells(scoring: Scoring, score: ProblemScore) -> tuple[str, ...]:
    """In the order of PROBLEM_HEADINGS; a star after the optimizer that is best."""
    values = ((loss if name.endswith("_loss") else number)(score.medians[name]) for name in PROBLEM_COLUMNS)
    return score.problem, score.optimizer + (" *" if score.best else ""), *values


def describe_divergence(run: RunScore) -> str:
    return f"{run.optimizer} on {run.problem}, seed {run.seed}, after step {run.last_finite_step}"


RELATIVE = ("speedup_steps", "speedup_seconds", "steps_to_target")  # to the reference


def describe_left_out(scoring: Scoring) -> list[str]:
    """What could not be scored everywhere, a line each, with the reasons where losses are not normalized."""
    lines = []
    for name, problems in scoring.left_out.items():
        if name == "equal_time_normalized_loss":  # where the normalized loss is left out too
            continue
        if scoring.reference is None and name in RELATIVE:  # a line of its own says so
            continue
        by_reason: dict[str, list[str]] = {}
        for problem in problems:
            why = scoring.not_normalized.get(problem, "") if name == "normalized_loss" else ""
            by_reason.setdefault(why, []).append(problem)
        said = (", ".join(those) + (f" ({why})" if why else "") for why, those in by_reason.items())
        lines.append(f"{name} leaves out: {'; '.join(said)}")
    if scoring.reference is None:
        lines.append("no speed-up and no target without a tuned Adam; `l2o score --reference` names another optimizer for it")
    return lines


def notes(scoring: Scoring) -> list[str]:
    """What is to be known of the tables."""
    diverged = [f"diverged, and counted as the worst: {describe_divergence(run)}" for run in scoring.diverged]
    return [f"* best by the median of {scoring.measure}", *scoring.cut, *diverged, *describe_left_out(scoring)]


def file_lines(files: Sequence[Path]) -> list[str]:
    """Where everything is: tables, the folder of the pictures and, last, the report."""
    pictures = [path for path in files if path.suffix in (".png", ".svg")]
    lines = [f"wrote {path}" for path in files if path not in pictures and path.suffix != ".html"]
    names = Counter(path.parent for path in {path.with_suffix("") for path in pictures})
    lines += [f"wrote {folder}/ ({several(count, 'picture')}, as PNG and SVG)" for folder, count in names.items()]
    return lines + [f"wrote {path}" for path in files if path.suffix == ".html"]
