"""The scores of runs: of each by its curve, and of the runs of one optimizer on one problem together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from l2o_problems.adam_table import AdamRow, Reference

from l2o_cli.runs.records import Run
from l2o_cli.scoring.curves import Curve, curve_of, rounded
from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.speedup import Speedup, cost_to_target, envelope, speedup, target_loss
from l2o_cli.scoring.statistics import median

WORST_NORMALIZED, BEST_NORMALIZED = 2.0, -2.0


@dataclass(frozen=True)
class Beside:
    """A run beside the others on its problem, and what is known of that.

    Attributes:
        budget: seconds, the least of the optimizers' median ones of a whole run.
        adam: the problem's row in Adam's table; None: unknown, losses are not normalized.
        reference: the runs of tuned Adam with the same seed; none: nothing is said of speed-ups and targets.
    """

    curve: Curve
    budget: float
    adam: AdamRow | None
    reference: Sequence[Curve]

    def in_time(self, split: str) -> float | None:
        """The final loss, had the run ended when the fastest optimizer did."""
        return self.curve.final_loss(split, self.curve.record_within(self.budget))

    def normalized(self, loss: float | None) -> float | None:
        return normalized_loss(loss, self.adam)

    def speedup(self, unit: str) -> Speedup | None:
        return speedup(self.curve, envelope(self.reference, unit), unit) if self.reference else None

    def to_target(self, unit: str) -> float | None:
        target = target_loss(self.reference)
        return None if target is None else cost_to_target(self.curve, target, unit)


def normalized_loss(loss: float | None, row: AdamRow | None) -> float | None:
    """1 for the initial loss, 0 for the best of tuned Adam, linear in between and beyond, clipped to -2 and 2.

    inf, the loss of a diverged run, is 2. None where there is no row, or where Adam did not get below the initial loss.
    """
    if loss is None or row is None or not row.improved:
        return None
    scaled = (loss - row.best_loss) / (row.initial_loss - row.best_loss)
    return min(max(scaled, BEST_NORMALIZED), WORST_NORMALIZED)


@dataclass(frozen=True)
class RunScore:
    """Of one run.

    Attributes:
        last_finite_step: of the last record with a finite training loss.
        values: of each of MEASURES. A loss is inf where the run diverged; None is what cannot be said, for want of data, of a
            reference or of other runs.
        at_least: the speed-ups that may be greater.
    """

    problem: str
    optimizer: str
    trial: int
    seed: int
    steps: int
    seconds: float
    diverged: bool
    last_finite_step: int
    values: Mapping[str, float | None]
    at_least: Mapping[str, bool] = field(default_factory=dict)

    def __getitem__(self, measure: str) -> float | None:
        return self.values[measure]

    @property
    def step_milliseconds(self) -> float:
        """Wall-clock of the compiled loop per step of one instance, rounded."""
        return rounded(1000 * self.seconds / self.steps)

    def known(self, measure: str) -> float:
        """A value that is always there."""
        value = self.values[measure]
        assert value is not None, measure
        return value


def score(run: Run) -> RunScore:
    """What is said of a run alone, by what curves.csv has of it: `l2o score` and every page say the same.

    A diverged run is the worst there is, inf in each of the losses. All are rounded to 8 digits.
    """
    return score_curve(curve_of(run))


def score_curve(curve: Curve, beside: Beside | None = None) -> RunScore:
    values: dict[str, float | None] = {}
    at_least: dict[str, bool] = {}
    for name, measure in MEASURES.items():
        if measure.alone:
            value: float | Speedup | None = measure.alone(curve)
        else:
            value = measure.beside(beside) if beside and measure.beside else None
        if isinstance(value, Speedup):
            at_least[name] = value.at_least
        values[name] = value.value if isinstance(value, Speedup) else value
    return RunScore(
        problem=curve.problem,
        optimizer=curve.optimizer,
        trial=curve.trial,
        seed=curve.seed,
        steps=int(curve.steps[-1]),
        seconds=float(curve.seconds[-1]),
        diverged=curve.diverged,
        last_finite_step=curve.last_finite_step,
        values=values,
        at_least=at_least,
    )


def find_reference(optimizers: Sequence[str]) -> str | None:
    """The label that is tuned Adam: `adam`, or else the first with more words after it that does not have the defaults."""
    tuned = [label for label in optimizers if label.startswith("adam ") and "default" not in label]
    return "adam" if "adam" in optimizers else next(iter(tuned), None)


def time_budget(curves: Sequence[Curve]) -> float:
    """The least of the optimizers' median seconds of a whole run, on one problem."""
    names = {curve.optimizer for curve in curves}
    return min(float(np.median([curve.seconds[-1] for curve in curves if curve.optimizer == name])) for name in names)


def score_runs(curves: Sequence[Curve], reference: str | None, adam: Mapping[str, Reference]) -> list[RunScore]:
    """The scores of each run beside the others, in order.

    Args:
        reference: the optimizer whose envelope is inverted; None leaves speed-up and time to target out.
        adam: {problem: what losses on it are normalized by}; where there is none they are not.
    """
    problems = {curve.problem for curve in curves}
    budgets = {problem: time_budget([curve for curve in curves if curve.problem == problem]) for problem in problems}
    references: dict[tuple[str, int], list[Curve]] = {}
    for curve in curves:
        if curve.optimizer == reference:
            references.setdefault((curve.problem, curve.seed), []).append(curve)

    def beside(curve: Curve) -> Beside:
        known, same = adam.get(curve.problem), references.get((curve.problem, curve.seed), ())
        return Beside(curve, budgets[curve.problem], known and known.row, same)

    return [score_curve(curve, beside(curve)) for curve in curves]


SUMMARIZED = ("final_train_loss", "mean_log_train_loss", "final_validation_loss", "final_test_loss")


@dataclass(frozen=True)
class Summary:
    """The runs of one optimizer with one setting on one problem: medians over the seeds, in which a diverged run counts as inf.

    Attributes:
        trials: hyperparameter settings that were tried to choose this one; 0: nothing was tuned.
        medians: of each of SUMMARIZED.
        diverged: how many of the seeds.
    """

    problem: str
    optimizer: str
    trials: int
    hyperparameters: dict[str, float]
    medians: dict[str, float | None]
    diverged: int
    seeds: int
    step_milliseconds: float

    def as_json(self) -> dict[str, Any]:
        """With null for what is infinite: more than half of the runs, or one of the middle two, diverged."""
        plain: dict[str, Any] = {}
        for name, value in vars(self).items():
            plain |= value if name == "medians" else {name: value}
        return {name: None if isinstance(one, float) and not math.isfinite(one) else one for name, one in plain.items()}


def summarize(runs: Sequence[Run], trials: int = 0) -> Summary:
    """Of the runs of one optimizer with one setting on one problem, one run per seed."""
    scores = [score(run) for run in runs]
    return Summary(
        problem=runs[0].problem,
        optimizer=runs[0].optimizer,
        trials=trials,
        hyperparameters=runs[0].hyperparameters,
        medians={name: _known_median([one[name] for one in scores]) for name in SUMMARIZED},
        diverged=sum(run.diverged_at is not None for run in runs),
        seeds=len(runs),
        step_milliseconds=rounded(median([one.step_milliseconds for one in scores])),
    )


def _known_median(values: Sequence[float | None]) -> float | None:
    """The median, rounded; None where nothing is known."""
    known = [value for value in values if value is not None]
    return rounded(median(known)) if known else None
