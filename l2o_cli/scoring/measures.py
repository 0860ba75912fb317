"""The scores of a run. Another one is an entry of MEASURES with the function that it comes from.

Listings, columns, choices, medians, intervals over problems and pages follow from the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # nothing heavy is imported here, since the help of `l2o score` names measures
    from l2o_cli.scoring.curves import Curve
    from l2o_cli.scoring.run_scores import Beside
    from l2o_cli.scoring.speedup import Speedup


@dataclass(frozen=True)
class Measure:
    """A score of a run.

    Attributes:
        title: for people, as in "a lower final training loss".
        meaning: one line for help and pages.
        alone: its value, from the curve of the run alone; None: it needs what stands beside.
        beside: its value, from the curve and that.
        compared: whether optimizers are compared by it in pairs; then less is better.
        criterion: whether hyperparameters may be chosen by it.
        pooled: whether its interquartile mean is taken over the runs on all problems: it means the same everywhere.
        normalized: the measure that goes with it and means the same everywhere.
    """

    name: str
    title: str
    meaning: str
    alone: Callable[[Curve], float | None] | None = None
    beside: Callable[[Beside], float | Speedup | None] | None = None
    compared: bool = False
    criterion: bool = False
    pooled: bool = False
    normalized: str | None = None


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
        beside=lambda beside: beside.in_time("train"),
        compared=True,
        normalized="equal_time_normalized_loss",
    ),
    Measure(
        "equal_time_validation_loss",
        "validation loss after equal time",
        "the same of the validation loss",
        beside=lambda beside: beside.in_time("validation"),
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
        beside=lambda beside: beside.normalized(beside.curve.final_loss("train")),
        pooled=True,
    ),
    Measure(
        "equal_time_normalized_loss",
        "at equal time",
        "the same when the fastest optimizer is at its end",
        beside=lambda beside: beside.normalized(beside.in_time("train")),
        pooled=True,
    ),
    Measure(
        "speedup_steps",
        "speed-up in steps",
        "steps of the tuned adam over ours to the lowest loss that both reach",
        beside=lambda beside: beside.speedup("steps"),
        pooled=True,
    ),
    Measure(
        "speedup_seconds",
        "speed-up in seconds",
        "the same in seconds",
        beside=lambda beside: beside.speedup("seconds"),
        pooled=True,
    ),
    Measure(
        "steps_to_target",
        "steps to target",
        "steps to the best training loss of the tuned adam after 3/4 of its steps",
        beside=lambda beside: beside.to_target("steps"),
    ),
    Measure(
        "seconds_to_target",
        "seconds to target",
        "the same in seconds",
        beside=lambda beside: beside.to_target("seconds"),
    ),
)

MEASURES = {measure.name: measure for measure in _ALL}
COMPARED = tuple(measure.name for measure in _ALL if measure.compared)
CRITERIA = tuple(measure.name for measure in _ALL if measure.criterion)
POOLED = tuple(measure.name for measure in _ALL if measure.pooled)
