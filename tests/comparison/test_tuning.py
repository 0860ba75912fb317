"""The tuner on fake scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from l2o_cli.comparison.tuning.learning_rates import Tuning, grid, mean_ranks, tune


def bowl(best: float):
    """Scores whose least is at the rate nearest to `best` in decades; the calls are kept."""
    calls = []

    def score(rates, first_trial):
        calls.append((rates, first_trial))
        return [abs(math.log10(rate / best)) for rate in rates]

    return score, calls


def test_grid_of_15_spans_seven_decades():
    rates = grid(15, default=0.5)
    assert rates[0] == pytest.approx(1e-6) and rates[-1] == pytest.approx(10.0)
    ratios = [later / earlier for earlier, later in itertools.pairwise(rates)]
    assert ratios == pytest.approx([math.sqrt(10)] * 14, rel=1e-5)


def test_small_grids_lie_around_the_default():
    assert grid(5, 0.001) == pytest.approx([1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2], rel=1e-6)
    assert grid(1, 0.012) == pytest.approx([0.01])
    assert grid(4, 0.01) == pytest.approx([10**-2.5, 1e-2, 10**-1.5, 1e-1], rel=1e-6)


def test_interior_best_is_not_extended():
    score, calls = bowl(1e-3)
    tuning = tune(score, grid(5, 1e-3))
    assert len(calls) == 1 and tuning.edge is None and tuning.chosen == 2 and tuning.rate == pytest.approx(1e-3)


@pytest.mark.parametrize("best, beyond", [(0.1, max), (1e-5, min)])
def test_edge_is_extended_until_the_best_is_interior(best, beyond):
    score, calls = bowl(best)
    tuning = tune(score, grid(5, 1e-3))
    assert tuning.rate == pytest.approx(best) and tuning.edge is None
    assert [first for _, first in calls] == [0, 5]
    added = calls[1][0]
    assert len(added) == 3 and beyond(*added) == beyond(tuning.rates)
    assert len(tuning.rates) == len(set(tuning.rates)) == 8


def test_extension_is_bounded_and_the_edge_flagged():
    score, calls = bowl(1e9)
    tuning = tune(score, grid(5, 1e-3))
    assert len(calls) == 4 and len(tuning.rates) == 14
    assert tuning.edge == "high" and tuning.rate == max(tuning.rates) == pytest.approx(10**2.5)


def test_diverged_rates_lose_to_any_other_and_all_diverged_goes_down():
    assert Tuning((0.1, 1.0, 10.0), (5.0, math.inf, math.inf)).chosen == 0
    tuning = tune(lambda rates, first: [math.inf if rate > 2e-4 else 7.0 / rate for rate in rates], grid(3, 0.01))
    assert tuning.rate == pytest.approx(1e-4, rel=1e-6) and tuning.edge is None


def test_ties_go_to_the_least_rate_and_one_rate_is_no_sweep():
    assert Tuning((1.0, 0.1, 10.0), (2.0, 2.0, 2.0)).rate == 0.1
    score, calls = bowl(1e3)
    assert tune(score, [0.01]).edge is None and len(calls) == 1


def test_mean_ranks_are_those_of_scipy():
    losses = np.random.default_rng(0).integers(0, 6, (9, 5)).astype(float)
    losses[2, 1] = losses[3, 1] = losses[:, 4] = math.inf
    expected = scipy.stats.rankdata(losses, axis=0).mean(axis=1)
    assert mean_ranks(losses.tolist()) == pytest.approx(expected)
    assert mean_ranks([[3.0], [math.inf], [1.0], [3.0]]) == [2.5, 4, 1, 2.5]


def test_a_rate_for_several_problems_is_extended_by_what_all_say():
    """Two problems with the optima 1 and 100, one with many times the other's losses: what is between them is good for both."""
    calls = []

    def losses(rates, first_trial):
        calls.append((len(rates), first_trial))
        return [[abs(math.log10(rate)), 1e6 * abs(math.log10(rate) - 2)] for rate in rates]

    tuning = tune(losses, grid(3, 0.01), mean_ranks)
    assert calls == [(3, 0), (3, 3), (3, 6)] and tuning.edge is None
    best = min(range(9), key=lambda trial: (mean_ranks(losses(tuning.rates, 0))[trial], tuning.rates[trial]))
    assert tuning.chosen == best and 1 <= tuning.rate <= 100
    # By mean losses it would be that of the second problem.
    assert tuning.rate < 50
