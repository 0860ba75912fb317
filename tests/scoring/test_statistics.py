"""Interquartile mean, bootstrap and probability of improvement against scipy, and on planted cases."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.stats

from l2o_cli.scoring.statistics import (
    Estimate,
    decimals,
    estimate_interquartile_mean,
    interquartile_mean,
    probability_of_improvement,
)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 40, 101])
def test_interquartile_mean_is_the_trimmed_mean(count):
    values = np.random.default_rng(count).lognormal(size=(3, count))
    np.testing.assert_allclose(interquartile_mean(values), scipy.stats.trim_mean(values, 0.25, axis=-1))


def test_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([9.0, 1.0, 2.0, 100.0])) == 5.5
    assert interquartile_mean(np.array([1.0, np.inf, 3.0, 2.0])) == 2.5
    assert interquartile_mean(np.array([1.0, np.inf, np.inf, 2.0])) == np.inf


def test_bootstrap_of_one_stratum_is_scipys():
    values = np.random.default_rng(3).gamma(2.0, size=30)
    estimate = estimate_interquartile_mean([values], resamples=20_000)
    expected = scipy.stats.bootstrap(
        [values],
        lambda data, axis: scipy.stats.trim_mean(data, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert estimate.value == pytest.approx(scipy.stats.trim_mean(values, 0.25))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), rel=0.02)


def test_bootstrap_of_several_strata_is_scipys():
    """scipy resamples each sample on its own, which is what strata are."""
    rng = np.random.default_rng(7)
    strata = [rng.normal(mean, size=size) for mean, size in ((0, 6), (3, 9), (10, 5))]

    def pooled(*samples, axis=-1):
        return scipy.stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis)

    estimate = estimate_interquartile_mean(strata, resamples=20_000)
    expected = scipy.stats.bootstrap(strata, pooled, n_resamples=20_000, method="percentile", rng=rng).confidence_interval
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), rel=0.02)
    # The strata are far apart: resampled all together, the interval would be much wider.
    assert estimate.high - estimate.low < 0.7 * np.ptp(
        np.quantile([pooled(rng.choice(np.concatenate(strata), 20)) for _ in range(2000)], [0.025, 0.975])
    )


@pytest.mark.parametrize("ties", [False, True])
def test_probability_of_improvement_is_mann_whitneys(ties):
    rng = np.random.default_rng(1)
    ours, theirs = ([rng.normal(size=size) for size in sizes] for sizes in ((5, 8), (7, 4)))
    if ties:
        ours, theirs = ([values.round() for values in strata] for strata in (ours, theirs))
    # scipy's U counts the pairs in which the first sample is greater.
    expected = [
        scipy.stats.mannwhitneyu(other, mine).statistic / (mine.size * other.size)
        for mine, other in zip(ours, theirs, strict=True)
    ]
    estimate = probability_of_improvement(ours, theirs)
    assert estimate.value == pytest.approx(np.mean(expected))
    turned = probability_of_improvement(theirs, ours)
    assert turned.value == pytest.approx(estimate.complement.value)
    assert (turned.low, turned.high) == pytest.approx((estimate.complement.low, estimate.complement.high), abs=0.05)


def test_interval_of_the_probability_of_improvement_is_scipys():
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(size=12), rng.normal(0.5, size=15)

    def probability(mine, other, axis=-1):
        return (mine[..., :, None] < other[..., None, :]).mean(axis=(-2, -1))

    expected = scipy.stats.bootstrap(
        [ours, theirs], probability, n_resamples=9999, method="percentile", rng=rng
    ).confidence_interval
    estimate = probability_of_improvement([ours], [theirs], resamples=20_000)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), abs=0.015)


def test_ties_and_diverged_runs_by_hand():
    ours, theirs = np.array([1.0, 2.0, np.inf]), np.array([2.0, np.inf])
    # Of six pairs: 1 wins twice, 2 ties once and wins once, inf loses once and ties once.
    assert probability_of_improvement([ours], [theirs]).value == pytest.approx((2 + 1.5 + 0.5) / 6)


def test_equal_optimizers_come_out_as_equal():
    """The interval holds 1/2 in about 95 of 100 comparisons of 5 seeds on 4 problems."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        ours, theirs = rng.normal(size=(2, 4, 5)) + 10 * np.arange(4)[:, None]
        estimate = probability_of_improvement(list(ours), list(theirs), resamples=1000)
        held += estimate.low <= 0.5 <= estimate.high
    assert 88 <= held <= 99


def test_a_better_one_comes_out_as_better():
    rng = np.random.default_rng(0)
    better = 0
    for _ in range(50):
        ours, theirs = rng.normal(size=(2, 4, 5))
        better += probability_of_improvement(list(ours - 1.5), list(theirs), resamples=1000).low > 0.5
    assert better >= 48


def test_the_interval_is_that_of_its_seed():
    values = [np.random.default_rng(0).normal(size=60)]
    assert estimate_interquartile_mean(values, seed=1) == estimate_interquartile_mean(values, seed=1)
    assert estimate_interquartile_mean(values, seed=1).low != estimate_interquartile_mean(values, seed=2).low
    others = [values[0] + 0.3]
    assert probability_of_improvement(values, others, seed=1) == probability_of_improvement(values, others, seed=1)


def test_one_run_has_no_interval():
    one, two = [np.array([1.0])], [np.array([2.0, 3.0])]
    assert estimate_interquartile_mean(one) == Estimate(1.0, None, None)
    assert probability_of_improvement(one, two) == Estimate(1.0, None, None)
    assert probability_of_improvement(one, two).complement == Estimate(0.0, None, None)
    assert str(Estimate(0.5, None, None)) == "0.50" and str(Estimate(0.5, 0.25, 1.0)) == "0.50 [0.25, 1.00]"


def test_only_0_looks_like_0_and_only_1_like_1():
    shown = {0.0: "0.00", 1.0: "1.00", 2.346: "2.35", 0.996: "0.996", 1.0004: "1.0004", 0.1: "0.10", 0.0996: "0.10"}
    shown |= {0.02: "0.020", 0.00123: "0.0012", -0.0042: "-0.0042", 1.23e-7: "1.2e-07", -1.5: "-1.50", 0.9999999999: "1.00"}
    assert {value: decimals(value) for value in shown} == shown and decimals(-0.0) == "0.00"


def test_thousand_resamples_of_a_hundred_problems_are_quick():
    strata = list(np.random.default_rng(0).normal(size=(100, 5)))
    begin = time.process_time()
    estimate_interquartile_mean(strata, resamples=1000)
    probability_of_improvement(strata, strata, resamples=1000)
    assert time.process_time() - begin < 1
