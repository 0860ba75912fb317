"""Random numbers as functions of a seed."""

import math

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems import random


def draws(seed):
    keys = random.instance_keys(random.fold(seed, 4), 5)
    return (
        random.fold(seed, 7),
        random.uniform(random.fold(seed, 1), [3, 7]),
        random.integers(random.fold(seed, 2), [40], 1000),
        random.instance_integers(random.fold(seed, 3), keys, 64, 4000),
        random.normal(random.fold(seed, 5), [501]),
    )


def test_compiled_bits_are_the_eager_bits():
    eager = draws(random.as_seed(5))
    for compiled in (tf.function(draws, jit_compile=True), tf.function(draws)):
        *exact, normal = compiled(random.as_seed(5))
        for one, two in zip(eager, exact, strict=False):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(eager[-1], normal, rtol=1e-5, atol=1e-6)


def test_seeds_and_folds_are_distinct():
    seeds = [random.as_seed(value) for value in (0, 1, 2**31, 2**40 + 1, -1)]
    folded = {tuple(random.fold(seed, data).numpy()) for seed in seeds for data in range(200)}
    assert len(folded) == 5 * 200


def test_moments():
    uniform = random.uniform(random.as_seed(1), [200000], 2.0, 5.0).numpy()
    assert 2 < uniform.min() < uniform.max() < 5
    np.testing.assert_allclose([uniform.mean(), uniform.var()], [3.5, 0.75], rtol=0.01)
    normal = random.normal(random.as_seed(2), [200000], 3.0).numpy()
    np.testing.assert_allclose([normal.mean(), normal.std(), np.mean(normal**4)], [0, 3, 243], rtol=0.03, atol=0.03)
    scales = random.log_uniform(random.as_seed(3), [200000], 0.01, 100.0).numpy()
    np.testing.assert_allclose(np.log(scales).std(), math.log(1e4) / math.sqrt(12), rtol=0.01)


@pytest.mark.parametrize("bound", [10, 1437])
def test_instance_integers_are_uniform_and_independent(bound):
    keys = random.instance_keys(random.as_seed(2), 60)
    drawn = random.instance_integers(random.as_seed(1), keys, 5000, bound).numpy()
    assert drawn.min() == 0 and drawn.max() == bound - 1
    counts = np.bincount(drawn.ravel(), minlength=bound)
    chi_square = np.sum((counts - drawn.size / bound) ** 2) / (drawn.size / bound)
    assert abs(chi_square - (bound - 1)) < 5 * math.sqrt(2 * bound)
    between = np.corrcoef(drawn)[np.triu_indices(60, 1)]
    np.testing.assert_allclose(between.std(), 1 / math.sqrt(5000), rtol=0.1)


def test_instance_integers_depend_on_the_own_key_alone():
    keys = random.instance_keys(random.as_seed(2), 6)
    everyone = random.instance_integers(random.as_seed(1), keys, 30, 100)
    np.testing.assert_array_equal(random.instance_integers(random.as_seed(1), keys[4:5], 30, 100)[0], everyone[4])


def test_the_ends_of_the_unit_interval_are_never_reached():
    ends = random._unit(tf.constant([0, -1, -256, -257, 255], tf.int32)).numpy()
    assert (ends > 0).all() and (ends < 1).all() and ends[1] == ends[2] > ends[3]
    assert np.isfinite(tf.math.ndtri(ends)).all()


def test_instance_draws_follow_the_seed_and_the_own_key_alone():
    keys = random.instance_keys(random.as_seed(3), 50)
    for draw in (random.instance_bits, random.instance_uniform, random.instance_normal):
        values = draw(random.as_seed(4), keys, [33, 19]).numpy()
        alone = draw(random.as_seed(4), keys[7:9], [33, 19])
        # What is left over when a CPU takes several numbers at once, it computes in another way: the last bit of a normal.
        rounding = 1e-6 if draw is random.instance_normal else 0
        np.testing.assert_allclose(alone, values[7:9], rtol=rounding, atol=rounding)
        assert not np.array_equal(draw(random.as_seed(5), keys, [33, 19]), values)
        assert len(np.unique(values[:4])) > 0.999 * values[:4].size
    normal = random.instance_normal(random.as_seed(4), keys, [4000]).numpy()
    np.testing.assert_allclose([normal.mean(), normal.var()], [0, 1], atol=0.01)
    assert np.abs(np.corrcoef(normal) - np.eye(50)).max() < 0.08
    uniform = random.instance_uniform(random.as_seed(4), keys, [4000]).numpy()
    np.testing.assert_allclose(np.histogram(uniform, bins=10, range=(0, 1))[0] / uniform.size, 0.1, rtol=0.02)
