"""Everything that is said of one run by its curve: losses, normalised losses, speed-up and time to target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from l2o_problems.adam_table import AdamRow, Reference

from l2o_cli.scoring.curves import Curve
from l2o_cli.scoring.speedup import SECONDS, STEPS, cost_to_target, envelope, speedup, target_loss

WORST_NORMALIZED, BEST_NORMALIZED = 2.0, -2.0


@dataclass(frozen=True)
class RunScore:
    """Of one run. A loss is inf where the run diverged; None is what cannot be said, for want of data or of a reference."""

    problem: str
    optimizer: str
    trial: int
    seed: int
    steps: int
    seconds: float
    diverged: bool
    last_finite_step: int  # the last record with a finite training loss
    final_train_loss: float
    final_validation_loss: float | None
    final_test_loss: float | None
    mean_log_train_loss: float
    mean_log_validation_loss: float | None
    equal_time_train_loss: float  # the final training loss, had the run ended when the fastest optimizer did
    equal_time_validation_loss: float | None
    normalized_loss: float | None
    equal_time_normalized_loss: float | None
    speedup_steps: float | None
    speedup_steps_at_least: bool  # the speed-up may be greater
    speedup_seconds: float | None
    speedup_seconds_at_least: bool
    steps_to_target: float | None  # inf: never
    seconds_to_target: float | None


def normalized_loss(loss: float, row: AdamRow | None) -> float | None:
    """1 for the initial loss, 0 for the best of tuned Adam, linear in between and beyond, clipped to -2 and 2.

    inf, the loss of a diverged run, is 2. None where there is no row, or where Adam did not get below the initial loss.
    """
    if row is None or not row.improved:
        return None
    scaled = (loss - row.best_loss) / (row.initial_loss - row.best_loss)
    return min(max(scaled, BEST_NORMALIZED), WORST_NORMALIZED)


def find_reference(optimizers: Sequence[str]) -> str | None:
    """The label that is tuned Adam: `adam`, or else the first with more words after it that does not have the defaults."""
    tuned = [label for label in optimizers if label.startswith("adam ") and "default" not in label]
    return "adam" if "adam" in optimizers else next(iter(tuned), None)


def time_budget(curves: Sequence[Curve]) -> float:
    """The least of the optimizers' median seconds of a whole run, on one problem."""
    by_optimizer: dict[str, list[float]] = {}
    for curve in curves:
        by_optimizer.setdefault(curve.optimizer, []).append(float(curve.seconds[-1]))
    return min(float(np.median(seconds)) for seconds in by_optimizer.values())


def score_runs(curves: Sequence[Curve], reference: str | None, adam: Mapping[str, Reference]) -> list[RunScore]:
    """The scores of each run, in order.

    Args:
        reference: the optimizer whose envelope is inverted; None leaves speed-up and time to target out.
        adam: {problem: what losses on it are normalized by}; where there is none they are not.
    """
    by_problem: dict[str, list[Curve]] = {}
    for curve in curves:
        by_problem.setdefault(curve.problem, []).append(curve)
    budgets = {problem: time_budget(of_problem) for problem, of_problem in by_problem.items()}
    references: dict[tuple[str, int], list[Curve]] = {}
    for curve in curves:
        if curve.optimizer == reference:
            references.setdefault((curve.problem, curve.seed), []).append(curve)
    return [
        _score(curve, budgets[curve.problem], adam.get(curve.problem), references.get((curve.problem, curve.seed), []))
        for curve in curves
    ]


def _score(curve: Curve, budget: float, adam: Reference | None, reference: Sequence[Curve]) -> RunScore:
    row = adam.row if adam else None
    within = curve.record_within(budget)
    final, at_equal_time = (curve.final_loss("train", record) for record in (-1, within))
    mean_log = curve.mean_log("train")
    assert final is not None and at_equal_time is not None and mean_log is not None  # training is always measured
    target = target_loss(reference)
    faster = {unit: speedup(curve, envelope(reference, unit), unit) for unit in (STEPS, SECONDS) if reference}
    reached = {unit: cost_to_target(curve, target, unit) for unit in (STEPS, SECONDS) if target is not None}
    return RunScore(
        problem=curve.problem,
        optimizer=curve.optimizer,
        trial=curve.trial,
        seed=curve.seed,
        steps=int(curve.steps[-1]),
        seconds=float(curve.seconds[-1]),
        diverged=curve.diverged,
        last_finite_step=curve.last_finite_step,
        final_train_loss=final,
        final_validation_loss=curve.final_loss("validation"),
        final_test_loss=curve.final_loss("test"),
        mean_log_train_loss=mean_log,
        mean_log_validation_loss=curve.mean_log("validation"),
        equal_time_train_loss=at_equal_time,
        equal_time_validation_loss=curve.final_loss("validation", within),
        normalized_loss=normalized_loss(final, row),
        equal_time_normalized_loss=normalized_loss(at_equal_time, row),
        speedup_steps=faster[STEPS].value if faster else None,
        speedup_steps_at_least=bool(faster) and faster[STEPS].at_least,
        speedup_seconds=faster[SECONDS].value if faster else None,
        speedup_seconds_at_least=bool(faster) and faster[SECONDS].at_least,
        steps_to_target=reached.get(STEPS),
        seconds_to_target=reached.get(SECONDS),
    )
