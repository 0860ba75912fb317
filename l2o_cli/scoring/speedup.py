"""Speed-up over a reference (tuned Adam) by inverting its envelope, and time to a target that the reference sets.

After VeLO (Metz et al. 2022, arXiv 2211.09760, section 4): where Adam needs 20,000 steps for what took 10,000, it is 2.

All is done seed by seed, since a seed is the same task, initial params and minibatches for every optimizer. A cost is a number
of steps or of seconds. Shape letters: R records of a run, E records of an envelope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l2o_cli.scoring.curves import Curve

TARGET_SHARE = 0.75  # of the steps of the reference, after which its best loss is the target

STEPS, SECONDS = "steps", "seconds"


@dataclass(frozen=True)
class Envelope:
    """The best training loss so far over some runs of one seed; diverged runs count with their initial loss alone."""

    costs: np.ndarray  # [E], ascending
    best: np.ndarray  # [E], descending
    horizon: float  # the cost of the longest of the runs

    @property
    def improved(self) -> bool:
        return bool(self.best[-1] < self.best[0])

    def first(self, loss: float) -> float:
        """The cost at which the best loss is at most `loss`; inf if it never is."""
        reached = self.best <= loss
        return float(self.costs[reached.argmax()]) if reached.any() else math.inf


@dataclass(frozen=True)
class Speedup:
    """A ratio of costs, the reference's over ours; with `at_least` the reference never got there, and it may be greater."""

    value: float
    at_least: bool = False


def costs_of(curve: Curve, unit: str) -> np.ndarray:
    return (curve.steps if unit == STEPS else curve.seconds).astype(np.float64)


def envelope(curves: Sequence[Curve], unit: str) -> Envelope:
    """Of runs of one optimizer on one problem with one seed, such as those with several learning rates."""
    costs = [costs_of(curve, unit)[: 1 if curve.diverged else None] for curve in curves]
    losses = [curve.losses["train"][: 1 if curve.diverged else None] for curve in curves]
    together, values = np.concatenate(costs), np.concatenate(losses)
    order = np.argsort(together, kind="stable")
    best = np.minimum.accumulate(np.where(np.isnan(values), np.inf, values)[order])
    return Envelope(together[order], best, float(max(costs_of(curve, unit)[-1] for curve in curves)))


def speedup_curve(curve: Curve, reference: Envelope, unit: str) -> list[Speedup]:
    """At each record after the first the reference's first cost at our best loss so far, over our cost.

    A diverged run has the speed-up 0 everywhere.
    """
    ours = costs_of(curve, unit)[1:]
    if curve.diverged:
        return [Speedup(0.0)] * len(ours)
    best = np.minimum.accumulate(curve.losses["train"])[1:]
    return [_ratio(reference, float(loss), float(cost)) for cost, loss in zip(ours, best, strict=True)]


def _ratio(reference: Envelope, loss: float, cost: float) -> Speedup:
    theirs = reference.first(loss)
    at_least = math.isinf(theirs)
    numerator = reference.horizon if at_least else theirs
    return Speedup(numerator / cost if cost else math.inf, at_least)


def speedup(curve: Curve, reference: Envelope, unit: str) -> Speedup:
    """The reference's cost over ours to the lowest loss that both reach: 1 for equal ones, 1/2 where the roles of 2 are changed.

    0 for a run that diverged, or that never got below its initial loss while the reference did. Where the reference is the one
    that never did, it is at least its horizon over all of our cost.
    """
    own = envelope([curve], unit)
    if curve.diverged or (reference.improved and not own.improved):
        return Speedup(0.0)
    if not own.improved:
        return Speedup(1.0)
    level = max(float(own.best[-1]), float(reference.best[-1]))
    ours, theirs = own.first(level), reference.first(level)
    if reference.improved and ours:
        return Speedup(theirs / ours)
    return Speedup(reference.horizon / own.horizon, at_least=True)


def target_loss(reference: Sequence[Curve]) -> float | None:
    """The best training loss of the reference's runs with one seed after 3/4 of their steps; None where all diverged."""
    alive = [curve for curve in reference if not curve.diverged]
    if not alive:
        return None
    return min(float(curve.losses["train"][curve.steps <= TARGET_SHARE * curve.steps[-1]].min()) for curve in alive)


def cost_to_target(curve: Curve, target: float, unit: str) -> float:
    """The cost at the first record whose training loss is at most `target`; inf if there is none, or if the run diverged."""
    return math.inf if curve.diverged else envelope([curve], unit).first(target)
