"""Features against numpy."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import features

SIZES = np.concatenate([[0.0], 10.0 ** np.arange(-30, 19), np.linspace(0.01, 5.0, 500)])
VALUES = np.concatenate([-SIZES, SIZES]).astype(np.float32)


@pytest.mark.parametrize("compiled", [False, True])
def test_asinh_equals_numpy(compiled):
    @tf.function(jit_compile=compiled)
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
