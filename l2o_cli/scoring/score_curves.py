"""All scores of a comparison, from the curves of its runs alone.

Shape letters: O optimizers, Q problems.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from l2o_problems.adam_table import Reference, find_adam

from l2o_cli.errors import BadInput
from l2o_cli.scoring.curves import Curve, of_equal_length
from l2o_cli.scoring.measures import COMPARED, MEASURES, POOLED
from l2o_cli.scoring.run_scores import RunScore, find_reference, score_runs
from l2o_cli.scoring.scored import OptimizerScore, PairScore, ProblemScore, ProfilePoint, Scoring
from l2o_cli.scoring.speedup import SECONDS, STEPS
from l2o_cli.scoring.statistics import (
    LARGEST_FACTOR,
    Estimate,
    estimate_interquartile_mean,
    median,
    performance_profile,
    probability_of_improvement,
    profile_integral,
)

FACTORS = np.linspace(1, LARGEST_FACTOR, 61)  # of the profiles


class _Table:
    """Runs by problem and optimizer."""

    def __init__(self, runs: Sequence[RunScore]):
        self.problems = list(dict.fromkeys(run.problem for run in runs))
        self.optimizers = list(dict.fromkeys(run.optimizer for run in runs))
        self._runs: dict[tuple[str, str], list[RunScore]] = {}
        for run in runs:
            self._runs.setdefault((run.problem, run.optimizer), []).append(run)
        self.common = [name for name in self.problems if all(self.of(name, optimizer) for optimizer in self.optimizers)]

    def of(self, problem: str, optimizer: str) -> list[RunScore]:
        return self._runs.get((problem, optimizer), [])

    def values(self, problem: str, optimizer: str, name: str) -> np.ndarray | None:
        """A score of all runs; None where there are none or one of them lacks it."""
        values = [run[name] for run in self.of(problem, optimizer)]
        return None if not values or None in values else np.array(values, np.float64)

    def complete(self, name: str) -> list[str]:
        """The problems where all runs of every optimizer have the score."""
        return [
            problem
            for problem in self.common
            if all(self.values(problem, optimizer, name) is not None for optimizer in self.optimizers)
        ]


def score_curves(
    curves: Sequence[Curve],
    *,
    reference: str | None = None,
    measure: str = COMPARED[0],
    otherwise: str | None = None,
    trials: Mapping[str, tuple[int, ...]] | None = None,
    adam: Mapping[str, Reference] | None = None,
    learned: Collection[str] = (),
    seed: int = 0,
) -> Scoring:
    """All scores of runs; the same for the same curves and seed, to the last bit.

    Args:
        reference: the label of tuned Adam; None: the one that looks so, if more than one setting was tried for it.
        measure: one of COMPARED, by which the best are marked.
        otherwise: the one by which they are where no runs have that, such as a validation loss.
        trials: {optimizer: the settings tried on each problem}, where they are known.
        adam: {problem: what losses on it are normalized by}, of those of which that is known.
        learned: optimizers that are no Adam, whatever they are called.
        seed: of the bootstrap.

    Raises:
        BadInput: no optimizer is called `reference`, there is no such measure, or runs have no length in common.
    """
    labels = list(dict.fromkeys(curve.optimizer for curve in curves))
    if reference is not None and reference not in labels:
        raise BadInput(f"reference {reference!r} is not among the optimizers: {', '.join(labels)}")
    if measure not in COMPARED:
        raise BadInput(f"measure {measure!r}; there are: {', '.join(COMPARED)}")
    trials = trials or {}
    tuned = [label for label in labels if max(trials.get(label, (2,))) > 1 and label not in learned]
    reference = reference or find_reference(tuned)
    curves, cut = of_equal_length(curves)
    adam = {curve.problem: (adam or {}).get(curve.problem, find_adam(None, None)) for curve in curves}
    runs = score_runs(curves, reference, adam)
    table = _Table(runs)
    if otherwise and all(table.values(*pair, measure) is None for pair in itertools.product(table.problems, table.optimizers)):
        measure = otherwise
    problems, costs = _problem_scores(table, measure), _costs(table)
    complete = {name: table.complete(name) for name in (*POOLED, "steps_to_target")}
    left_out = {name: [one for one in table.problems if one not in those] for name, those in complete.items()}
    return Scoring(
        reference=reference,
        measure=measure,
        trials=dict(trials),
        runs=runs,
        problems=problems,
        optimizers=_optimizer_scores(table, problems, costs, seed),
        pairs=_pair_scores(table, seed),
        profiles=_profiles(table, costs),
        left_out={name: those for name, those in left_out.items() if those},
        curves=curves,
        cut=cut,
        not_normalized={problem: known.why for problem, known in adam.items() if known.why},
    )


def _median(values: np.ndarray | None) -> float | None:
    return None if values is None else float(median(values.tolist()))


def _problem_scores(table: _Table, measure: str) -> list[ProblemScore]:
    scores = []
    for problem in table.problems:
        here = [optimizer for optimizer in table.optimizers if table.of(problem, optimizer)]
        medians = {one: {name: _median(table.values(problem, one, name)) for name in MEASURES} for one in here}
        known = [value for one in here if (value := medians[one][measure]) is not None]
        least = min(known, default=math.inf)
        for one in here:
            runs = table.of(problem, one)
            best = math.isfinite(least) and medians[one][measure] == least
            scores.append(ProblemScore(problem, one, len(runs), sum(run.diverged for run in runs), medians[one], best))
    return scores


def _optimizer_scores(
    table: _Table, problems: Sequence[ProblemScore], costs: Mapping[str, np.ndarray], seed: int
) -> list[OptimizerScore]:
    integrals = {unit: profile_integral(of_unit) for unit, of_unit in costs.items()}
    scores = []
    for index, optimizer in enumerate(table.optimizers):
        runs = [run for problem in table.common for run in table.of(problem, optimizer)]
        pooled = {name: _pooled(table, optimizer, name, seed) for name in POOLED}
        scores.append(
            OptimizerScore(
                optimizer=optimizer,
                problems=len(table.common),
                runs=len(runs),
                diverged=sum(run.diverged for run in runs),
                pooled={name: estimate for name, (estimate, _) in pooled.items()},
                pooled_at_least={name: at_least for name, (_, at_least) in pooled.items()},
                profile_steps=float(integrals[STEPS][index]) if integrals else None,
                profile_seconds=float(integrals[SECONDS][index]) if integrals else None,
                best_on=sum(score.best for score in problems if score.optimizer == optimizer),
            )
        )
    return scores


def _pooled(table: _Table, optimizer: str, name: str, seed: int) -> tuple[Estimate | None, bool]:
    """The interquartile mean over the problems where every optimizer has the score, and whether it is a lower bound."""
    complete = table.complete(name)
    strata = [values for problem in complete if (values := table.values(problem, optimizer, name)) is not None]
    if not strata:
        return None, False
    estimate = estimate_interquartile_mean(strata, seed)
    runs = [run for problem in complete for run in table.of(problem, optimizer)]
    if not any(run.at_least.get(name) for run in runs):
        return estimate, False
    # It is one if it would grow with those values that may be greater.
    greatest = [
        np.array([math.inf if run.at_least[name] else run[name] for run in table.of(problem, optimizer)]) for problem in complete
    ]
    return estimate, estimate_interquartile_mean(greatest, seed, resamples=1).value != estimate.value


def _costs(table: _Table) -> dict[str, np.ndarray]:
    """{unit: median costs to the target, [O, Q]}, on the problems where all have a target; {} without such a problem."""
    problems = table.complete("steps_to_target")

    def of(optimizer: str, unit: str) -> list[float | None]:
        return [_median(table.values(problem, optimizer, f"{unit}_to_target")) for problem in problems]

    return {unit: np.array([of(one, unit) for one in table.optimizers]) for unit in (STEPS, SECONDS)} if problems else {}


def _profiles(table: _Table, costs: Mapping[str, np.ndarray]) -> list[ProfilePoint]:
    shares = [performance_profile(of_unit, FACTORS) for of_unit in costs.values()]
    places = itertools.product(enumerate(table.optimizers), enumerate(FACTORS)) if shares else ()
    return [
        ProfilePoint(optimizer, float(factor), *(float(share[row, column]) for share in shares))
        for (row, optimizer), (column, factor) in places
    ]


def _pair_scores(table: _Table, seed: int) -> list[PairScore]:
    each = itertools.product(COMPARED, itertools.combinations(table.optimizers, 2))
    pairs = [pair for measure, two in each if (pair := _pair(table, *two, measure, seed))]
    return [one for pair in pairs for one in (pair, pair.turned)]


def _pair(table: _Table, one: str, other: str, measure: str, seed: int) -> PairScore | None:
    strata = [(table.values(problem, one, measure), table.values(problem, other, measure)) for problem in table.problems]
    both = [(ours, theirs) for ours, theirs in strata if ours is not None and theirs is not None]
    if not both:
        return None
    medians = [(median(ours.tolist()), median(theirs.tolist())) for ours, theirs in both]
    return PairScore(
        optimizer=one,
        other=other,
        measure=measure,
        problems=len(both),
        fewest_runs=min(len(values) for values in itertools.chain(*both)),
        wins=sum(1.0 if ours < theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in medians),
        improvement=probability_of_improvement([ours for ours, _ in both], [theirs for _, theirs in both], seed),
    )
