"""By how much one optimizer is better than another: a number for each problem, or for each run where there are few problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l2o_cli.scoring.measures import MEASURES
from l2o_cli.scoring.run_scores import RunScore
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.statistics import median

MANY_PROBLEMS = 8  # from which a number for each problem is enough to show how they are distributed


@dataclass(frozen=True)
class Difference:
    """Of one problem, or of one seed on it; above 0 is better."""

    problem: str
    seed: int | None  # None: of the medians over the seeds
    amount: float  # +-inf where one of the two diverged and losses are not normalized
    side: float  # 1 where the measure is lower than the other's, -1 where it is higher, 0 for a tie


@dataclass(frozen=True)
class Improvements:
    optimizer: str
    other: str
    normalized: bool  # the amounts are differences of normalized losses, else log10 of the ratio of losses
    each: str  # "problem" or "run"
    differences: list[Difference]
    left_out: list[str]  # problems of which no amount can be said

    @property
    def better(self) -> int:
        return sum(one.side > 0 for one in self.differences)

    @property
    def equal(self) -> int:
        return sum(one.side == 0 for one in self.differences)


def log_ratio(ours: float, theirs: float, measure: str) -> float | None:
    """log10(theirs / ours); inf or -inf where one is infinite or ours or theirs is 0, 0 for a tie.

    None where a loss is negative. Of a mean of logarithms it is the difference, in tenfolds too.
    """
    if ours == theirs:
        return 0.0
    if measure.startswith("mean_log"):
        return (theirs - ours) / math.log(10)
    if ours < 0 or theirs < 0:
        return None
    with np.errstate(divide="ignore"):
        return float(np.log10(theirs) - np.log10(ours))


def find_improvements(scoring: Scoring, optimizer: str, other: str, each: str | None = None) -> Improvements:
    """Of the measure of the scoring, on the problems that both ran on and where both have it.

    The amount is the other's normalized loss minus ours, where the measure has a normalized loss and at least half of the
    problems do; else log10 of the other's loss over ours. Runs are paired by their seeds, which are the same tasks.

    Args:
        each: `problem` (medians over the seeds) or `run`; None: `problem` from 8 problems on.
    """
    by_problem: dict[str, tuple[list[RunScore], list[RunScore]]] = {}
    for run in scoring.runs:
        if run.optimizer in (optimizer, other):
            by_problem.setdefault(run.problem, ([], []))[run.optimizer == other].append(run)
    shared = {
        problem: sides
        for problem, sides in by_problem.items()
        if all(sides) and all(run[scoring.measure] is not None for run in (*sides[0], *sides[1]))
    }
    name = MEASURES[scoring.measure].normalized
    known = [one for one, sides in shared.items() if name and all(run[name] is not None for run in (*sides[0], *sides[1]))]
    normalized = name if known and 2 * len(known) >= len(shared) else None
    each = each or ("problem" if len(shared) >= MANY_PROBLEMS else "run")
    differences: list[Difference] = []
    left_out: dict[str, None] = {}
    for problem, sides in shared.items():
        for seed, ours, theirs in _groups(each, *sides):
            mine, its = _middle(ours, scoring.measure), _middle(theirs, scoring.measure)
            if normalized is None:
                amount = log_ratio(mine, its, scoring.measure)
            else:
                amount = _middle(theirs, normalized) - _middle(ours, normalized) if problem in known else None
            if amount is None:
                left_out[problem] = None
            else:
                differences.append(Difference(problem, seed, amount, float(mine < its) - float(mine > its)))
    return Improvements(optimizer, other, normalized is not None, each, differences, list(left_out))


def _groups(each: str, ours: list[RunScore], theirs: list[RunScore]) -> list[tuple[int | None, list[RunScore], list[RunScore]]]:
    """(seed, ours, theirs): all runs on a problem together, or the two of each seed."""
    if each == "problem":
        return [(None, ours, theirs)]
    by_seed = {run.seed: run for run in theirs}
    return [(run.seed, [run], [by_seed[run.seed]]) for run in ours if run.seed in by_seed]


def _middle(runs: Sequence[RunScore], name: str) -> float:
    return float(median([run.known(name) for run in runs]))
