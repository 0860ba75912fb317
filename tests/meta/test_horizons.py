import numpy as np
import pytest

from l2o_cli.meta.horizons import bound, bucket, draw, first
from l2o_cli.spec import Lengths


def drawn(lengths, size=20_000, meta_step=0, seed=0):
    values = draw(lengths, np.random.default_rng(seed), size, meta_step)
    assert values.dtype == np.int32
    return values


def test_exponential_has_its_mean_and_its_bounds():
    values = drawn(Lengths(distribution="exponential", scale=200, minimum=50, maximum=100_000))
    assert values.min() == 50
    assert values.mean() == pytest.approx(250, rel=0.03)
    assert np.median(values) == pytest.approx(50 + 200 * np.log(2), rel=0.03)
    assert drawn(Lengths(distribution="exponential", scale=200, minimum=50, maximum=60), 100).max() == 60


def test_log_uniform_has_as_much_in_each_octave():
    values = drawn(Lengths(distribution="log_uniform", minimum=16, maximum=256))
    assert values.min() >= 16 and values.max() <= 256
    assert np.median(values) == pytest.approx(64, rel=0.05)


def test_uniform_has_as_much_of_each_length():
    counts = np.bincount(drawn(Lengths(distribution="uniform", minimum=3, maximum=7)))
    assert counts[:3].tolist() == [0, 0, 0]
    np.testing.assert_allclose(counts[3:], 4000, rtol=0.07)


def test_constant_is_the_maximum():
    assert drawn(Lengths(distribution="constant", maximum=7), 3).tolist() == [7, 7, 7]


def growing(**growth):
    return Lengths(distribution="constant", maximum=10_000, growth={"kind": "linear", "start": 10, "over": 20_000, **growth})


def test_linear_growth_is_a_line_and_then_constant():
    lengths = [int(drawn(growing(), 1, step)[0]) for step in (0, 1000, 10_000, 20_000, 50_000)]
    assert lengths == [10, round(10 + 9990 * 0.05), 5005, 10_000, 10_000]


def test_jitter_multiplies_each_length_and_is_capped():
    middle = drawn(growing(jitter=0.2), meta_step=10_000)
    assert (middle.min(), middle.max()) == pytest.approx((4004, 6006), rel=1e-3)
    assert middle.mean() == pytest.approx(5005, rel=0.01) and middle.std() == pytest.approx(5005 * 0.2 / np.sqrt(3), rel=0.03)
    assert drawn(growing(jitter=0.2), meta_step=20_000).max() == 10_000
    tiny = Lengths(distribution="constant", maximum=9, growth={"kind": "linear", "start": 1, "over": 5, "jitter": 0.9})
    assert drawn(tiny).min() == 1


def test_stages_hold_until_the_next():
    stages = [{"meta_step": 0, "maximum": 100}, {"meta_step": 50, "maximum": 400}]
    lengths = Lengths(distribution="constant", maximum=1000, growth={"kind": "stages", "stages": stages})
    assert [int(drawn(lengths, 1, step)[0]) for step in (0, 49, 50, 5000)] == [100, 100, 400, 400]


@pytest.mark.parametrize("distribution", ["uniform", "log_uniform", "exponential"])
def test_a_grown_distribution_is_the_one_with_a_smaller_maximum_and_scale(distribution):
    grown = Lengths(
        distribution=distribution, minimum=20, maximum=400, scale=80, growth={"kind": "linear", "start": 100, "over": 10}
    )
    as_small = Lengths(distribution=distribution, minimum=20, maximum=100, scale=20)
    np.testing.assert_array_equal(drawn(grown), drawn(as_small))
    assert drawn(grown, meta_step=10).max() > 350


def test_the_minimum_gives_way_to_a_small_maximum():
    lengths = Lengths(distribution="uniform", minimum=50, maximum=400, growth={"kind": "linear", "start": 10, "over": 100})
    assert drawn(lengths, 5).tolist() == [10] * 5
    assert drawn(lengths, meta_step=100).min() == 50


def test_first_horizons_are_spread_over_the_whole():
    lengths = Lengths(distribution="constant", maximum=1000)
    values = first(lengths, np.random.default_rng(0), 20_000, 0)
    assert values.dtype == np.int32 and values.min() >= 1 and values.max() <= 1000
    np.testing.assert_allclose(np.quantile(values, [0.25, 0.5, 0.75]), [250, 500, 750], rtol=0.04)
    at_least = first(lengths, np.random.default_rng(0), 20_000, 0, shortest=100)
    np.testing.assert_array_equal(at_least, np.maximum(values, 100))
    assert first(Lengths(distribution="constant", maximum=30), np.random.default_rng(0), 9, 0, shortest=50).tolist() == [30] * 9


def test_buckets_double_up_to_the_maximum():
    lengths = [1, 32, 33, 64, 65, 600, 1000]
    assert [bucket(length, 1000) for length in lengths] == [32, 32, 64, 64, 128, 1000, 1000]
    assert bucket(5, 20) == 20


def test_no_draw_exceeds_its_bound_and_bounds_are_few():
    lengths = Lengths(
        distribution="uniform", minimum=5, maximum=900, growth={"kind": "linear", "start": 10, "over": 300, "jitter": 0.3}
    )
    bounds = [bound(lengths, step) for step in range(400)]
    assert all(drawn(lengths, 200, step).max() <= bounds[step] for step in range(400))
    assert sorted(set(bounds)) == [32, 64, 128, 256, 512, 900] and bounds == sorted(bounds)
    assert bound(Lengths(maximum=77), 0) == bound(Lengths(maximum=77), 10**6) == 77
