"""The tuner on fake scores."""

from __future__ import annotations

import itertools
import math

import pytest

from l2o_cli.evaluation.tuning import Tuning, grid, tune


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
