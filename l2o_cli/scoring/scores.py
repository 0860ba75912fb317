"""What is said of a run, and of the runs of one optimizer on one problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l2o_cli.runs.records import Run
from l2o_cli.scoring.curves import curve_of, rounded

CRITERIA = ("final_train_loss", "mean_log_train_loss", "final_validation_loss")


@dataclass(frozen=True)
class Scores:
    """Of one run; lower is better, inf where it diverged."""

    final_train_loss: float
    mean_log_train_loss: float
    final_validation_loss: float | None  # None: the problem has no held-out data
    final_test_loss: float | None  # None: nor was it measured
    step_milliseconds: float


def score(run: Run) -> Scores:
    """The scores of one run, by what curves.csv has of it: `l2o score` and every page say the same.

    final_train_loss: mean minibatch loss over the last 5 % of the steps (at least one window).
    mean_log_train_loss: mean over the steps of log(max(loss, 0) + 1e-12), each loss being the mean of its window.
    final_validation_loss, final_test_loss: loss on the whole split after the last step.
    step_milliseconds: wall-clock of the compiled loop per step of one instance.

    A diverged run is the worst score there is, inf in each of the losses. All are rounded to 8 digits.
    """
    curve = curve_of(run)
    final, mean_log = curve.final_loss("train"), curve.mean_log("train")
    assert final is not None and mean_log is not None  # training is always measured
    return Scores(
        final_train_loss=final,
        mean_log_train_loss=mean_log,
        final_validation_loss=curve.final_loss("validation"),
        final_test_loss=curve.final_loss("test"),
        step_milliseconds=rounded(1000 * float(run.seconds[-1]) / run.steps),
    )


@dataclass(frozen=True)
class Row:
    """One optimizer on one problem: medians over the seeds, in which a diverged run counts as inf."""

    problem: str
    optimizer: str
    trials: int  # hyperparameter settings that were tried to choose this one; 0: nothing was tuned
    hyperparameters: dict[str, float]
    final_train_loss: float
    mean_log_train_loss: float
    final_validation_loss: float | None
    final_test_loss: float | None
    diverged: int  # of the seeds
    seeds: int
    step_milliseconds: float

    def as_json(self) -> dict:
        """The row with null for what is infinite: more than half of the runs, or one of the middle two, diverged."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in vars(self).items()
        }


def known_median(values: Sequence[float | None]) -> float | None:
    """The median, rounded; None where nothing is known."""
    known = [value for value in values if value is not None]
    return rounded(median(known)) if known else None


def median(values: Sequence[float]) -> float:
    """The median, inf being the worst."""
    known = sorted(values)
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def summarize(runs: Sequence[Run], trials: int = 0) -> Row:
    """The row of the runs of one optimizer with one hyperparameter setting on one problem, one run per seed."""
    scores = [score(run) for run in runs]
    return Row(
        problem=runs[0].problem,
        optimizer=runs[0].optimizer,
        trials=trials,
        hyperparameters=runs[0].hyperparameters,
        final_train_loss=rounded(median([one.final_train_loss for one in scores])),
        mean_log_train_loss=rounded(median([one.mean_log_train_loss for one in scores])),
        final_validation_loss=known_median([one.final_validation_loss for one in scores]),
        final_test_loss=known_median([one.final_test_loss for one in scores]),
        diverged=sum(run.diverged_at is not None for run in runs),
        seeds=len(runs),
        step_milliseconds=rounded(median([one.step_milliseconds for one in scores])),
    )


def card_section(setting: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The scores as an optimizer's card tells them: how they were measured, then a row per problem and optimizer."""
    return {**setting, "rows": [row.as_json() for row in rows]}
