"""The scores of a run. Another one is an entry of MEASURES with the function that it comes from.

Listings, columns, choices, medians, intervals over problems and pages follow from the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from l2o_problems.adam_table import AdamRow

from l2o_cli.scoring.curves import Curve
from l2o_cli.scoring.speedup import SECONDS, STEPS, Speedup, cost_to_target, envelope, speedup, target_loss

WORST_NORMALIZED, BEST_NORMALIZED = 2.0, -2.0


@dataclass(frozen=True)
class Beside:
    """What stands beside a run: of the other runs on its problem, and of the problem.

    Attributes:
        budget: seconds, the least of the optimizers' median ones of a whole run.
        adam: the problem's row in Adam's table; None: unknown, losses are not normalized.
        reference: the runs of tuned Adam with the same seed; none: nothing is said of speed-ups and targets.
    """

    budget: float
    adam: AdamRow | None = None
    reference: Sequence[Curve] = ()


@dataclass(frozen=True)
class Measure:
    """A score of a run.

    Attributes:
        title: for people, as in "a lower final training loss".
        meaning: one line for help and pages.
        alone: its value, from the curve of the run alone; None: it needs what stands beside.
        beside: its value from both.
        compared: whether optimizers are compared by it in pairs; then less is better.
        criterion: whether hyperparameters may be chosen by it.
        pooled: whether its interquartile mean is taken over the runs on all problems: it means the same everywhere.
        normalized: the measure that goes with it and means the same everywhere.
    """

    name: str
    title: str
    meaning: str
    alone: Callable[[Curve], float | None] | None = None
    beside: Callable[[Curve, Beside], float | Speedup | None] | None = None
    compared: bool = False
    criterion: bool = False
    pooled: bool = False
    normalized: str | None = None


def normalized_loss(loss: float | None, row: AdamRow | None) -> float | None:
    """1 for the initial loss, 0 for the best of tuned Adam, linear in between and beyond, clipped to -2 and 2.

    inf, the loss of a diverged run, is 2. None where there is no row, or where Adam did not get below the initial loss.
    """
    if loss is None or row is None or not row.improved:
        return None
    scaled = (loss - row.best_loss) / (row.initial_loss - row.best_loss)
    return min(max(scaled, BEST_NORMALIZED), WORST_NORMALIZED)


def _in_time(split: str) -> Callable[[Curve, Beside], float | None]:
    """The final loss, had the run ended when the fastest optimizer did."""
    return lambda curve, beside: curve.final_loss(split, curve.record_within(beside.budget))


def _speedup(unit: str) -> Callable[[Curve, Beside], Speedup | None]:
    return lambda curve, beside: speedup(curve, envelope(beside.reference, unit), unit) if beside.reference else None


def _to_target(unit: str) -> Callable[[Curve, Beside], float | None]:
    def cost(curve: Curve, beside: Beside) -> float | None:
        target = target_loss(beside.reference)
        return None if target is None else cost_to_target(curve, target, unit)

    return cost


_ALL = (
    Measure(
        "final_train_loss",
        "final training loss",
        "mean minibatch loss over the last 5 % of the steps (at least one window)",
        alone=lambda curve: curve.final_loss("train"),
        compared=True,
        criterion=True,
        normalized="normalized_loss",
    ),
    Measure(
        "final_validation_loss",
        "final validation loss",
        "loss on the whole validation split after the last step; none without held-out data",
        alone=lambda curve: curve.final_loss("validation"),
        compared=True,
        criterion=True,
    ),
    Measure(
        "final_test_loss",
        "final test loss",
        "the same on the test split",
        alone=lambda curve: curve.final_loss("test"),
        compared=True,
    ),
    Measure(
        "mean_log_train_loss",
        "mean log training loss",
        "mean over steps of log(max(loss, 0) + 1e-12), the loss of a step being the mean of its window",
        alone=lambda curve: curve.mean_log("train"),
        compared=True,
        criterion=True,
    ),
    Measure(
        "equal_time_train_loss",
        "training loss after equal time",
        "the final training loss, had the run ended when the fastest optimizer did",
        beside=_in_time("train"),
        compared=True,
        normalized="equal_time_normalized_loss",
    ),
    Measure(
        "equal_time_validation_loss",
        "validation loss after equal time",
        "the same of the validation loss",
        beside=_in_time("validation"),
        compared=True,
    ),
    Measure(
        "mean_log_validation_loss",
        "mean log validation loss",
        "as mean_log_train_loss, of the validation split",
        alone=lambda curve: curve.mean_log("validation"),
    ),
    Measure(
        "normalized_loss",
        "normalized loss",
        "the final training loss, 1 being the initial one and 0 the best of tuned Adam",
        beside=lambda curve, beside: normalized_loss(curve.final_loss("train"), beside.adam),
        pooled=True,
    ),
    Measure(
        "equal_time_normalized_loss",
        "at equal time",
        "the same when the fastest optimizer is at its end",
        beside=lambda curve, beside: normalized_loss(_in_time("train")(curve, beside), beside.adam),
        pooled=True,
    ),
    Measure(
        "speedup_steps",
        "speed-up in steps",
        "steps of the tuned adam over ours to the lowest loss that both reach",
        beside=_speedup(STEPS),
        pooled=True,
    ),
    Measure(
        "speedup_seconds",
        "speed-up in seconds",
        "the same in seconds",
        beside=_speedup(SECONDS),
        pooled=True,
    ),
    Measure(
        "steps_to_target",
        "steps to target",
        "steps to the best training loss of the tuned adam after 3/4 of its steps",
        beside=_to_target(STEPS),
    ),
    Measure(
        "seconds_to_target",
        "seconds to target",
        "the same in seconds",
        beside=_to_target(SECONDS),
    ),
)

MEASURES = {measure.name: measure for measure in _ALL}
COMPARED = tuple(measure.name for measure in _ALL if measure.compared)
CRITERIA = tuple(measure.name for measure in _ALL if measure.criterion)
POOLED = tuple(measure.name for measure in _ALL if measure.pooled)
