"""Performance profiles by hand, and their integral against a fine sum."""

from __future__ import annotations

import numpy as np
import pytest

from l2o_cli.scoring.statistics import cost_ratios, performance_profile, profile_integral

INF = np.inf
# Problems: the first wins, the second needs twice as long; the second wins, the first never; nobody; both at once.
COSTS = np.array([[10.0, INF, INF, 0.0], [20.0, 30.0, INF, 0.0]])


def test_profile_by_hand():
    np.testing.assert_array_equal(cost_ratios(COSTS), [[1, INF, INF, 1], [2, 1, INF, 1]])
    np.testing.assert_array_equal(
        performance_profile(COSTS, np.array([1.0, 1.99, 2.0, 4.0])), [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.75, 0.75]]
    )
    np.testing.assert_allclose(profile_integral(COSTS), [0.5, (2 / 3 + 1 + 0 + 1) / 4])


def test_integral_is_the_area_below_the_profile():
    costs = np.random.default_rng(0).lognormal(size=(3, 12))
    factors = np.linspace(1, 4, 300_001)
    np.testing.assert_allclose(profile_integral(costs), performance_profile(costs, factors).mean(axis=1), atol=1e-5)


def test_the_fastest_on_all_has_1_and_who_is_four_times_slower_0():
    costs = np.array([[1.0, 2.0], [4.0, 9.0], [INF, INF]])
    assert profile_integral(costs) == pytest.approx([1, 0, 0])


def test_reached_at_once_beats_every_other_time():
    np.testing.assert_array_equal(cost_ratios(np.array([[0.0], [1.0]])), [[1], [INF]])
