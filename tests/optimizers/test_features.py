"""Features against numpy."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import features
from l2o_cli.optimizers.packing import Layout

SIZES = np.concatenate([[0.0], 10.0 ** np.arange(-30, 19), np.linspace(0.01, 5.0, 500)])
VALUES = np.concatenate([-SIZES, SIZES]).astype(np.float32)


@pytest.mark.parametrize("compiled", [False, True])
def test_asinh_equals_numpy(compiled):
    @tf.function(jit_compile=compiled, autograph=False)
    def both(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = features.asinh(values)
        return result, tape.gradient(result, values)

    result, slope = both(tf.constant(VALUES))
    exact = VALUES.astype(np.float64)
    np.testing.assert_allclose(result, np.arcsinh(exact), rtol=5e-7, atol=1e-37)
    np.testing.assert_allclose(slope, 1 / np.sqrt(1 + exact**2), rtol=5e-7)


def test_asinh_of_what_is_larger_or_not_a_number():
    result = features.asinh(np.float32([1e18, 1e30, np.inf, -np.inf, np.nan]))
    np.testing.assert_allclose(result, np.arcsinh([1e18, 1e18, 1e18, -1e18, np.nan]), rtol=5e-7)


@pytest.mark.parametrize("sizes", [(3, 1, 40), (60_000, 5, 7)])  # few parameters and many are summed up in two ways
def test_features_divided_by_their_rms_equal_numpy(sizes):
    layout = Layout.of({str(index): (size,) for index, size in enumerate(sizes)})
    values = np.random.default_rng(0).standard_normal((2, 3, sum(sizes))).astype(np.float32)
    values[..., sizes[0] :] *= 1e-3  # so small that the epsilon counts
    exact, ends = values.astype(np.float64), np.cumsum(sizes)
    expected = [part / np.sqrt((part**2).mean(-1, keepdims=True) + 1e-5) for part in np.split(exact, ends[:-1], axis=-1)]
    np.testing.assert_allclose(features.normalized(values, layout), np.concatenate(expected, axis=-1), rtol=2e-5)


def test_time_features_equal_numpy():
    expected = np.tanh(np.array([[0, 5, 30_000]]) / np.array([[3], [1000]]) - 1)[..., None]
    np.testing.assert_allclose(features.time_features(np.array([0, 5, 30_000]), (3, 1000)), expected, rtol=1e-5)
